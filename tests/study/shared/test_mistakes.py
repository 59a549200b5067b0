"""Which concepts mistakes lie on: counted by brute force, planted, and with nothing to find."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.shared.mistakes import MARGIN_PX, counted, judged, mistakes
from conceptseg.study.shared.overlap import pixel_counts


def test_pixels_near_the_class_are_no_mistakes():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(-1, 3, (2, 5, 6)), np.ones((1, 6, 6), int))
    prediction = rng.integers(0, 3, labels.shape)
    possible, made = mistakes(torch.from_numpy(labels), torch.from_numpy(prediction), 3)
    n, h, w = labels.shape
    for i, c, y, x in np.ndindex(n, 3, h, w):
        near = labels[
            i,
            max(0, y - MARGIN_PX) : y + MARGIN_PX + 1,
            max(0, x - MARGIN_PX) : x + MARGIN_PX + 1,
        ]
        own = labels[i, y, x]
        false = own >= 0 and own != c and not (near == c).any()
        missed = own == c and not ((near >= 0) & (near != c)).any()
        assert possible[i, 0, c, y, x] == false
        assert possible[i, 1, c, y, x] == missed
        assert made[i, 0, c, y, x] == (false and prediction[i, y, x] == c)
        assert made[i, 1, c, y, x] == (missed and prediction[i, y, x] != c)


def test_pixels_are_counted_on_a_concept_and_off_it_where_its_place_is_told():
    rng = np.random.default_rng(1)
    maps = torch.from_numpy(rng.random((2, 2, 3, 7, 8)) < 0.5)
    shows, told = (torch.from_numpy(rng.random((2, 4, 7, 8)) < 0.5) for _ in range(2))
    rows = counted(maps, maps & maps.roll(1, -1), shows, told)
    for q, side in np.ndindex(4, 2):
        on = told[:, q] & (shows[:, q] if side == 0 else ~shows[:, q])
        expected = (maps & on[:, None, None]).sum((3, 4))
        np.testing.assert_array_equal(rows["possible"][:, q, side], expected)


def table(images, seed, *, rate_on=0.02, rate_off=0.02, concepts=6, side=48):
    """Images with a square of class 1, blobs of false alarms, and concepts of their own places.

    Blobs lie on the first concept at one rate and off it at the other; all else is by chance.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros((images, side, side), np.int64)
    labels[:, 2:20, 2:20] = 1
    shows = np.zeros((images, concepts, side, side), bool)
    for i, q in np.ndindex(images, concepts):
        y, x = 4 * rng.integers(0, side // 4 - 4, 2)
        shows[i, q, y : y + 16, x : x + 16] = True
    cells = (side // 4, side // 4)
    rates = np.where(shows[:, 0, 2::4, 2::4], rate_on, rate_off)
    blobs = np.kron(rng.random((images, *cells)) < rates, np.ones((1, 4, 4), bool))
    prediction = np.where(blobs, 1, labels)
    labels, prediction = torch.from_numpy(labels), torch.from_numpy(prediction)
    shown = torch.from_numpy(shows)
    rows = counted(*mistakes(labels, prediction, 2), shown, torch.ones_like(shown))
    rows["sizes"] = pixel_counts(prediction, labels, 2).transpose(0, 1).numpy()
    return SampleTable.batch([f"i{i:03d}" for i in range(images)], rows)


def found(rows, smallest=0.02):
    sampling = Sampling.counting(rows.ids, rows.ids, "image", 0)
    return judged(rows, sampling, (1,), smallest=smallest, min_images=5, seed=0)


def test_what_mistakes_lie_on_is_told_and_what_it_costs():
    rows = table(30, 0, rate_on=0.8, rate_off=0.01)
    shown = [one for one in found(rows) if one.shown]
    assert [(one.concept, one.kind) for one in shown] == [(0, "false")]
    (one,) = shown
    assert one.on == pytest.approx(0.8, abs=0.06)
    assert one.off == pytest.approx(0.01, abs=0.01)
    right, predicted, held = rows.column("sizes")[:, :, 1].sum(0)
    gone = rows.column("made")[:, 0, 0, 0, 1].sum()
    union = predicted + held - right
    assert one.worth.value == pytest.approx(right / (union - gone) - right / union)


def test_mistakes_that_cost_little_are_not_asked_about():
    assert not found(table(30, 0, rate_on=0.02, rate_off=0.0), smallest=0.05)


def test_a_concept_whose_mistakes_lie_on_a_better_one_is_not_told_again():
    rows = table(30, 0, rate_on=0.8, rate_off=0.0)
    made, possible = (rows.column(name).copy() for name in ("made", "possible"))
    # The second concept is the first with twice as much besides, on which nothing is mistaken.
    made[:, 1], possible[:, 1] = made[:, 0], possible[:, 0]
    possible[:, 1, 0] *= 3
    doubled = {"made": made, "possible": possible, "sizes": rows.column("sizes")}
    asked = found(SampleTable.batch(rows.ids, doubled))
    passed = {one.concept: one.shown for one in asked if one.passed and one.kind == "false"}
    assert passed.pop(0)
    assert not passed.pop(1)
    assert not any(passed.values())


def test_what_its_own_interval_doubts_is_not_told(monkeypatch):
    """Of few groups whose rates differ much a test may pass where the interval holds 0."""
    rows = table(12, 1, rate_on=0.6)
    assert any(one.passed for one in found(rows))

    def wide(self, values, low, high):
        return replace(self.mean(values), low=-0.5)

    monkeypatch.setattr(Sampling, "pointed", wide)
    asked = found(rows)
    assert any(one.test.passed for one in asked) and not any(one.passed for one in asked)


@pytest.mark.slow
@pytest.mark.parametrize("images", [6, 12, 40])
def test_nothing_is_told_where_mistakes_lie_anywhere(images):
    draws, rate = 200, 0.15
    told = sum(
        any(one.test.passed for one in found(table(images, seed, rate_on=rate, rate_off=rate)))
        for seed in range(draws)
    )
    assert told / draws <= 0.05 + 2 * (0.05 * 0.95 / draws) ** 0.5


def test_what_mistakes_cost_is_drawn_as_all_else_is_to_the_bit():
    """Each pair by itself, over the rows of every draw; images in groups, a class in none."""
    rng = np.random.default_rng(3)
    could = rng.integers(10, 200, (24, 3, 2, 2, 4)).astype(np.int32)
    did = rng.integers(0, 11, could.shape).astype(np.int32)
    right = rng.integers(20, 60, (24, 4))
    sizes = np.stack([right, right + rng.integers(99, 200, (24, 4)), right + 300], 1)
    sizes[:, :, 3] = 0
    rows = {"possible": could, "made": did, "sizes": sizes}
    whole = SampleTable.batch([f"i{i:03d}" for i in range(24)], rows)
    groups = [f"g{i // 2}" for i in range(24)]
    sampling = Sampling.counting(whole.ids, groups, "auto", 0)
    asked = judged(whole, sampling, range(4), smallest=0.0, min_images=5, seed=0)
    assert {(one.class_id, one.concept, one.kind) for one in asked} == {
        (c, q, kind) for c in range(3) for q in range(3) for kind in ("false", "missed")
    }
    for one in asked:

        def gain(taken, one=one):
            r, p, h = sizes[taken, :, one.class_id].sum(0)
            x = 0 if one.kind == "false" else 1
            gone = did[taken, one.concept, 0, x, one.class_id].sum()
            better = r / (p + h - r - gone) if x == 0 else (r + gone) / (p + h - r)
            return better - r / (p + h - r)

        drawn = sampling.statistic(gain)
        assert (one.worth.value, one.worth.low) == (drawn.value, drawn.low)
        assert one.worth.high >= drawn.high


def test_mistakes_of_few_images_may_cost_more_than_was_met():
    """One image in thirty is mistaken on a concept: of forty, one set in four holds none."""
    held, drawn, n = 0, 0, 40
    truth = 1 - 200 / (200 + 100 / 30)
    for seed in range(150):
        bad = np.random.default_rng([seed, 3]).random(n) < 1 / 30
        possible, made = np.full((n, 2, 2, 2, 2), 100), np.zeros((n, 2, 2, 2, 2), int)
        made[bad, 0, 0, 0, 1], made[:3, 1, 0, 0, 1] = 100, 100
        sizes = np.full((n, 3, 2), 200)
        sizes[:, 1, 1] += made[:, 0, 0, 0, 1]
        rows = {"possible": possible, "made": made, "sizes": sizes}
        table = SampleTable.batch([f"i{i:03d}" for i in range(n)], rows)
        sampling = Sampling(table.ids, table.ids, "images", seed, 200)
        asked = judged(table, sampling, [1], smallest=0.0, min_images=5, seed=0)
        worth = next(one.worth for one in asked if one.concept == 0 and one.kind == "false")
        pixels = sizes[:, 1, 1].astype(float)
        plain = sampling.statistic(lambda rows, pixels=pixels: 1 - 200 * n / pixels[rows].sum())
        held += worth.low <= truth <= worth.high
        drawn += plain.low <= truth <= plain.high
        assert worth.low == pytest.approx(plain.low)
    assert drawn / 150 <= 0.75
    assert held / 150 >= 0.92


def test_mistakes_in_few_images_leave_room_for_others():
    """One image in ten is mistaken on all of the first concept, each on all of the second: over
    twenty images that of the first is known no better than that."""
    held, n = [], 20
    for seed in range(100):
        bad = np.random.default_rng([seed, 2]).random(n) < 0.1
        possible, made = np.full((n, 2, 2, 2, 2), 100), np.zeros((n, 2, 2, 2, 2), int)
        made[bad, 0, 0, 0, 1], made[:, 1, 0, 0, 1] = 100, 100
        sizes = np.full((n, 3, 2), 200)
        sizes[:, 1, 1] += made[:, 1, 0, 0, 1]
        rows = {"possible": possible, "made": made, "sizes": sizes}
        first, second = found(SampleTable.batch([f"i{i:03d}" for i in range(n)], rows))
        held.append(first.excess.low <= 0.1 <= first.excess.high)
        assert second.excess.value == 1 and second.excess.low < 0.9
    assert np.mean(held) >= 0.92
