"""Whether a map is dots on a grid, as dilated and strided convolutions make them."""

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_CELLS = 4
"""Periods of a grid that must fit into a side of the map, or nothing can be said of it."""


def grid_energy(attributions: Tensor, periods: Sequence[float]) -> tuple[float, float]:
    """The largest share of a map's energy at the frequencies of a grid, and that grid's period.

    A map [h, w] without its mean has energy |F|^2 at frequencies (v, u) per pixel. A grid of period
    p, whatever slow outline it has, lies around multiples of 1 / p: in squares of half the distance
    between two of them, a quarter of the plane, that about 0 apart. Noise lies there and between
    alike, so the share is what the squares have beyond the density of what lies between, of all;
    in [0, 1], 0 for smooth maps and for noise. Periods below 2 px, or of which fewer than 4 fit in
    a side, are left out; (0, 0) where none is left, and for a map without contrast.
    """
    energy = torch.fft.fft2(attributions.double() - attributions.double().mean()).abs().square()
    whole = float(energy.sum())
    best = (0.0, 0.0)
    if whole <= 1e-20:
        return best
    down, across = (torch.fft.fftfreq(side) for side in attributions.shape)
    for period in sorted(set(periods)):
        if period < 2 or LEAST_CELLS * period > min(attributions.shape):
            continue
        near = [_near(axis * period) for axis in (down, across)]
        still = [(axis * period).abs() < 0.5 for axis in (down, across)]
        beside = ~(still[0][:, None] & still[1])
        on = near[0][:, None] & near[1] & beside
        between = beside & ~on
        excess = energy[on].sum() - energy[between].mean() * on.sum() if between.any() else 0.0
        share = max(0.0, float(excess)) / whole
        if share > best[0]:
            best = (share, float(period))
    return best


def _near(cycles: Tensor) -> Tensor:
    """Whether numbers of cycles lie within a quarter of a whole number."""
    return (cycles - cycles.round()).abs() <= 0.25
