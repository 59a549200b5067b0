"""The segments of a study as one class sees them, and random concepts that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TAGS = ("inside", "ring", "elsewhere")
INSIDE = TAGS.index("inside")
MOSTLY = 0.5
"""Share of a concept that lies away from a class, or of a class that what lies there acts on, from
which on a use may be told to act from there, or not to."""
BELONGS = 0.001
"""Random sets of segments are taken for a class's own parts this rarely."""


@dataclass(frozen=True)
class Pool:
    """The segments that concepts and their nulls are made of, as one class sees them.

    `embeddings` [s, u]; `image` [s] the index of the image each segment lies in; `tag` [s] index
    into `TAGS`; `means` [tags + 1, u] of the embeddings of each tag, and last of all.

    A *row* is a segment with what it is compared with: row s stands for segment s among those of
    its tag, row s + len(pool) for the same segment among all.
    """

    embeddings: np.ndarray
    image: np.ndarray
    tag: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, embeddings: np.ndarray, image: np.ndarray, tag: np.ndarray) -> Pool:
        sums = [embeddings[tag == t].sum(0, dtype=np.float64) for t in range(len(TAGS))]
        counts = np.maximum(np.bincount(tag, minlength=len(TAGS)), 1)[:, None]
        overall = np.sum(sums, axis=0) / len(tag)
        return cls(embeddings, image, tag, np.vstack([np.stack(sums) / counts, overall]))

    def __len__(self) -> int:
        return len(self.image)

    def rows(self, segments: np.ndarray) -> np.ndarray:
        """Rows that stand for the segments of a concept: those inside are compared with all."""
        return np.where(self.tag[segments] == INSIDE, segments + len(self), segments)

    def residuals(self, rows: np.ndarray) -> np.ndarray:
        """Embedding of each row minus the mean of what it is compared with, float64 [m, u]."""
        return self.embeddings[rows % len(self)] - self.means[self.compared(rows)]

    def compared(self, rows: np.ndarray) -> np.ndarray:
        """Which of `means` each row is compared with."""
        return np.where(rows < len(self), self.tag[rows % len(self)], len(TAGS))

    def moves(self, gradients: np.ndarray) -> np.ndarray:
        """Residual of every row times gradients [n, u]: derivatives, float32 [2 s, n]."""
        products = self.embeddings @ gradients.T.astype(np.float32)
        shifts = (self.means @ gradients.T.astype(np.float64)).astype(np.float32)
        return np.concatenate([products - shifts[self.tag], products - shifts[-1]])


def tags(share: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Where segments lie with respect to a class, as indices into `TAGS`, [s].

    From the share of each segment in the class's region and in the ring around it: a segment is
    inside when at least half of it is, else in the ring when at least half of it is in the ring
    or the region, else elsewhere.
    """
    tag = np.full(len(share), TAGS.index("elsewhere"), dtype=np.int64)
    tag[share + around >= 0.5] = TAGS.index("ring")
    tag[share >= 0.5] = TAGS.index("inside")
    return tag


def belongs(pool: Pool, members: np.ndarray) -> bool:
    """Whether a concept is made of the class: it lies inside in more images than by chance.

    At least half of its segments do, and in so many images more than half of those there, that of
    as many random segments so many lie inside with a probability of at most `BELONGS`.
    """
    from scipy.stats import binom

    inside = pool.tag[members] == INSIDE
    _, image = np.unique(pool.image[members], return_inverse=True)
    own = int((np.bincount(image, inside) > np.bincount(image) / 2).sum())
    by_chance = float((pool.tag == INSIDE).mean())
    rare = binom.sf(own - 1, int(image.max()) + 1, by_chance) <= BELONGS
    return bool(inside.mean() >= 0.5 and rare)


def random_concepts(
    pool: Pool, members: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Random concepts to compare the segments `members` with: rows of the pool [draws, m].

    Each image of the concept is replaced by a random image, no image twice, that holds as many
    segments of each tag as are needed. A concept that :func:`belongs` to the class is asked
    whether any segments would do: those inside are replaced by any. Of all others the few that
    lie inside are replaced by such that do as well; with any in their place, random sets that
    happen to hold some of the object come out as significant in 10 to 40 % of cases. Where too few
    images qualify, images may repeat; where none does, the images with most segments serve.
    `rows % len(pool)` are the segments.
    """
    owners = np.unique(pool.image[members])
    needs = np.zeros((len(owners), len(TAGS)), dtype=np.int64)
    np.add.at(needs, (np.searchsorted(owners, pool.image[members]), pool.tag[members]), 1)
    return _made_up(pool, needs, draws, rng, anywhere=belongs(pool, members))


def random_sets(
    pool: Pool, members: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Random segments wherever they lie, as many images and of each as `members`, [draws, m]."""
    needs = np.zeros((len(np.unique(pool.image[members])), len(TAGS)), dtype=np.int64)
    needs[:, INSIDE] = np.unique(pool.image[members], return_counts=True)[1]
    return _made_up(pool, needs, draws, rng, anywhere=True) % len(pool)


def _made_up(
    pool: Pool, needs: np.ndarray, draws: int, rng: np.random.Generator, *, anywhere: bool
) -> np.ndarray:
    """Rows [draws, m] of random images with as many segments of each kind as `needs` [i, tags].

    `anywhere`: any segment counts as one inside.
    """
    stock, order, start = _stock(pool, rng, anywhere)
    kinds, sizes = np.unique(needs, axis=0, return_counts=True)
    # The most demanding first, while all images are still free.
    ranking = np.argsort(-kinds.sum(1), kind="stable")
    keys = rng.random((draws, len(stock)))
    chosen = []
    for kind, size in zip(kinds[ranking], sizes[ranking], strict=True):
        fits = (stock >= kind).all(1)
        if not fits.any():
            most = np.minimum(stock, kind).sum(1)
            fits = most == most.max()
        picked = _pick(keys, fits, int(size), rng)
        for tag in np.flatnonzero(kind):
            first = rng.random(picked.shape)
            held = np.maximum(stock[picked, tag], 1)
            for offset in range(int(kind[tag])):
                place = (np.floor(first * held).astype(np.int64) + offset) % held
                segment = order[tag][np.minimum(start[picked, tag] + place, len(order[tag]) - 1)]
                chosen.append(segment + len(pool) if tag == INSIDE else segment)
    return np.concatenate(chosen, axis=1)


def _stock(
    pool: Pool, rng: np.random.Generator, anywhere: bool
) -> tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]:
    """What each image holds of each kind; `anywhere`, any segment counts as one inside.

    Counts [images, tags]; per kind the segments, image by image and in random order within; and
    where each image's begin there, [images, tags].
    """
    images_n = int(pool.image.max()) + 1
    shuffled = np.argsort(pool.image + rng.random(len(pool)))  # images stay in order
    counts, orders, starts = [], [], []
    for tag in range(len(TAGS)):
        every = anywhere and tag == INSIDE
        rows = shuffled if every else shuffled[pool.tag[shuffled] == tag]
        count = np.bincount(pool.image[rows], minlength=images_n)
        orders.append(rows)
        counts.append(count)
        starts.append(np.concatenate([[0], np.cumsum(count)[:-1]]))
    return np.stack(counts, 1), tuple(orders), np.stack(starts, 1)


def _pick(keys: np.ndarray, fits: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """`size` of the images that fit, for each draw, and marks them as used; int [draws, size]."""
    open_keys = np.where(fits, keys, np.inf)
    picked = np.argpartition(open_keys, min(size, open_keys.shape[1]) - 1, axis=1)[:, :size]
    rows = np.arange(len(keys))[:, None]
    taken = ~np.isfinite(open_keys[rows, picked])
    if taken.any():
        candidates = np.flatnonzero(fits)
        picked = np.where(taken, rng.choice(candidates, size=picked.shape), picked)
    keys[rows, picked] = np.inf
    if picked.shape[1] < size:
        extra = rng.choice(np.flatnonzero(fits), size=(len(keys), size - picked.shape[1]))
        picked = np.concatenate([picked, extra], axis=1)
    return picked
