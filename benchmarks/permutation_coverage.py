"""How often the intervals of the permutation study hold the truth, of simulated exchanges.

    python benchmarks/permutation_coverage.py [SETS]

Each set is `n` new images, exchanged five times: what an image loses is the same in all exchanges,
varies by the exchange, or is all of its IoU in a few images and nothing in the others. The truth is
the mean over images and exchanges without end. Beside each kind stand the share of intervals that
hold it and their mean width.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from conceptseg.stats.estimate import Sampling  # noqa: E402
from conceptseg.study.permutation.assess import reported  # noqa: E402

REPEATS, IOU = 5, 0.8
Losses = tuple[np.ndarray, float]


def spread(rng: np.random.Generator, n: int) -> Losses:
    """Losses of 0.1, by images of 0.08 and by single exchanges of 0.08."""
    own = rng.normal(0.1, 0.08, (n, 1)) + rng.normal(0, 0.08, (n, REPEATS))
    return own.clip(-1 + IOU, IOU), 0.1


def by_exchange(rng: np.random.Generator, n: int) -> Losses:
    """The same, and each exchange has an effect of its own on all images."""
    own = rng.normal(0.1, 0.03, (n, 1)) + rng.normal(0, 0.05, (1, REPEATS))
    return own + rng.normal(0, 0.03, (n, REPEATS)), 0.1


def rare(rng: np.random.Generator, n: int) -> Losses:
    """One image of twenty loses all."""
    return np.repeat(np.where(rng.random((n, 1)) < 0.05, IOU, 0.0), REPEATS, 1), 0.05 * IOU


def nearly_all(rng: np.random.Generator, n: int) -> Losses:
    """All images lose all but one of twenty, which loses nothing."""
    return IOU - rare(rng, n)[0], 0.95 * IOU


def skewed(rng: np.random.Generator, n: int) -> Losses:
    """Most lose little, a few much: exponential, of mean 0.05."""
    return np.repeat(rng.exponential(0.05, (n, 1)).clip(0, IOU), REPEATS, 1), 0.05


KINDS = (spread, by_exchange, rare, nearly_all, skewed)


def cover(kind, n: int, sets: int) -> tuple[float, float]:
    """The share of `sets` whose interval holds the truth, and the intervals' mean width."""
    held, width = [], []
    for number in range(sets):
        values, truth = kind(np.random.default_rng([number, n]), n)
        ids = tuple(f"{i:04d}" for i in range(n))
        found = reported(
            values, np.full((n, 1), 1 - IOU), Sampling(ids, ids, "images", number, 400)
        )
        held.append(found.low <= truth <= found.high)
        width.append(found.high - found.low)
    return float(np.mean(held)), float(np.mean(width))


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    for how in KINDS:
        for images in (8, 20, 60):
            share, wide = cover(how, images, many)
            line = f"{how.__name__}, {images} images: {share:.3f} of {many}, width {wide:.3f}"
            print(line, flush=True)
