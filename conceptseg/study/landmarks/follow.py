"""How far a map reaches from a landmark, and whether it follows the structure there."""

import numpy as np

from conceptseg.stats.intervals import Floats

OVERLAP = 0.5
"""A turned structure that lies on itself by more than this is no other place."""
MOST = 6.0
"""Bound of the anisotropy, in octaves: a structure that holds all, or nothing."""
LEAST_PX = 8
"""With fewer pixels of structure around a landmark nothing is said of directions."""


def reaches(magnitude: np.ndarray, y: int, x: int, radii: Floats) -> Floats:
    """Share of a map's absolute values [h, w] within each distance in px of a pixel, [r].

    nan of a map that is zero everywhere.
    """
    distance = _distance(magnitude.shape, y, x)
    total = float(magnitude.sum())
    if not total > 0:
        return np.full(len(radii), np.nan)
    return np.array([float(magnitude[distance <= radius].sum()) / total for radius in radii])


def anisotropy(
    magnitude: np.ndarray,
    structure: np.ndarray,
    y: int,
    x: int,
    inner: float,
    outer: float,
    turns: int,
) -> tuple[float, float]:
    """How much more a map holds on a structure than beside it, in octaves, and a share.

    The mean of absolute values [h, w] on the structure, bool [h, w], between two distances of a
    pixel, over the mean on the same pixels turned about it: log2 of the ratio, so 0 where the map
    does not follow, 1 where it holds twice as much. Turning keeps distances; angles at which the
    structure mostly lies on itself, or half outside of the image, are left out. The share is that
    of the angles, and 1 for the structure itself, whose mean is as large or larger: a p-value of
    this one landmark, were all directions alike.

    nan where the structure has hardly a pixel there, no angle is left, or all is zero.
    """
    distance = _distance(structure.shape, y, x)
    rows, columns = np.nonzero(structure & (distance > inner) & (distance <= outer))
    if len(rows) < LEAST_PX:
        return np.nan, np.nan
    offsets = np.stack([rows - y, columns - x])
    here = float(magnitude[rows, columns].mean())
    elsewhere = []
    for angle in 2 * np.pi * np.arange(1, turns) / turns:
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        at = np.rint(turned @ offsets).astype(int) + np.array([[y], [x]])
        inside = ((at >= 0) & (at < np.array([[structure.shape[0]], [structure.shape[1]]]))).all(0)
        at = at[:, inside]
        if 2 * inside.sum() < len(inside) or structure[at[0], at[1]].mean() > OVERLAP:
            continue
        elsewhere.append(float(magnitude[at[0], at[1]].mean()))
    beside = float(np.mean(elsewhere)) if elsewhere else 0.0
    if not elsewhere or not here + beside > 0:
        return np.nan, np.nan
    ratio = np.log2(max(here, 1e-300) / max(beside, 1e-300))
    reached = (1 + np.sum(np.array(elsewhere) >= here)) / (1 + len(elsewhere))
    return float(np.clip(ratio, -MOST, MOST)), float(reached)


def _distance(size: tuple[int, ...], y: int, x: int) -> Floats:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.hypot(rows - y, columns - x)
