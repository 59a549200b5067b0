"""The published conventions against loops written from their descriptions."""

import numpy as np
import pytest
import torch

from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dissect import published
from conceptseg.study.dissect.bins import CELLS
from conceptseg.study.dissect.published import cleaned, threshold
from tests.study.dissect.small import plan, vocabulary

WORDS = vocabulary(3, 2)


def scene(seed, units=4, pixels=120):
    rng = np.random.default_rng(seed)
    slots = np.stack([rng.integers(0, 5, pixels), rng.integers(0, 4, pixels)])
    if seed % 2:
        slots[0] = 4  # not annotated for the first kind
    return rng.random((units, pixels)) < 0.1 * (1 + np.arange(units))[:, None], slots


def added(convention, images=8):
    state = Known()
    for seed in range(images):
        state = state.merge(published.counted(convention, WORDS, *scene(seed)))
    return published.scores(convention, state, WORDS)


def test_dissect_counts_all_pixels():
    """iou = both / (active anywhere + concept - both), annotated or not."""
    found = added("dissect")
    scenes = [scene(seed) for seed in range(8)]
    on = np.concatenate([s[0] for s in scenes], 1)
    slots = np.concatenate([s[1] for s in scenes], 1)
    for unit in range(4):
        for concept, (g, slot) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
            shows = slots[g] == slot
            both = (on[unit] & shows).sum()
            expected = both / (on[unit].sum() + shows.sum() - both)
            assert found[unit, concept] == pytest.approx(expected, abs=1e-12)


def test_netdissect_leaves_out_images_without_a_label_of_the_kind_under_the_mask():
    found = added("netdissect")
    for unit in range(4):
        for concept, (g, slot) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
            both = area = labels = 0
            for seed in range(8):
                on, slots = scene(seed)
                both += (on[unit] & (slots[g] == slot)).sum()
                labels += (slots[g] == slot).sum()
                if (on[unit] & (slots[g] < len(WORDS.categories[g].concepts))).any():
                    area += on[unit].sum()
            assert found[unit, concept] == pytest.approx(both / (area + labels - both), abs=1e-12)
    assert (found >= added("dissect") - 1e-12).all()


def test_bioexp_is_a_mean_over_images():
    found = added("bioexp")
    for unit in range(4):
        for concept, (g, slot) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
            dice = []
            for seed in range(8):
                on, slots = scene(seed)
                shows = slots[g] == slot
                if shows.any():
                    dice.append(2 * (on[unit] & shows).sum() / (on[unit].sum() + shows.sum()))
            assert found[unit, concept] == pytest.approx(np.mean(dice), abs=1e-9)


def test_small_parts_go_and_masks_grow():
    mask = np.zeros((240, 240), bool)
    mask[10:20, 10:18] = True  # 80 px stay
    mask[100:110, 100:107] = True  # 70 px go
    found = cleaned(mask)
    # A 2 x 2 element adds one row and one column.
    assert found[100:120, 95:115].sum() == 0
    assert found.sum() == 11 * 9


def test_thresholds_are_quantiles():
    given = plan(2, WORDS, ["a"], [0])
    values = np.random.default_rng(3).normal(size=(2, 5000)).astype(np.float32)
    tensor = torch.from_numpy(values)
    counts = published._histogram(given, tensor, slice(0, 2))[:, :, 0]
    alone = published._histogram(given, tensor[1:], slice(1, 2))[:, :, 0]
    assert np.array_equal(alone, counts[1:])
    assert counts.shape == (2, CELLS) and (counts.sum(1) == 5000).all()
    for share in (0.005, 0.01, 0.2):
        cut = threshold(given, counts, share)
        on = (values > cut[:, None]).mean(1)
        assert (on <= share + 1e-3).all() and (on > share - 0.004).all()


def test_percentiles_are_taken_at_each_position():
    maps = np.random.default_rng(0).normal(size=(20, 3, 2, 2)).astype(np.float32)
    table = SampleTable.empty()
    for i, one in enumerate(maps):
        table = table.merge(SampleTable.of(f"s{i:02d}", {"maps": one[None]}))
    found = published.position_threshold(table)
    for place in np.ndindex(3, 2, 2):
        ordered = np.sort(maps[(slice(None), *place)])
        expected = ordered[16] + 0.15 * (ordered[17] - ordered[16])  # 0.85 x 19 = 16.15
        assert found[place] == pytest.approx(expected, rel=1e-5)
    other = table.merge(SampleTable.of("z", {"maps": np.zeros((1, 3, 4, 2), np.float32)}))
    with pytest.raises(InputError, match="published: 'bioexp'"):
        published.position_threshold(other)
