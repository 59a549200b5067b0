"""Dots on a grid are told from smooth maps and from noise."""

import pytest
import torch

from conceptseg.explain.grids import grid_energy

H, W = 96, 128
GENERATOR = torch.Generator().manual_seed(0)


def blob():
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return torch.exp(-((y - 40.0) ** 2 + (x - 70.0) ** 2) / 800.0)


def dots(period):
    found = torch.zeros(H, W)
    found[::period, ::period] = 1.0
    return found


@pytest.mark.parametrize("period", [4, 8, 16])
def test_dots_within_an_outline_are_seen_at_their_period(period):
    share, found = grid_energy(blob() * dots(period), [2, 4, 8, 16])
    assert share > 0.6 and found in (period, 2 * period)
    # Of dots a part that falls with the period lies around zero frequency.
    assert grid_energy(blob() * dots(period), [period])[0] > 0.6


def test_smooth_maps_and_noise_have_none():
    assert grid_energy(blob(), [2, 4, 8, 16])[0] < 0.01
    noise = torch.randn(H, W, generator=GENERATOR)
    assert grid_energy(noise, [4, 8])[0] < 0.05
    assert grid_energy(blob() + 0.05 * noise, [4, 8])[0] < 0.05


def test_red_and_blue_dots_count_too():
    signs = torch.randint(0, 2, (H, W), generator=GENERATOR) * 2 - 1
    assert grid_energy(dots(8) * 1.0, [8])[0] > 0.9
    # Signs at random take the grid's phase away: what is left is noise.
    assert grid_energy(dots(8) * signs, [8])[0] < 0.3


def test_nothing_can_be_said_of_long_periods_or_flat_maps():
    assert grid_energy(blob() * dots(8), [1, 64]) == (0.0, 0.0)
    assert grid_energy(torch.ones(H, W), [8]) == (0.0, 0.0)
