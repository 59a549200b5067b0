"""Which clusters of segments are kept as concepts, and which segments stand for them."""

from collections import Counter
from typing import Any

import numpy as np

from conceptseg.concepts.contract import Concepts
from conceptseg.study.ace.config import Ace


def survives(places: int, images: int, all_images: int) -> bool:
    """ACE's rule: a cluster is kept when it comes from enough images for its size.

    u > n/2, or u > n/4 and u > N/4, or u > n/10 and u > N/2, for n places in u of N images.

    Source: Ghorbani et al. 2019, section 3 and the published code, where n counts segments. Here
    it counts places (see `places`): a stretch of road that three scales of superpixels cut into
    forty segments is one, or no cluster of "stuff" would ever be kept.
    """
    return (
        images > places / 2
        or (images > places / 4 and images > all_images / 4)
        or (images > places / 10 and images > all_images / 2)
    )


def places(image: np.ndarray, box: np.ndarray) -> int:
    """Number of groups of segments that touch: same image, bounding boxes adjacent or overlapping.

    `image` [m] ascending or not, `box` [m, 4] as top, left, bottom, right (exclusive).
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    total = 0
    for owner in np.unique(image):
        top, left, bottom, right = box[image == owner].T
        touch = (top[:, None] <= bottom) & (top <= bottom[:, None])
        touch &= (left[:, None] <= right) & (left <= right[:, None])
        total += connected_components(csr_array(touch), directed=False, return_labels=False)
    return total


def survivors(
    study: Ace,
    found: Concepts,
    image: np.ndarray,
    box: np.ndarray,
) -> tuple[list[tuple[np.ndarray, float, int]], list[dict[str, Any]]]:
    """Clusters that are kept, largest first, and why the others are not."""
    n_images = int(image.max()) + 1
    kept, dropped = [], []
    members, stability = found.members, found.stability
    sizes = np.bincount(members[members >= 0], minlength=len(stability))
    for cluster in np.argsort(-sizes, kind="stable").tolist():
        rows = np.flatnonzero(members == cluster)
        # Equal distances are ordered by position, which is the order of sample ids.
        rows = rows[np.lexsort((rows, found.distances[rows]))]
        images = len(np.unique(image[rows]))
        if images < study.min_images:
            reason = f"in {images} images only, fewer than {study.min_images}"
        elif not survives(places(image[rows], box[rows]), images, n_images):
            reason = "it lies in too few images for the number of its places"
        else:
            kept.append((rows, float(stability[cluster]), cluster))
            continue
        dropped.append(drop(cluster, rows, image, reason))
    return kept, dropped


def drop(cluster: int, rows: np.ndarray, image: np.ndarray, reason: str) -> dict[str, Any]:
    images = len(np.unique(image[rows]))
    return {"cluster": cluster, "segments": len(rows), "images": images, "reason": reason}


def core_of(members: np.ndarray, image: np.ndarray, size: int, per_image: int) -> np.ndarray:
    """The first `size` members, at most `per_image` of one image."""
    seen: Counter[int] = Counter()
    core = []
    for row in members.tolist():
        seen[image[row]] += 1
        if seen[image[row]] <= per_image:
            core.append(row)
    return np.array(core[:size], dtype=np.int64)
