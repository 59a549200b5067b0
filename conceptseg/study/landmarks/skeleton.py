"""The skeleton of a thin region as a graph: ends, forks, crossings and the branches between."""

from dataclasses import dataclass

import numpy as np

WHOLE = np.ones((3, 3), dtype=int)
MOST_PRUNINGS = 10


@dataclass(frozen=True)
class Node:
    """A landmark at a pixel: how many branches meet there, and the region's thickness in px."""

    y: int
    x: int
    degree: int
    thickness: float


@dataclass(frozen=True)
class Graph:
    """A skeleton, bool [h, w], its landmarks, and the region's thickness at each pixel, px."""

    skeleton: np.ndarray
    nodes: tuple[Node, ...]
    thickness: np.ndarray


def graph(region: np.ndarray, thickest: float, slender: float) -> Graph:
    """Of a region, bool [h, w]: landmarks where it is thin, at most `thickest` px.

    Thickness is twice the distance to the nearest pixel outside, less one; the image's frame is not
    outside. Parts whose skeleton is shorter than `slender` times their median thickness are no
    structures. A branch with a free end, shorter than the radius at its fork, is a spur and gone;
    two forks nearer than the thickness there are one. There is no end at the frame.
    """
    from scipy.ndimage import distance_transform_edt, label, maximum_filter
    from skimage.morphology import skeletonize

    if region.all() or not region.any():
        return Graph(np.zeros_like(region), (), np.zeros(region.shape))
    thickness = np.maximum(2 * distance_transform_edt(region) - 1, 0)
    # The skeleton may lie a pixel beside the middle.
    thickness = np.where(region, maximum_filter(thickness, 3), 0)
    skeleton = skeletonize(region)
    skeleton = _pruned(skeleton, thickness)
    parts, count = label(skeleton, WHOLE)
    for part in range(1, count + 1):
        own = parts == part
        if own.sum() < slender * np.median(thickness[own]):
            skeleton &= ~own
    nodes = [
        node
        for node in (*_ends(skeleton, thickness), *_forks(skeleton, thickness))
        if node.thickness <= thickest
    ]
    nodes += [one for one in _middles(skeleton, thickness) if one.thickness <= thickest]
    nodes.sort(key=lambda one: (one.y, one.x))
    return Graph(skeleton, tuple(nodes), thickness)


def neighbours(skeleton: np.ndarray) -> np.ndarray:
    """How many of the eight pixels around each skeleton pixel are of it, int [h, w]."""
    from scipy.ndimage import convolve

    around = convolve(skeleton.astype(int), WHOLE, mode="constant") - 1
    return np.where(skeleton, around, 0)


def _branches(skeleton: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Pixels of forks, bool [h, w], and the skeleton without them, numbered; the last number."""
    from scipy.ndimage import label

    forks = neighbours(skeleton) >= 3
    numbers, count = label(skeleton & ~forks, WHOLE)
    return forks, numbers, count


def _pruned(skeleton: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """Without spurs: branches with a free end that are shorter than the radius at their fork."""
    from scipy.ndimage import binary_dilation, label

    for _ in range(MOST_PRUNINGS):
        forks, numbers, count = _branches(skeleton)
        degree = neighbours(skeleton)
        spurs = np.zeros_like(skeleton)
        for branch in range(1, count + 1):
            own = numbers == branch
            joint = binary_dilation(own, WHOLE) & forks
            free = (degree[own] <= 1).any()
            if free and joint.any() and own.sum() < thickness[joint].max() / 2:
                spurs |= own
        if not spurs.any():
            break
        # Of two spurs that make up a forked tip one has to stay: the longer end of the structure.
        spurs &= ~_longest_tips(numbers, spurs, forks)
        if not spurs.any():
            break
        skeleton = _thinned(skeleton & ~spurs)
    return skeleton if label(skeleton)[1] else np.zeros_like(skeleton)


def _longest_tips(numbers: np.ndarray, spurs: np.ndarray, forks: np.ndarray) -> np.ndarray:
    """Of forks all of whose branches but one are spurs, the longest spur: bool [h, w]."""
    from scipy.ndimage import binary_dilation, label

    kept = np.zeros_like(spurs)
    clusters, count = label(forks, WHOLE)
    for cluster in range(1, count + 1):
        near = binary_dilation(clusters == cluster, WHOLE)
        touching = [n for n in np.unique(numbers[near]).tolist() if n]
        short = [n for n in touching if spurs[numbers == n].any()]
        if short and len(touching) - len(short) < 2:
            longest = max(short, key=lambda n: (int((numbers == n).sum()), -n))
            kept |= numbers == longest
    return kept


def _thinned(skeleton: np.ndarray) -> np.ndarray:
    from skimage.morphology import skeletonize

    return np.asarray(skeletonize(skeleton), dtype=bool)


def _ends(skeleton: np.ndarray, thickness: np.ndarray) -> list[Node]:
    """Pixels with one neighbour, farther from the frame than the structure's radius there."""
    height, width = skeleton.shape
    found = []
    for y, x in np.argwhere(neighbours(skeleton) == 1).tolist():
        frame = min(y, x, height - 1 - y, width - 1 - x)
        if frame > thickness[y, x] / 2 + 1:
            found.append(Node(y, x, 1, float(thickness[y, x])))
    return found


def _forks(skeleton: np.ndarray, thickness: np.ndarray) -> list[Node]:
    """Where three or more branches meet: the pixel nearest to the mean of those that meet there.

    Two forks that lie nearer than the region is thick there are one: the skeleton of a crossing of
    two thick lines has two.
    """
    from scipy.ndimage import binary_dilation, label

    forks, numbers, count = _branches(skeleton)
    for branch in range(1, count + 1):
        own = numbers == branch
        touched, joints = label(forks & binary_dilation(own, WHOLE), WHOLE)
        if joints >= 2 and own.sum() < thickness[touched > 0].max():
            forks |= own
    rest, _ = label(skeleton & ~forks, WHOLE)
    clusters, count = label(forks, WHOLE)
    found = []
    for cluster in range(1, count + 1):
        own = clusters == cluster
        around = binary_dilation(own, WHOLE) & (rest > 0)
        # A branch that comes back to its fork touches it twice.
        degree = sum(label(around & (rest == n), WHOLE)[1] for n in np.unique(rest[around]))
        pixels = np.argwhere(own)
        y, x = pixels[np.argmin(((pixels - pixels.mean(0)) ** 2).sum(1))].tolist()
        if degree >= 3:
            found.append(Node(y, x, degree, float(thickness[y, x])))
    return found


def _middles(skeleton: np.ndarray, thickness: np.ndarray) -> list[Node]:
    """The middle of each branch that is at least as long as it is thick: a node of degree two."""
    from scipy.ndimage import distance_transform_edt

    forks, numbers, count = _branches(skeleton)
    # Farthest from all ends and forks; on a closed loop any pixel.
    stops = forks | (neighbours(skeleton) == 1)
    away = distance_transform_edt(~stops) if stops.any() else np.ones(skeleton.shape)
    found = []
    for branch in range(1, count + 1):
        own = numbers == branch
        pixels = np.argwhere(own)
        y, x = pixels[np.argmax(away[own])].tolist()
        if len(pixels) >= thickness[y, x]:
            found.append(Node(y, x, 2, float(thickness[y, x])))
    return found
