"""Objects: connected components of a class's region, their shape, what a layer holds of them, and
their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.concepts.segments import Segments
from conceptseg.report.thumbnails import outlined

MARGIN = 0.6
"""What is shown around an object, on each side, as a part of its box's longer side."""
LEAST_PX = 8
"""Half the side of the least that is shown."""


@dataclass(frozen=True)
class Part:
    """A component: its class and its pixels, bool [h, w]."""

    class_id: int
    mask: np.ndarray


def parts(regions: np.ndarray, classes: Sequence[int], per_image: int, least: float) -> list[Part]:
    """The largest components of each class of a map [h, w], 8-connected, the largest first.

    Components of less than `least` pixels are left out.
    """
    from scipy.ndimage import label

    found = []
    for c in classes:
        numbers, count = label(regions == c, np.ones((3, 3), int))
        if count:
            areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
            order = np.lexsort((np.arange(count), -areas))[:per_image]
            found += [Part(c, numbers == k + 1) for k in order.tolist() if areas[k] >= least]
    return found


def boxes(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The box of each of some masks, bool [h, w] and not empty: int32 [m, 4], top, left, bottom,
    right, the last two one beyond it."""
    rows = [np.nonzero(mask) for mask in masks]
    return np.array([(y.min(), x.min(), y.max() + 1, x.max() + 1) for y, x in rows], np.int32)


def middles(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The mean place of each mask's pixels, bool [h, w] and not empty: float64 [m, 2], y and x as
    parts of the image."""
    return np.array([(np.mean(np.nonzero(mask), 1) + 0.5) / mask.shape for mask in masks])


def shape(mask: np.ndarray) -> np.ndarray:
    """Eight numbers of a component, none with a unit.

    Log share of the image; log height and width as parts of the image's; log of the two principal
    deviations as parts of its diagonal; elongation times the cosine and sine of twice the axis'
    angle; share of its box that it fills.
    """
    rows, columns = np.nonzero(mask)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    # A pixel is a square, not a point: 1/12 is its own variance.
    spread = np.cov(np.stack([rows, columns]), bias=True) + np.eye(2) / 12
    small, large = np.linalg.eigvalsh(spread)
    both = float(np.hypot(spread[1, 1] - spread[0, 0], 2 * spread[0, 1]))
    long = (large - small) / (large + small)
    turned = np.array([spread[1, 1] - spread[0, 0], 2 * spread[0, 1]]) / max(both, 1e-12)
    diagonal = np.hypot(*mask.shape)
    return np.array(
        [
            np.log(len(rows) / mask.size),
            np.log(height / mask.shape[0]),
            np.log(width / mask.shape[1]),
            np.log(np.sqrt(small) / diagonal),
            np.log(np.sqrt(large) / diagonal),
            *(long * turned),
            len(rows) / (height * width),
        ]
    )


def pooled(masks: Sequence[np.ndarray], activation: torch.Tensor) -> np.ndarray:
    """Mean of an activation [u, y, x] over each mask, float32 [s, u]; 0 of an empty one.

    Masks may overlap, so that each lies on a level of its own.
    """
    maps = np.full((len(masks), *masks[0].shape), -1, np.int32)
    held = [place for place, mask in enumerate(masks) if mask.any()]
    for number, place in enumerate(held):
        maps[place][masks[place]] = number
    result = np.zeros((len(masks), activation.shape[0]), np.float32)
    if held:
        result[held] = Segments.of(maps).pooled(activation)
    return result


def cut_out(image: np.ndarray, region: np.ndarray, box: list[int], side: int) -> bytes:
    """A square of an image [c, h, w] around a box, the object in it outlined."""
    from scipy.ndimage import label

    top, left, bottom, right = box
    numbers = label(region[top:bottom, left:right], np.ones((3, 3), int))[0]
    mask = np.zeros(region.shape, bool)
    if numbers.any():  # the object is the largest component in its own box
        mask[top:bottom, left:right] = numbers == 1 + np.argmax(np.bincount(numbers.ravel())[1:])
    half = max(LEAST_PX, round((0.5 + MARGIN) * max(bottom - top, right - left)))
    rows = _window((top + bottom) // 2, half, region.shape[0])
    columns = _window((left + right) // 2, half, region.shape[1])
    return outlined(image[:, rows, columns], mask[rows, columns], side)


def _window(centre: int, half: int, length: int) -> slice:
    """2 half pixels around a centre, moved so that they lie in 0..length; all where it is less."""
    start = min(max(0, centre - half), max(0, length - 2 * half))
    return slice(start, min(length, start + 2 * half))
