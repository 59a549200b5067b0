"""Which kinds of images the network fails on: clusters of the layer, and values of metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.p_values import sign_flip_floor
from conceptseg.study.bottleneck.evaluate import Estimate, estimate_difference, estimate_mean
from conceptseg.study.bottleneck.maps import standardised

ALPHA = 0.05
DRAWS = 4999
BLOCK = 500
COMPONENTS = 20
VALUES = 20
"""A column of more different values than this is cut into thirds if it holds numbers, else left."""


@dataclass(frozen=True)
class Slice:
    """Images of one kind: mean quality, its difference from all others', and how sure that is.

    The difference's p is two-sided, as :func:`slice_p` finds it; `p_family` is corrected for all
    slices by the largest statistic of each draw, `p_bh` by Benjamini & Hochberg. All three are None
    where the slice is told by too few groups to test. `confidence` is the mean of the predicted
    largest probability, for contrast.
    """

    name: str
    kind: str
    members: np.ndarray
    quality: Estimate
    difference: Estimate
    confidence: float
    p_family: float | None
    p_bh: float | None


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
    p, family = slice_p(np.stack(list(kept.values())), quality, groups, seed)
    screened = np.full(len(p), np.nan)
    screened[np.isfinite(p)] = benjamini_hochberg(p[np.isfinite(p)])
    found = []
    for place, ((kind, name), members) in enumerate(kept.items()):
        gap = estimate_difference(quality, members, groups, seed)
        found.append(
            Slice(
                name,
                kind,
                members,
                estimate_mean(quality[members], groups[members], seed),
                Estimate(gap.value, gap.low, gap.high, _told(p[place])),
                float(confidence[members].mean()),
                _told(family[place]),
                _told(screened[place]),
            )
        )
    return sorted(found, key=lambda one: (one.quality.value, one.kind, one.name))


def _told(p: float) -> float | None:
    return float(p) if np.isfinite(p) else None


def slice_p(
    members: np.ndarray, quality: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """P-values of "images in the slice are as good as the rest", two-sided: alone, and of any, [s].

    With m_i whether image i is in the slice, a row of members [s, n], and q_i its quality, group g
    scores s_g = sum over its images of (m_i - mean m)(q_i - mean q). The sum of all scores is the
    difference in mean quality over images, times n mean m (1 - mean m), whether the slice runs
    within groups or between them. Signs are flipped by group, jointly for all slices; a statistic
    is the sum by the root of the scores' sum of squares, which no flip moves, and the second p is
    that of the largest of all of them.

    Assumes that groups are independent and that, where a slice makes no difference, scores are as
    likely to be of either sign; their spread may differ by group. It needs several groups that tell
    of the slice: both are nan where :func:`telling` finds too few to reach 0.05. Where each image
    is a group of its own, images exchange their qualities instead, which asks for no symmetry and
    for no number of groups, only that all are alike where the slice makes no difference.

    Source: Hemerik, Goeman & Finos 2020, "Robust testing in generalized linear models by sign
    flipping score contributions"; Westfall & Young 1993, single-step maxT.
    """
    _, place = np.unique(groups, return_inverse=True)
    alone, largest = np.full((2, len(members)), np.nan)
    inside = members - members.mean(1, keepdims=True)
    away = quality - quality.mean()
    single = len(place) == place.max() + 1
    effective = [int(telling(each, groups) + 1e-9) for each in members]
    tested = np.array([single or sign_flip_floor(count) <= ALPHA for count in effective])
    if not tested.any():
        return alone, largest
    if single:
        unit, draw = _unit(inside[tested]), partial(_exchanged, away)
        observed = unit @ away
    else:
        unit = _unit(np.stack([np.bincount(place, each * away) for each in inside[tested]]))
        draw, observed = partial(_signs, unit.shape[1]), unit.sum(1)
    # Sums of the same numbers in another order differ in the last bits: ties must count.
    observed = np.abs(observed) - 1e-9
    rng = np.random.default_rng([seed, 12])
    alone[tested], largest[tested] = 1, 1
    for start in range(0, DRAWS, BLOCK):
        null = np.abs(draw(rng, min(BLOCK, DRAWS - start)) @ unit.T)
        alone[tested] += (null >= observed).sum(0)
        largest[tested] += (null.max(1)[:, None] >= observed).sum(0)
    return alone / (1 + DRAWS), largest / (1 + DRAWS)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows [s, d] of length one; what is zero but for rounding becomes zero."""
    length = np.sqrt((rows**2).sum(1, keepdims=True))
    found: np.ndarray = rows / np.where(length > 1e-12, length, np.inf)
    return found


def _exchanged(values: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    return rng.permuted(np.tile(values, (draws, 1)), axis=1)


def _signs(groups: int, rng: np.random.Generator, draws: int) -> np.ndarray:
    found: np.ndarray = 1.0 - 2.0 * rng.integers(0, 2, (draws, groups))
    return found


def telling(members: np.ndarray, groups: np.ndarray) -> float:
    """How many groups of equal say a slice, booleans [n], is told by: Kish's effective number.

    A group's say is its part of the variance of membership, sum (m_i - mean m)^2: a slice that is
    one group of ten is told by little more than one.
    """
    _, place = np.unique(groups, return_inverse=True)
    say = np.bincount(place, (members - members.mean()) ** 2)
    return float(say.sum() ** 2 / (say**2).sum()) if say.any() else 0.0


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
