"""Superpixels at several scales: the patches from which concepts are found.

Source: Ghorbani et al. 2019, "Towards automatic concept-based explanations" (ACE), section 3:
SLIC at three scales, small and duplicate segments dropped.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MIN_AREA_FRACTION = 0.001
MAX_OVERLAP = 0.5
SCALES = (15, 50, 80)
"""ACE's segments per image, of its three scales."""
WIDE, FITTING, MOST = 5.0, 3.5, 1000
"""A square segment's side in widths of a region: above the first, superpixels hardly ever follow
the region; at the second they do over most of it. And segments of one scale, at most."""
SMALLEST = 0.001
"""Share of an image below which a region's width is not measured."""


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

    @classmethod
    def of(cls, maps: np.ndarray) -> Segments:
        """The segments 0..s-1 of maps [levels, h, w], which lie in order of their levels."""
        from scipy.ndimage import find_objects

        count = int(maps.max(initial=-1)) + 1
        areas = [np.bincount(one[one >= 0], minlength=count) for one in maps]
        places = [place for one in maps for place in find_objects(one + 1) if place]
        boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in places]
        return cls(
            maps,
            np.argmax(areas, axis=0).astype(np.int16),
            np.sum(areas, axis=0),
            np.array(boxes, dtype=np.int32).reshape(-1, 4),
        )

    def with_regions(self, regions: Sequence[np.ndarray | None]) -> Segments:
        """With further segments, each on a level of its own: bool [h, w]; None, and empty ones,
        leave the level without a segment."""
        maps, count = [*self.maps], len(self)
        for region in regions:
            own = np.full(self.maps.shape[1:], -1, self.maps.dtype)
            if region is not None and region.any():
                own[region] = count
                count += 1
            maps.append(own)
        return Segments.of(np.stack(maps))

    @classmethod
    def unpacked(cls, packed: np.ndarray) -> Segments:
        """The segments that :meth:`packed` was called on."""
        steps = np.load(io.BytesIO(zlib.decompress(packed.tobytes())), allow_pickle=False)
        return cls.of(np.cumsum(steps, axis=-1, dtype=np.int32))

    def packed(self) -> np.ndarray:
        """All that is known of the segments in few bytes, uint8: about a tenth of a photograph."""
        steps = np.diff(self.maps, axis=-1, prepend=0)
        small = np.int16 if len(self) < 2**15 - 1 else np.int32
        buffer = io.BytesIO()
        np.save(buffer, steps.astype(small), allow_pickle=False)
        return np.frombuffer(zlib.compress(buffer.getvalue(), 1), dtype=np.uint8)

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


def width(region: np.ndarray) -> float:
    """Width of a region, bool [h, w], in pixels; nan if it is empty.

    At each pixel a region is as wide as the widest disc in it that covers the pixel; this is the
    median over pixels, to a pixel or so. The image's frame is no rim.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    if not region.any() or region.all():
        return float(min(region.shape)) if region.any() else float("nan")
    places = find_objects(region.astype(np.int8))[0]
    around = tuple(slice(max(one.start - 1, 0), one.stop + 1) for one in places)
    mine = region[around]
    if mine.all():  # across the whole image from one side to the other
        return float(min(mine.shape))
    distance = distance_transform_edt(mine)
    radii = np.unique(distance[mine])
    low, high = 0, len(radii) - 1  # discs of the first radius cover all
    while low < high:
        middle = (low + high + 1) // 2
        radius = radii[middle]
        covered = distance_transform_edt(distance < radius) < radius
        if (covered & mine).sum() * 2 >= mine.sum():
            low = middle
        else:
            high = middle - 1
    return float(2 * radii[low] - 1)


def widths(classes: np.ndarray, count: int) -> np.ndarray:
    """The :func:`width` of each class's region in a map [h, w] of classes, [count].

    nan for a class that covers less than a thousandth of the image.
    """
    found = np.full(count, np.nan)
    for c in range(count):
        region = classes == c
        if region.mean() >= SMALLEST:
            found[c] = width(region)
    return found


def fitting_scales(
    narrowest: float, size: tuple[int, int], scales: tuple[int, ...] = SCALES
) -> tuple[int, ...]:
    """The scales, and a finer one where no segment of theirs could follow so narrow a region.

    `narrowest` is the region's width in pixels in images of height and width `size`.
    """
    area = size[0] * size[1]
    if not np.isfinite(narrowest) or area / max(scales) <= (WIDE * narrowest) ** 2:
        return scales
    return (*scales, min(MOST, round(area / (FITTING * narrowest) ** 2)))


def least_area(scales: tuple[int, ...]) -> float:
    """Share of an image below which segments are dropped: 0.1 %, or a quarter of the finest's."""
    return min(MIN_AREA_FRACTION, 0.25 / max(scales))


def segment(
    image: np.ndarray,
    scales: tuple[int, ...] = SCALES,
    *,
    compactness: float = 20.0,
    sigma: float = 1.0,
    min_area_fraction: float = MIN_AREA_FRACTION,
) -> Segments:
    """SLIC superpixels of an image [c, h, w] in [0, 1] at several scales.

    A segment below `min_area_fraction` of the image, or with a Jaccard index above 0.5 with one
    that is already kept, is dropped. Three channels are compared in Lab, whose lightness runs from
    0 to 100; any
    other number as they are, from 0 to 1, with a hundredth of `compactness`, so that it weighs
    place against colour alike. Values are first stretched to 0..1 over the image.

    Source: Achanta et al. 2012 (SLIC); parameters of ACE's published code.
    """
    from skimage.segmentation import slic

    pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1), dtype=np.float32)
    colour = pixels.shape[-1] == 3
    h, w = pixels.shape[:2]
    levels: list[np.ndarray] = []
    for n_segments in scales:
        found = slic(
            pixels,
            n_segments=n_segments,
            # scikit-image stretches the image to 0..1 itself: to scale it would change nothing.
            compactness=compactness if colour else compactness / 100,
            sigma=sigma,
            channel_axis=-1,
            convert2lab=colour,
            start_label=0,
        )
        _, found = np.unique(found, return_inverse=True)
        levels.append(found.reshape(h, w))
    keep = _survivors(levels, min_area_fraction * h * w)
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
    """The segments that are kept, numbered anew from 0."""
    kept = np.concatenate(keep)
    numbers = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
    each = np.split(numbers, np.cumsum([len(good) for good in keep])[:-1])
    return Segments.of(np.stack([own[level] for own, level in zip(each, levels, strict=True)]))


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
    return grown(mask, ring_px(mask.shape, fraction)) & ~mask


def ring_px(size: Sequence[int], fraction: float = 0.1) -> int:
    """How wide that is in an image of such a height and width."""
    return max(1, round(fraction * float(np.hypot(size[0], size[1]))))


def grown(mask: np.ndarray, radius: int) -> np.ndarray:
    """A region with all that is no farther from it in rows and in columns; bool [h, w]."""
    from scipy.ndimage import maximum_filter1d

    wide = mask.astype(np.uint8)
    for axis in (0, 1):
        wide = maximum_filter1d(wide, 2 * radius + 1, axis=axis, mode="constant")
    return wide > 0
