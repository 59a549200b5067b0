"""Counting by look-up against searching and loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conceptseg.stats.mergeable.joint_counts import JointCounts
from conceptseg.study.dissect import bins as module
from conceptseg.study.dissect.bins import CELLS, Bins, Counter, combined, resized
from tests.study.dissect.small import placed

SIZES = [4, 3, 6]


def maps(units=5, images=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, units, 6, 7, generator=generator).relu()


def slots(images=8, grid=(12, 14), seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (images, *grid)
    return torch.stack([torch.randint(0, size, shape, generator=generator) for size in SIZES])


def sampled(values):
    return Bins.of(values.transpose(0, 1).flatten(1).numpy(), 32)


def test_a_value_is_beyond_an_edge_where_it_exceeds_it():
    """Searching the edges in float64 says the same, but for values within rounding of an edge."""
    values = maps().transpose(0, 1).flatten(1)
    bins = sampled(maps())
    place = placed(bins, values)
    for unit in range(len(values)):
        v = values[unit].double().numpy()
        expected = np.searchsorted(bins.edges[unit], v, side="right")
        distance = np.abs(v[:, None] - bins.edges[unit]).min(1)
        clear = distance > 1e-5 * np.ptp(v)
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(place[unit][clear], expected[clear])


def test_counts_are_those_of_a_loop_over_eight_images():
    """Every image, unit, pixel and category in turn, with the grid's bilinear maps by torch."""
    activation, own, grid = maps(), slots(), (12, 14)
    bins = sampled(activation)
    offsets = np.cumsum([0, *SIZES])[:-1]
    up = F.interpolate(activation, grid, mode="bilinear", align_corners=False).numpy()
    expected = np.zeros((5, bins.count, sum(SIZES)), np.int64)
    for image in range(8):
        for unit in range(5):
            for y in range(grid[0]):
                for x in range(grid[1]):
                    cell = int((up[image, unit, y, x] - bins.low[unit]) * bins.scale[unit])
                    cell = min(max(cell, 0), CELLS - 1)
                    b = int((bins.cell[unit] <= cell).sum())
                    for g in range(3):
                        expected[unit, b, offsets[g] + int(own[g, image, y, x])] += 1
    found = Counter(bins, "cpu").counts(activation, grid, own, SIZES)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_the_plain_statistic_counts_the_same():
    activation, own, grid = maps(), slots(), (12, 14)
    bins = sampled(activation)
    place = placed(bins, resized(activation, grid).transpose(0, 1).flatten(1))
    shifted = own.flatten(1).numpy() + np.cumsum([0, *SIZES])[:-1, None]
    plain = JointCounts.of(place, shifted, bins.count, sum(SIZES))
    found = Counter(bins, "cpu").counts(activation, grid, own, SIZES)
    np.testing.assert_array_equal(found.numpy(), plain.counts)


@pytest.mark.parametrize("elements", [1, 3000, 1 << 20])
@pytest.mark.parametrize("most", [1, 20, 1000])
def test_neither_blocks_of_units_nor_joined_categories_change_the_counts(
    monkeypatch, elements, most
):
    activation, own, grid = maps(), slots(), (12, 14)
    bins = sampled(activation)
    before = Counter(bins, "cpu").counts(activation, grid, own, SIZES)
    monkeypatch.setattr(module, "CPU_ELEMENTS", elements)
    monkeypatch.setattr(module, "MOST_COMBINATIONS", most)
    parts = list(combined(own.flatten(1), SIZES))
    assert len(parts) == {1: 3, 20: 2, 1000: 1}[most]
    assert torch.equal(Counter(bins, "cpu").counts(activation, grid, own, SIZES), before)


def test_edges_are_quantiles_and_dense_in_the_tails():
    values = np.random.default_rng(0).normal(size=(2, 20_000)).astype(np.float32)
    bins = Bins.of(values, 256)
    assert bins.count == 256
    above = (values[:, :, None] > bins.edges[:, None, :].astype(np.float32)).mean(1)
    for share in (0.0005, 0.005, 0.01, 0.1, 0.5, 0.9):
        nearest = np.abs(above - share).min(1)
        assert (nearest <= 0.05 * share + 1e-4).all(), share


def test_dead_values_stay_in_the_first_bin():
    """The zeros of a rectifier lie below every edge, however many of them there are."""
    values = np.maximum(np.random.default_rng(0).normal(-1, 1, (1, 5000)), 0).astype(np.float32)
    bins = Bins.of(values, 64)
    place = placed(bins, torch.from_numpy(values))
    assert (place[values == 0] == 0).all()
    assert place.max() > 0
