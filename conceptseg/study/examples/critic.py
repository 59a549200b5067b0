"""Likeness of objects as a kernel, and the objects that stand for all: MMD-critic.

Source: Kim, Khanna & Koyejo 2016, "Examples are not enough, learn to criticize!".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.stats.intervals import Floats
from conceptseg.study.examples.config import OF_ONE_UNIT

DRAWS = 200
"""Random sets of as many objects that prototypes are compared with."""
STARTS = 20
"""Objects, from the densest to the loneliest, with which a search for prototypes begins."""


@dataclass(frozen=True)
class Likeness:
    """A kernel in [0, 1] fitted to some objects: 1 for two that are alike in every block.

    k(a, b) = sum_block w exp(-|a - b|^2 / s) / sum w, s the median squared distance of the objects
    that it is fitted to. Numbers of shape and place, which have no common unit, are first scaled to
    unit variance over these; activations are not, so that units which hardly vary do not count as
    much as those that tell objects apart.
    """

    weights: Mapping[str, float]
    means: Mapping[str, Floats]
    scales: Mapping[str, Floats]
    spans: Mapping[str, float]

    @classmethod
    def fit(cls, blocks: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> "Likeness":
        """On blocks of values [m, d], those of weight 0 left out."""
        used = {name: float(w) for name, w in weights.items() if w > 0}
        means, scales, spans = {}, {}, {}
        for name in used:
            values = np.asarray(blocks[name], np.float64)
            means[name], spread = values.mean(0), values.std(0)
            # What never varies says nothing; its rounding must not become a difference.
            varies = spread > 1e-6 * max(float(spread.max()), 1e-30)
            scales[name] = np.where(varies, 1.0 if name in OF_ONE_UNIT else spread, np.inf)
            apart = squared(*(2 * [(values - means[name]) / scales[name]]))
            far = apart[np.triu_indices(len(values), 1)]
            spans[name] = max(float(np.median(far)) if len(far) else 0.0, 1e-12)
        return cls(used, means, scales, spans)

    def __call__(self, one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> Floats:
        """The kernel of objects [m] with others [n], [m, n]."""
        total = np.zeros((len(next(iter(one.values()))), len(next(iter(other.values())))))
        for name, weight in self.weights.items():
            both = ((each[name] - self.means[name]) / self.scales[name] for each in (one, other))
            total += weight * np.exp(-squared(*both) / self.spans[name])
        return np.asarray(total / sum(self.weights.values()))


def squared(one: np.ndarray, other: np.ndarray) -> Floats:
    """Squared distances [m, n] of rows [m, d] and [n, d]."""
    from scipy.spatial.distance import cdist

    return np.asarray(
        cdist(np.asarray(one, np.float64), np.asarray(other, np.float64), "sqeuclidean")
    )


def prototypes(kernel: Floats, count: int) -> list[int]:
    """Objects S that leave a small squared MMD between S and all, in the order of choice.

    Greedily, as Kim et al. have it, then each is exchanged for another while that leaves less; the
    best of `STARTS` first objects. Their bound of 1 - 1/e for the greedy set holds where the kernel
    is next to nothing between any two objects; of others, greedy sets came down to a quarter of the
    fall of MMD^2 that the best set brings.
    """
    mean = kernel.mean(0)
    first = np.argsort(-mean, kind="stable")
    first = first[np.unique(np.linspace(0, len(mean) - 1, min(STARTS, len(mean))).astype(int))]
    tried = [_exchanged(kernel, mean, [_best(kernel, mean, [])], count)]
    tried += [_exchanged(kernel, mean, [one], count) for one in first.tolist()]
    falls = [round(left(kernel, one), 12) for one in tried]
    return tried[int(np.argmin(falls))]


def _exchanged(kernel: Floats, mean: Floats, chosen: list[int], count: int) -> list[int]:
    while len(chosen) < min(count, len(kernel)):
        chosen = [*chosen, _best(kernel, mean, chosen)]
    least, moved = left(kernel, chosen), True
    while moved:
        moved = False
        for place in range(len(chosen)):
            rest = chosen[:place] + chosen[place + 1 :]
            other = [*chosen[:place], _best(kernel, mean, rest), *chosen[place + 1 :]]
            if (now := left(kernel, other)) < least - 1e-12:
                chosen, least, moved = other, now, True
    return chosen


def _best(kernel: Floats, mean: Floats, chosen: Sequence[int]) -> int:
    """The object that leaves least when it is added to the chosen ones."""
    rows, size = list(chosen), len(chosen) + 1
    inner = kernel[np.ix_(rows, rows)].sum() + 2 * kernel[rows].sum(0) + np.diag(kernel)
    gain = 2 * (mean + mean[rows].sum()) / size - inner / size**2
    gain[rows] = -np.inf
    return int(np.argmax(gain))


def left(kernel: Floats, chosen: Sequence[int]) -> float:
    """Squared MMD between the objects `chosen` and all, biased (V-statistic); at least 0."""
    rows = list(chosen)
    inner = kernel[np.ix_(rows, rows)].mean()
    return max(0.0, float(kernel.mean() - 2 * kernel[rows].mean() + inner))


def witness(kernel: Floats, chosen: Sequence[int]) -> Floats:
    """At each object, how much denser all objects lie than the chosen ones, [m]."""
    return np.asarray(kernel.mean(0) - kernel[list(chosen)].mean(0))


def criticisms(kernel: Floats, chosen: Sequence[int], count: int) -> list[int]:
    """Objects that the chosen ones represent worst, unlike each other, greedily.

    Each adds most to sum max(witness, 0) + log det K of the criticisms. Kim et al. take |witness|:
    where few stand for many that is largest beside a prototype, and its twin in the next frame of
    a film would be the first criticism.
    """
    weight, taken = np.maximum(witness(kernel, chosen), 0), list[int]()
    rest = [i for i in range(len(kernel)) if i not in set(chosen)]
    for _ in range(min(count, len(rest))):
        if taken:
            inner = kernel[np.ix_(taken, taken)] + 1e-9 * np.eye(len(taken))
            beside = kernel[np.ix_(taken, rest)]
            # Schur's complement: by how much the determinant is multiplied.
            new = 1 - (beside * np.linalg.solve(inner, beside)).sum(0)
        else:
            new = np.ones(len(rest))
        gains = weight[rest] + np.log(np.maximum(new, 1e-12))
        taken.append(rest.pop(int(np.argmax(gains))))
    return taken


def by_chance(kernel: Floats, most: int, seed: int) -> Floats:
    """MMD^2 that random sets of 1..most objects leave, [DRAWS, most]; each contains the smaller."""
    rng = np.random.default_rng([seed, len(kernel)])
    sets = [rng.permutation(len(kernel))[:most].tolist() for _ in range(DRAWS)]
    return np.array([[left(kernel, one[: m + 1]) for m in range(len(one))] for one in sets])
