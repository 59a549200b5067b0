"""Which kinds of images the network fails on: clusters of the layer, and values of metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.quality.evaluate import Estimate, estimate_difference, estimate_mean
from conceptseg.quality.maps import standardised
from conceptseg.significance import benjamini_hochberg

DRAWS = 4999
BLOCK = 500
COMPONENTS = 20
VALUES = 20
"""A column of more different values than this is cut into thirds if it holds numbers, else left."""


@dataclass(frozen=True)
class Slice:
    """Images of one kind: mean quality, its difference from all others', and how sure that is.

    The difference's p is two-sided, by permuting groups; `p_family` is corrected for all slices by
    the largest statistic of each permutation, `p_bh` by Benjamini & Hochberg. `confidence` is the
    mean of the predicted largest probability, for contrast.
    """

    name: str
    kind: str
    members: np.ndarray
    quality: Estimate
    difference: Estimate
    confidence: float
    p_family: float
    p_bh: float


def clusters(pooled: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Cluster [n] of each row [n, d]: k-means on 20 principal components, numbered by size."""
    from sklearn.cluster import KMeans

    points = standardised(pooled, COMPONENTS)
    count = min(count, len(points))
    labels = KMeans(count, n_init=10, random_state=seed).fit_predict(points)
    order = np.argsort(-np.bincount(labels, minlength=count), kind="stable")
    found: np.ndarray = np.argsort(order)[labels]
    return found


def columns(metadata: Mapping[str, Sequence[str | float]]) -> dict[str, list[str]]:
    """Metadata as values that repeat: numbers of many values become thirds; others are left out."""
    found = {}
    for name, given in metadata.items():
        texts = [_text(value) for value in given]
        if 1 < len(set(texts)) <= VALUES:
            found[name] = texts
        elif len(set(texts)) > VALUES and all(isinstance(value, (int, float)) for value in given):
            numbers = np.array(given, dtype=float)
            edges = np.unique(np.nanquantile(numbers, [1 / 3, 2 / 3]))
            names = ("lowest third", "middle third", "highest third")
            place = np.searchsorted(edges, numbers, side="right")
            found[name] = [names[p] for p in place]
    return found


def _text(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def pairs(kinds: Mapping[str, np.ndarray], least: int) -> dict[str, np.ndarray]:
    """Members of two values of different columns, "column = value", where enough images are both.

    Pairs that say no more than one of the two are left out.
    """
    names = sorted(kinds)
    found = {}
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            both = kinds[one] & kinds[other]
            same_column = one.partition(" = ")[0] == other.partition(" = ")[0]
            alone = min(kinds[one].sum(), kinds[other].sum())
            if not same_column and least <= both.sum() < alone:
                found[f"{one}, {other}"] = both
    return found


def judged(
    kinds: Mapping[tuple[str, str], np.ndarray],
    quality: np.ndarray,
    confidence: np.ndarray,
    groups: np.ndarray,
    *,
    least: int,
    seed: int,
) -> list[Slice]:
    """The slices (kind, name) -> booleans [n], lowest quality first.

    Slices of fewer than `least` images, or that leave fewer outside, are left out; of slices with
    the same images the first is kept.
    """
    kept: dict[tuple[str, str], np.ndarray] = {}
    seen: set[bytes] = set()
    for key, members in kinds.items():
        if min(members.sum(), (~members).sum()) >= least and members.tobytes() not in seen:
            seen.add(members.tobytes())
            kept[key] = members
    if not kept:
        return []
    p, family = permuted_p(np.stack(list(kept.values())), quality, groups, seed)
    screened = benjamini_hochberg(p)
    found = []
    for place, ((kind, name), members) in enumerate(kept.items()):
        gap = estimate_difference(quality, members, groups, seed)
        found.append(
            Slice(
                name,
                kind,
                members,
                estimate_mean(quality[members], groups[members], seed),
                Estimate(gap.value, gap.low, gap.high, float(p[place])),
                float(confidence[members].mean()),
                float(family[place]),
                float(screened[place]),
            )
        )
    return sorted(found, key=lambda one: (one.quality.value, one.kind, one.name))


def permuted_p(
    members: np.ndarray, quality: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """P-values of "each slice's mean quality is that of the rest", two-sided: alone, and of any.

    Groups exchange their mean qualities; a group counts as in a slice, members [s, n], by the share
    of its images that are. With one image a group this permutes images. Statistics are scaled to
    unit variance, and the second p [s] is that of the largest of all of them.

    Source: Westfall & Young 1993, single-step maxT.
    """
    _, place = np.unique(groups, return_inverse=True)
    size = np.bincount(place)
    mean = np.bincount(place, quality) / size
    share = np.stack([np.bincount(place, each) / size for each in members])
    centred = share - share.mean(1, keepdims=True)
    scale = np.sqrt((centred**2).sum(1))
    scale = np.where(scale > 1e-12, scale, np.inf)
    observed = np.abs(centred @ (mean - mean.mean())) / scale
    # Sums of the same numbers in another order differ in the last bits: ties must count.
    observed = observed * (1 - 1e-9) - 1e-12
    rng = np.random.default_rng([seed, 12])
    alone, largest = np.ones(len(members)), np.ones(len(members))
    for start in range(0, DRAWS, BLOCK):
        count = min(BLOCK, DRAWS - start)
        mixed = rng.permuted(np.tile(mean - mean.mean(), (count, 1)), axis=1)
        null = np.abs(mixed @ centred.T) / scale
        alone += (null >= observed).sum(0)
        largest += (null.max(1)[:, None] >= observed).sum(0)
    return alone / (1 + DRAWS), largest / (1 + DRAWS)


def enriched(
    cluster: np.ndarray, values: Mapping[str, Sequence[str]], groups: np.ndarray
) -> list[dict[str, object]]:
    """Metadata values that are frequent in a cluster: Fisher's exact test, one-sided, on groups.

    A group is in a cluster, and has a value, if most of its images do. Benjamini & Hochberg's
    correction over all clusters and values.
    """
    from scipy.stats import fisher_exact

    _, place = np.unique(groups, return_inverse=True)
    size = np.bincount(place)

    def most(where: np.ndarray) -> np.ndarray:
        return np.bincount(place, where) / size > 0.5

    rows: list[dict[str, object]] = []
    p = []
    for number in np.unique(cluster):
        inside = most(cluster == number)
        for column, each in values.items():
            for value in sorted(set(each)):
                has = most(np.array([one == value for one in each]))
                table = [
                    [int((inside & has).sum()), int((inside & ~has).sum())],
                    [int((~inside & has).sum()), int((~inside & ~has).sum())],
                ]
                p.append(float(fisher_exact(table, alternative="greater").pvalue))
                rows.append(
                    {
                        "cluster": int(number) + 1,
                        "column": column,
                        "value": value,
                        "share_in_cluster": table[0][0] / max(sum(table[0]), 1),
                        "share_elsewhere": table[1][0] / max(sum(table[1]), 1),
                        "groups": table[0][0],
                        "p": p[-1],
                    }
                )
    for row, corrected in zip(rows, benjamini_hochberg(p), strict=True):
        row["p_bh"] = float(corrected)
    return sorted(rows, key=lambda row: (row["p_bh"], row["p"], row["cluster"], row["column"]))
