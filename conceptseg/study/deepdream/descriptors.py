"""Numbers that describe an image, a region in it and what is predicted: 28 of them, named.

Images [c, h, w] in [0, 1], masks bool [h, w]. Brightness is the mean of channels. The ring is what
lies within a tenth of the image's longer side around the region. What is undefined (shape of an
empty prediction, texture of a region of a few pixels) is nan.
"""

from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, uniform_filter
from skimage.measure import regionprops
from skimage.metrics import structural_similarity

LEVELS = 16
"""Grey levels of co-occurrence matrices."""

NAMES = {
    "mean": "brightness in the region",
    "deviation": "contrast in the region (SD)",
    "against_ring": "brightness, region minus ring",
    "edge": "gradient along the region's edge",
    "inner_gradient": "gradient in the region",
    "fine_texture": "fine texture in the region",
    "homogeneity": "co-occurrence homogeneity",
    "dissimilarity": "co-occurrence dissimilarity",
    "pattern_entropy": "entropy of local binary patterns",
    "frequency": "mean frequency in the region",
    "coherence": "one orientation prevails",
    "orientation": "horizontal minus vertical lines",
    "saturation": "saturation in the region",
    "warmth": "first minus last channel in the region",
    "ring_mean": "brightness of the ring",
    "ring_deviation": "contrast of the ring (SD)",
    "ring_fine_texture": "fine texture of the ring",
    "rest_mean": "brightness of the rest",
    "rest_deviation": "contrast of the rest (SD)",
    "rest_fine_texture": "fine texture of the rest",
    "area": "area predicted as the class",
    "compactness": "compactness of what is predicted",
    "eccentricity": "eccentricity of what is predicted",
    "solidity": "solidity of what is predicted",
    "other_classes": "area of other classes outside the region",
    "change_inside": "share of the change inside the region",
    "change_near": "share of the change in the region and its ring",
    "similarity": "structural similarity to the start",
}
RELATIVE = ("change_inside", "change_near", "similarity")
"""Measured against the start of a path, so that a natural image has none."""
PREDICTED = ("area", "compactness", "eccentricity", "solidity", "other_classes")


def describe(
    image: np.ndarray,
    region: np.ndarray,
    prediction: np.ndarray,
    class_id: int,
    background: int | None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """All descriptors, float64 in the order of `NAMES`; `prediction` int [h, w]."""
    values = dict.fromkeys(NAMES, float("nan"))
    grey = np.asarray(image, np.float64).mean(0)
    ring = around(region)
    rest = ~region & ~ring
    down, across = np.gradient(grey)
    slope = np.hypot(down, across)
    fine = local_deviation(grey)
    for name, mask in (("", region), ("ring_", ring), ("rest_", rest)):
        if mask.any():
            values[f"{name}mean"] = grey[mask].mean()
            values[f"{name}deviation"] = grey[mask].std()
            values[f"{name}fine_texture"] = fine[mask].mean()
    values["against_ring"] = values["mean"] - values["ring_mean"]
    values["edge"] = _mean(slope, border(region))
    values["inner_gradient"] = _mean(slope, region)
    values |= texture(grey, region)
    values |= lines(down, across, region)
    if image.shape[0] >= 3:
        high, low = image.max(0), image.min(0)
        values["saturation"] = _mean((high - low) / np.maximum(high, 1e-6), region)
        values["warmth"] = _mean(image[0] - image[-1], region)
    values |= shape(prediction == class_id)
    other = (prediction != class_id) & ~region
    if background is not None:
        other &= prediction != background
    values["other_classes"] = other.mean()
    if start is not None:
        values |= against(image, start, region, region | ring)
    return np.array([values[name] for name in NAMES], dtype=np.float64)


def around(region: np.ndarray) -> np.ndarray:
    """The ring: outside the region, within a tenth of the longer side of it."""
    reach = max(1.0, 0.1 * max(region.shape))
    return np.asarray((distance_transform_edt(~region) <= reach) & ~region)


def border(region: np.ndarray) -> np.ndarray:
    """Pixels of the region with a neighbour outside, and those outside with one in it."""
    return np.asarray(binary_dilation(region) & ~binary_erosion(region, border_value=1))


def local_deviation(grey: np.ndarray) -> np.ndarray:
    """Standard deviation in each 3 x 3 neighbourhood."""
    mean = uniform_filter(grey, 3, mode="nearest")
    square = uniform_filter(grey**2, 3, mode="nearest")
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)))


def texture(grey: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """Co-occurrence with the pixel to the right and below, local binary patterns, frequency."""
    levels = np.minimum((np.clip(grey, 0, 1) * LEVELS).astype(int), LEVELS - 1)
    down, across = (np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])
    neighbours: tuple[tuple[Any, Any], ...] = (down, across)
    gaps = []
    for first, last in neighbours:
        gaps.append(np.abs(levels[first] - levels[last])[region[first] & region[last]])
    gap = np.concatenate(gaps).astype(np.float64)
    values = {}
    if gap.size:
        values["homogeneity"] = float((1 / (1 + gap**2)).mean())
        values["dissimilarity"] = float(gap.mean())
    values["pattern_entropy"] = _pattern_entropy(grey, region)
    values["frequency"] = _frequency(grey, region)
    return values


def _pattern_entropy(grey: np.ndarray, region: np.ndarray) -> float:
    """Entropy in bits of which of the eight neighbours are brighter, over the region."""
    if not region.any():
        return float("nan")
    padded = np.pad(grey, 1, mode="edge")
    h, w = grey.shape
    code = np.zeros((h, w), dtype=int)
    shifts = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    for bit, (y, x) in enumerate(shifts):
        # A margin above rounding, or a flat region would show the noise of arithmetic.
        code |= (padded[y : y + h, x : x + w] > grey + 1 / 512).astype(int) << bit
    share = np.bincount(code[region], minlength=256) / region.sum()
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _frequency(grey: np.ndarray, region: np.ndarray) -> float:
    """Mean frequency in cycles per pixel, weighted by power, of the region on its own mean."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if len(rows) < 4 or len(columns) < 4:
        return float("nan")
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    mask = region[box]
    cut = np.where(mask, grey[box] - grey[box][mask].mean(), 0.0)
    power = np.abs(np.fft.fft2(cut)) ** 2
    total = power.sum()
    if total <= 1e-12:
        return float("nan")
    fy, fx = np.fft.fftfreq(cut.shape[0])[:, None], np.fft.fftfreq(cut.shape[1])[None]
    return float((power * np.hypot(fy, fx)).sum() / total)


def lines(down: np.ndarray, across: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """Of the structure tensor over the region: coherence in [0, 1], and its direction.

    `orientation` is (J_yy - J_xx) / (J_yy + J_xx): 1 for horizontal lines, -1 for vertical ones.
    """
    yy, xx = (down[region] ** 2).sum(), (across[region] ** 2).sum()
    xy = (down[region] * across[region]).sum()
    total = yy + xx
    if total <= 1e-12:
        return {}
    split = float(np.hypot(yy - xx, 2 * xy) / total)
    return {"coherence": split, "orientation": float((yy - xx) / total)}


def shape(mask: np.ndarray) -> dict[str, float]:
    """Area, compactness 4 pi A / P^2, eccentricity and solidity of all that is in the mask."""
    values = {"area": float(mask.mean())}
    if mask.sum() >= 9:
        (shown,) = regionprops(mask.astype(np.uint8))
        values["eccentricity"] = float(shown.eccentricity)
        if mask.any(0).sum() > 2 and mask.any(1).sum() > 2:
            values["solidity"] = float(shown.solidity)
        if shown.perimeter > 0:
            values["compactness"] = float(4 * np.pi * shown.area / shown.perimeter**2)
    return values


def against(
    image: np.ndarray, start: np.ndarray, region: np.ndarray, near: np.ndarray
) -> dict[str, float]:
    """What changed since the start: where, and how alike the two still are."""
    change = ((np.asarray(image, np.float64) - start) ** 2).sum(0)
    total = change.sum()
    side = min(7, *(s - (s % 2 == 0) for s in region.shape))
    same = structural_similarity(
        np.asarray(image, np.float64).mean(0),
        np.asarray(start, np.float64).mean(0),
        win_size=side,
        data_range=1.0,
    )
    values = {"similarity": float(same)}
    if total > 0:
        values["change_inside"] = float(change[region].sum() / total)
        values["change_near"] = float(change[near].sum() / total)
    return values


def _mean(values: np.ndarray, mask: np.ndarray) -> float:
    return float(values[mask].mean()) if mask.any() else float("nan")
