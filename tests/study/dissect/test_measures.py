"""Overlaps read off counts, against masks, scikit-learn and closed forms."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conceptseg.study.dissect.bins import Bins, Counter
from conceptseg.study.dissect.measures import (
    Overlaps,
    auroc,
    average_precision,
    choose_edges,
    overlaps,
)
from conceptseg.study.dissect.vocabulary import Category, Vocabulary
from tests.study.dissect.small import placed

VOCABULARY = Vocabulary((Category("a", ("x", "y", "z")), Category("b", ("w",))))
GRID = (12, 14)


@pytest.fixture(scope="module")
def counted():
    """Eight images: maps, slots with unknown pixels, bins, and their counts."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(8, 4, 6, 7, generator=generator)
    slots = torch.stack(
        [torch.randint(0, c.slots, (8, *GRID), generator=generator) for c in VOCABULARY.categories]
    )
    slots[0, 3] = VOCABULARY.categories[0].unknown  # an image without a mask
    up = F.interpolate(maps, GRID, mode="bilinear", align_corners=False)
    bins = Bins.of(up.transpose(0, 1).flatten(1).numpy(), 256)
    sizes = [category.slots for category in VOCABULARY.categories]
    counts = Counter(bins, "cpu").counts(maps, GRID, slots, sizes).numpy()
    return up.transpose(0, 1).flatten(1).numpy(), slots.flatten(1).numpy(), bins, counts


def pixels(slots):
    """Of each concept: where it shows, where its category is annotated, [l, m]."""
    shows, known = [], []
    for g, category in enumerate(VOCABULARY.categories):
        for number in range(len(category.concepts)):
            shows.append(slots[g] == number)
            known.append(slots[g] != category.unknown)
    return np.array(shows), np.array(known)


@pytest.mark.parametrize("low", [False, True])
def test_overlap_is_that_of_masks_at_every_threshold(counted, low):
    values, slots, bins, counts = counted
    shows, known = pixels(slots)
    mass = VOCABULARY.mass(counts)
    np.testing.assert_array_equal(mass.sum(1), values.shape[1])
    edges = choose_edges(mass, (0.01, 0.1, 0.5), low)
    found = overlaps(counts, edges, VOCABULARY, low)
    for unit in range(4):
        for q in range(3):
            cell = (values[unit] - bins.low[unit]) * bins.scale[unit]
            on = (cell >= bins.cell[unit, edges[unit, q]]) != low
            for concept in range(4):
                own = on & known[concept]
                both, either = (own & shows[concept]).sum(), (own | shows[concept]).sum()
                assert found.iou[unit, q, concept] == both / either
                small, large = sorted((own.sum(), shows[concept].sum()))
                assert found.ceiling[unit, q, concept] == small / large
                assert found.normalised[unit, q, concept] == pytest.approx(
                    (both / either) / (small / large)
                )


def test_thresholds_have_the_share_that_was_asked_for(counted):
    values, _, bins, counts = counted
    edges = choose_edges(VOCABULARY.mass(counts), (0.02, 0.2))
    for unit in range(4):
        for q, share in enumerate((0.02, 0.2)):
            on = (values[unit] > bins.edges[unit, edges[unit, q]].astype(np.float32)).mean()
            assert on == pytest.approx(share, rel=0.15)


def test_auroc_and_precision_are_those_of_scikit_learn(counted):
    """On values replaced by their bins, since that is what the counts know."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    values, slots, bins, counts = counted
    shows, known = pixels(slots)
    place = placed(bins, torch.from_numpy(values))
    found, precision = auroc(counts, VOCABULARY), average_precision(counts, VOCABULARY)
    for unit in range(4):
        for concept in range(4):
            at = known[concept]
            args = shows[concept][at], place[unit][at]
            assert found[unit, concept] == pytest.approx(roc_auc_score(*args), abs=1e-12)
            assert precision[unit, concept] == pytest.approx(
                average_precision_score(*args), abs=1e-12
            )


def test_independent_masks_are_at_chance():
    """IoU of independent masks: q p / (q + p - q p); nothing is above chance, of any size."""
    rng = np.random.default_rng(0)
    for q, p in ((0.01, 0.3), (0.2, 0.2), (0.5, 0.9)):
        one, other = rng.random(2_000_000) < q, rng.random(2_000_000) < p
        found = Overlaps((one & other).sum(), one.sum(), other.sum(), len(one))
        assert float(found.iou) == pytest.approx(q * p / (q + p - q * p), rel=0.03)
        assert float(found.above_chance) == pytest.approx(0, abs=2e-3)
        # The normalised value alone would call the largest concept found.
        assert float(found.normalised) >= 0.9 * max(q, p) / (q + p - q * p) * max(q, p)


def test_ends_of_the_scales():
    equal = Overlaps(np.array(30), np.array(30), np.array(30), np.array(100))
    assert float(equal.normalised) == float(equal.above_chance) == 1
    inside = Overlaps(np.array(10), np.array(50), np.array(10), np.array(100))
    assert float(inside.normalised) == 1  # a small object within a wide mask ...
    assert float(inside.above_chance) < 0.15  # ... is no match
    apart = Overlaps(np.array(0), np.array(20), np.array(30), np.array(100))
    assert float(apart.above_chance) < 0
    nothing = Overlaps(np.array(0), np.array(0), np.array(0), np.array(100))
    assert float(nothing.iou) == float(nothing.normalised) == float(nothing.above_chance) == 0
