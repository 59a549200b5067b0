"""Where atoms lie, and what they overlap, where it is known."""

import numpy as np
import pytest
import torch

from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.study.shared.atoms import names, some_positions, tags, zoned


def zones(h, w, box):
    """Which zone of a box each pixel is in, by distances that are looked up pixel by pixel."""
    top, left, bottom, right = box
    ring = max(1, round(0.1 * np.hypot(h, w)))
    inside = np.zeros((h, w), bool)
    inside[top:bottom, left:right] = True
    found = np.full((h, w), 3)
    for y in range(h):
        for x in range(w):
            near = {}
            for by in (2, 2 + ring):
                window = inside[max(0, y - by) : y + by + 1, max(0, x - by) : x + by + 1]
                near[by] = window.any(), window.all()
            if near[2][1]:
                found[y, x] = 0
            elif near[2][0]:
                found[y, x] = 1
            elif near[2 + ring][0]:
                found[y, x] = 2
    return found


def test_zones_by_looking_at_each_pixel():
    box, rng = (9, 6, 21, 17), np.random.default_rng(0)
    regions = torch.zeros(1, 40, 32, dtype=torch.int64)
    regions[0, box[0] : box[2], box[1] : box[3]] = 1
    codes = torch.from_numpy(rng.random((1, 3, 40, 32)))
    mass, area = zoned(codes, regions, 3)
    where = zones(40, 32, box)
    for zone in range(4):
        assert area[0, 1, zone] == pytest.approx((where == zone).mean())
        for q in range(3):
            expected = codes[0, q].numpy()[where == zone].sum() / where.size
            assert mass[0, q, 1, zone] == pytest.approx(expected)
    assert not mass[0, :, 2].any() and not area[0, 2].any()
    assert mass[0, :, 0].sum(1) == pytest.approx(codes[0].mean((1, 2)).numpy())


def test_an_atom_is_where_it_is_densest():
    area = np.array([[0.0] * 4, [0.1, 0.1, 0.2, 0.6]])
    mass = np.zeros((4, 2, 4))
    mass[0, 1] = [0.5, 0.1, 0.2, 0.2]
    mass[1, 1] = [0.0, 0.3, 0.2, 0.5]
    mass[2, 1] = [0.01, 0.01, 0.02, 0.96]
    found = tags(mass, area, np.array([1, 1, 1, 1]))
    assert [tag for tag, _ in found] == ["inside", "boundary", "elsewhere", "nowhere"]
    assert found[0][1] == pytest.approx(5.0)


def counted(shows, classes, context, k):
    slots = np.stack([classes, np.where(context, k, k + 1)])
    return JointCounts.of(shows.astype(int), slots, 2, k + 2)


def test_names_need_both_halves_and_more_than_chance():
    """Atoms: a class; the context; a class on one half alone; anything."""
    rng, halves, m = np.random.default_rng(1), [], 4000
    for half in (0, 1):
        classes, context = rng.choice(3, m, p=(0.8, 0.1, 0.1)), rng.random(m) < 0.2
        shows = np.stack(
            [
                (classes == 1) & (rng.random(m) < 0.8),
                context & (rng.random(m) < 0.5),
                (classes == 2) if half == 0 else rng.random(m) < 0.1,
                rng.random(m) < 0.05,
            ]
        )
        halves.append(counted(shows, classes, context, 3).counts)
        expected = (shows[0] & (classes == 1)).sum() / (shows[0] | (classes == 1)).sum()
    found = names(halves, ("ground", "car", "tree"), 4)
    assert [one.name for one in found] == ["car", "known context", "unnamed", "unnamed"]
    assert found[0].overlap == pytest.approx(expected)


def test_without_a_half_nothing_has_a_name():
    counts = JointCounts.of(np.ones((1, 9), int), np.zeros((2, 9), int), 2, 3).counts
    assert [one.name for one in names([counts, None], ("ground",), 1)] == ["unnamed"]


def test_positions_are_drawn_by_the_image_alone_and_are_those_of_all_maps():
    """Of a map that holds its positions' numbers, in whatever batch an image comes."""
    numbers = torch.arange(12.0).view(1, 1, 3, 4).expand(2, 1, 3, 4)
    maps = {"a": numbers, "b": torch.cat([numbers, -numbers], 1).double()}
    both = some_positions(maps, ["x", "y"], 3, 5)
    alone = some_positions({key: one[1:] for key, one in maps.items()}, ["y"], 3, 5)
    for name in ("x", "y"):
        a, b = both.tables[name]["a"], both.tables[name]["b"]
        assert a.shape == (5, 1) and len(set(a[:, 0].tolist())) == 5
        assert np.array_equal(b, np.concatenate([a, -a], 1)) and b.dtype == np.float32
    assert np.array_equal(alone.tables["y"]["a"], both.tables["y"]["a"])
    assert not np.array_equal(both.tables["x"]["a"], both.tables["y"]["a"])
