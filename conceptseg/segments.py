"""Superpixels at several scales: the patches from which concepts are found.

Source: Ghorbani et al. 2019, "Towards automatic concept-based explanations" (ACE), section 3:
SLIC at three scales, small and duplicate segments dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MIN_AREA_FRACTION = 0.001
MAX_OVERLAP = 0.5


@dataclass(frozen=True)
class Segments:
    """The s kept segments of one image of h x w pixels.

    `maps` [levels, h, w] holds each pixel's segment at each scale, -1 where it was dropped;
    `level` [s], `area` [s] in pixels, `box` [s, 4] as top, left, bottom, right (exclusive).
    """

    maps: np.ndarray
    level: np.ndarray
    area: np.ndarray
    box: np.ndarray

    def __len__(self) -> int:
        return len(self.level)

    def mask(self, index: int) -> np.ndarray:
        """The pixels of one segment, bool [h, w]."""
        return self.maps[self.level[index]] == index

    def shares(self, classes: np.ndarray, count: int) -> np.ndarray:
        """Share of each segment's pixels in each class of a map [h, w] in 0..count-1, [s, count].

        Pixels of the map outside 0..count-1 belong to no class.
        """
        return self._histogram(classes, count) / self.area[:, None]

    def weights(self, grid: tuple[int, int]) -> np.ndarray:
        """Share of each segment's pixels in each cell of a y x x grid, float32 [s, y * x].

        The product with a layer's activations [y * x, u] is their mean over the segment. A pixel
        counts for the cell that its centre lies in.
        """
        cells = _cells(self.maps.shape[1:], grid)
        return (self._histogram(cells, grid[0] * grid[1]) / self.area[:, None]).astype(np.float32)

    def pooled(self, activation: Tensor) -> np.ndarray:
        """Mean of an activation [u, y, x] over each segment, float32 [s, u]."""
        import torch

        grid = (int(activation.shape[-2]), int(activation.shape[-1]))
        weights = torch.from_numpy(self.weights(grid)).to(activation)
        return (weights @ activation.flatten(1).T).float().cpu().numpy()

    def _histogram(self, values: np.ndarray, count: int) -> np.ndarray:
        """Pixels of each segment with each value in 0..count-1, int [s, count]."""
        known = (values >= 0) & (values < count)
        table = np.zeros(len(self) * count, dtype=np.int64)
        for level_map in self.maps:
            inside = known & (level_map >= 0)
            pairs = level_map[inside].astype(np.int64) * count + values[inside]
            table += np.bincount(pairs, minlength=table.size)
        return table.reshape(len(self), count)


def segment(
    image: np.ndarray,
    scales: tuple[int, ...] = (15, 50, 80),
    *,
    compactness: float = 20.0,
    sigma: float = 1.0,
) -> Segments:
    """SLIC superpixels of an image [c, h, w] in [0, 1] at several scales.

    A segment below 0.1 % of the image, or with a Jaccard index above 0.5 with one that is already
    kept, is dropped. Three channels are compared in Lab; any other number as they are, times 100
    so that `compactness` means the same as for Lab, whose lightness runs from 0 to 100.

    Source: Achanta et al. 2012 (SLIC); parameters of ACE's published code.
    """
    from skimage.segmentation import slic

    pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1), dtype=np.float32)
    colour = pixels.shape[-1] == 3
    h, w = pixels.shape[:2]
    levels: list[np.ndarray] = []
    for n_segments in scales:
        found = slic(
            pixels if colour else pixels * 100,
            n_segments=n_segments,
            compactness=compactness,
            sigma=sigma,
            channel_axis=-1,
            convert2lab=colour,
            start_label=0,
        )
        _, found = np.unique(found, return_inverse=True)
        levels.append(found.reshape(h, w))
    keep = _survivors(levels, MIN_AREA_FRACTION * h * w)
    return _collect(levels, keep)


def _survivors(levels: list[np.ndarray], min_area: float) -> list[np.ndarray]:
    """Which segments of each level are kept, bool, by one histogram of label pairs per level pair.

    Segments of one level are disjoint, so only those of earlier levels can be duplicated.
    """
    areas = [np.bincount(level.ravel()) for level in levels]
    keep: list[np.ndarray] = []
    for b, level in enumerate(levels):
        good = areas[b] >= min_area
        for a in range(b):
            n_a, n_b = len(areas[a]), len(areas[b])
            pairs = levels[a].ravel() * n_b + level.ravel()
            shared = np.bincount(pairs, minlength=n_a * n_b).reshape(n_a, n_b)
            union = areas[a][:, None] + areas[b][None, :] - shared
            overlap = np.where(keep[a][:, None], shared / union, 0.0)
            good &= overlap.max(0) <= MAX_OVERLAP
        keep.append(good)
    return keep


def _collect(levels: list[np.ndarray], keep: list[np.ndarray]) -> Segments:
    from scipy.ndimage import find_objects

    maps, level_of, areas, boxes = [], [], [], []
    start = 0
    for index, (level, good) in enumerate(zip(levels, keep, strict=True)):
        numbers = np.full(len(good), -1, dtype=np.int32)
        numbers[good] = start + np.arange(good.sum())
        maps.append(numbers[level])
        start += int(good.sum())
        level_of += [index] * int(good.sum())
        areas.append(np.bincount(level.ravel())[good])
        for slices, kept in zip(find_objects(level + 1), good, strict=True):
            if kept:
                rows, columns = slices
                boxes.append((rows.start, columns.start, rows.stop, columns.stop))
    return Segments(
        np.stack(maps),
        np.array(level_of, dtype=np.int16),
        np.concatenate(areas).astype(np.int64),
        np.array(boxes, dtype=np.int32).reshape(-1, 4),
    )


@lru_cache(maxsize=8)
def _cells(size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    rows = ((np.arange(size[0]) + 0.5) * grid[0] / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * grid[1] / size[1]).astype(np.int64)
    return rows[:, None] * grid[1] + columns[None, :]


def ring(mask: np.ndarray, fraction: float = 0.1) -> np.ndarray:
    """The pixels around a region: within `fraction` of the image's diagonal, not in it.

    Distance is the larger of the row and column distance, so that two one-dimensional filters do.
    bool [h, w] -> bool [h, w].
    """
    from scipy.ndimage import maximum_filter1d

    radius = max(1, round(fraction * float(np.hypot(*mask.shape))))
    wide = mask.astype(np.uint8)
    for axis in (0, 1):
        wide = maximum_filter1d(wide, 2 * radius + 1, axis=axis, mode="constant")
    return (wide > 0) & ~mask
