"""What chance gives: permutations against loops, p-values of nothing, groups, fixed places."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.estimate import Sampling
from conceptseg.study.dissect import permute
from conceptseg.study.dissect.kept import Chosen
from conceptseg.study.dissect.measures import Overlaps
from conceptseg.study.dissect.permute import SIDE, permuted
from tests.study.dissect.small import kept, vocabulary

WORDS = vocabulary(3, 1)
EVERY = np.arange(4)


def scenes(images, units, seed, planted=0):
    """Smooth random maps and blocks of concepts; `planted` units follow concept 0.0."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (images, 2, 8, 8))
    coarse[:, 1] = coarse[:, 1] % 2
    slots = coarse.repeat(4, 2).repeat(4, 3).astype(np.int16)
    maps = rng.normal(size=(images, units, 8, 8)).repeat(4, 2).repeat(4, 3)
    maps[:, :planted] += 4.0 * (slots[:, None, 0] == 0)
    return kept(maps, slots, WORDS, [1] * images)


def told(images, cut=0.8, concept=0, draws=199, seed=0):
    """The test with all units at one threshold and for one concept."""
    units = len(images.maps[0])
    level, low = np.full(units, cut), np.zeros(units, bool)
    chosen = Chosen(np.full(units, concept), np.zeros(units, int), low, level)
    return permuted(images, chosen, level, EVERY, draws, min_overlap=0.1, seed=seed)


def test_the_statistic_is_that_of_a_loop():
    """Each unit's overlap with its concept, for the labels as they are and for two permutations."""
    images = scenes(5, 3, 0)
    cut, low = np.array([0.5, 0.0, 1.0]), np.array([False, True, False])
    own = np.array([0, 2, 3])
    chosen = Chosen(own, np.zeros(3, int), low, cut)
    one = permuted(images, chosen, cut, EVERY, 60, min_overlap=0.1, seed=4)
    assert one.draws == 60 and one.null.shape == (60, 3)
    blocks = np.arange(5)[:, None]
    orders = permute._orders(blocks, 60, np.random.default_rng([4, 11]))
    assert all(sorted(order) == list(range(5)) for order in orders.tolist())
    for number in (0, 7, 60):
        for unit, concept in enumerate(own):
            g = int(WORDS.category[concept])
            slot = int(concept - (0, 3)[g])
            total = np.zeros(4)
            for i, j in enumerate(orders[number]):
                on = (images.maps[i][unit] > np.float32(cut[unit])) != low[unit]
                shows = images.slots[j][g] == slot
                known = images.slots[j][g] != WORDS.categories[g].unknown
                total += [(on & shows).sum(), (on & known).sum(), shows.sum(), known.sum()]
            found = one.observed[unit] if number == 0 else one.null[number - 1, unit]
            assert found == pytest.approx(float(Overlaps(*total).above_chance), abs=1e-6)
    np.testing.assert_allclose(one.null_best, one.null.max(1), atol=1e-6)


def test_the_published_rate_is_that_of_a_loop():
    images = scenes(4, 3, 5)
    cut = np.array([1.5, 2.0, 2.5])
    seen = permute.Seen.of(images, [0, 1, 2, 3])
    on = seen.active(images, [0, 1, 2, 3], cut, np.zeros(3, bool))
    orders = np.array([[0, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0]])
    high = []
    for order in orders[1:]:
        for unit in range(3):
            iou = []
            for concept in EVERY:
                shows = np.stack([seen.held[j, concept] for j in order])
                known = np.stack([seen.known[j, WORDS.category[concept]] for j in order])
                mine = on[:, unit]
                both = (mine & shows).sum()
                iou.append(both / ((mine & known).sum() + shows.sum() - both))
            high.append(max(iou) > permute.PUBLISHED_IOU)
    assert permute._published_rate(seen, on, EVERY, orders) == pytest.approx(np.mean(high))


@pytest.mark.parametrize("groups", [4, 8, 16])
def test_images_of_a_group_that_are_alike_are_no_evidence(groups):
    """Units and labels that differ between groups, and hardly within, but in no common way."""
    size, shares = 32 // groups, []
    for seed in range(3):
        first = scenes(groups, 60, seed)
        rng = np.random.default_rng(seed)
        maps = np.stack(first.maps).repeat(size, 0) + 0.1 * rng.normal(size=(32, 60, 32, 32))
        members = tuple(str(i // size) for i in range(32))
        single = kept(maps, np.stack(first.slots).repeat(size, 0), WORDS, [1] * 32)
        images = replace(single, sampling=Sampling(single.sampling.ids, members, "groups", 0))
        one = told(images, draws=399, seed=seed)
        assert one.grouped and one.images == 32
        alone = told(single, draws=399, seed=seed)
        assert not alone.grouped
        shares.append(((one.p <= 0.05).mean(), (alone.p <= 0.05).mean()))
    grouped, single = np.mean(shares, axis=0)
    assert grouped < 0.1 and single > 0.1


def test_few_groups_are_exchanged_as_wholes_too():
    images = scenes(8, 2, 0)
    sampling = Sampling(images.sampling.ids, tuple("abcdeeee"), "groups", 0)
    one = told(replace(images, sampling=sampling))
    assert one.grouped and one.blocks == one.images == 5  # an image of each


def test_units_that_follow_nothing_have_uniform_p_and_planted_ones_the_smallest():
    """And there are draws enough that one unit alone among so many can be told."""
    images = scenes(16, 150, 1, planted=1)
    one = told(images)
    assert one.draws == 3000 and len(one.null) == permute.MOST_KEPT
    assert one.p[0] == one.p_family[0] == 1 / 3001
    assert benjamini_hochberg(one.p)[0] <= 0.05
    assert kstest(one.p[1:], "uniform").pvalue > 0.01
    assert (one.p_family[1:] > 0.05).mean() > 0.95
    assert one.rate == pytest.approx(0.05, abs=0.02)
    assert one.detectors < 0.01 and not one.shifted.any()


def test_a_concept_at_the_same_place_in_all_images_is_shifted():
    """The upper half: a unit that is high there is told from units that know no place."""
    images = scenes(16, 40, 3)
    slots = np.stack(images.slots)
    slots[:, 1] = (np.arange(SIDE) >= SIDE // 2)[:, None]
    maps = np.stack(images.maps)
    maps[:, 0] += 4.0 * (slots[:, 1] == 0)
    one = told(kept(maps, slots, WORDS, [1] * 16), concept=3, draws=999)
    assert one.shifted.all()
    assert one.observed[0] > 0.5 and one.p[0] == 1 / 1000
    assert (one.p[1:] <= 0.05).mean() < 0.2 and (one.p[1:] > 0.3).mean() > 0.4
    # Exchanged between images it would be the same in every draw, which says nothing.
    assert told(images, concept=0).shifted.sum() == 0


def test_a_concept_that_no_tested_image_shows_has_no_detector():
    images = scenes(8, 3, 0)
    slots = np.stack(images.slots)
    slots[slots == 0] = 1
    assert (told(kept(np.stack(images.maps), slots, WORDS, [1] * 8)).p == 1).all()


def test_blocks_of_units_change_nothing(monkeypatch):
    images = scenes(6, 7, 2)
    whole = told(images, cut=0.0, draws=200)
    monkeypatch.setattr(permute, "COLUMNS", 2)
    parts = told(images, cut=0.0, draws=200)
    np.testing.assert_allclose(whole.null, parts.null, atol=1e-7)
    np.testing.assert_array_equal(whole.p, parts.p)
    assert whole.published == parts.published
