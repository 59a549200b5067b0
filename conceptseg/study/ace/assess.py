"""From influences and erasures to what can be claimed of each class and concept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.corrections import benjamini_hochberg, max_statistic_p
from conceptseg.stats.intervals import bootstrap_interval, detectable_effect
from conceptseg.stats.p_values import prediction_p, sign_flip_p
from conceptseg.study.ace.discover import adjusted
from conceptseg.study.ace.discovery import DISCOVERY, Concept, Discovery
from conceptseg.study.ace.erase import ERASURES, Erasures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conceptseg.study.ace.config import Ace

ALPHA = 0.05
NAN = float("nan")


@dataclass(frozen=True)
class Pair:
    """All that is known of one class and one concept.

    `moves`: first-order change of the class's score along the concept, with interval, share from
    outside the class's region, and p-values against random concepts, of the change (`p_moves`) and
    of the change per unit of length (`p_alignment`); `tcav` and `tcav_outside`
    shares of images with a positive derivative; `loss`: change of IoU when the concept is erased;
    `null_loss` the same for random directions, with `p_loss` the larger of two p-values: over
    images, and over directions, of which the random ones are a sample; `outside_loss` the same for
    erasure outside the class's region alone. `p` belongs to the claim that the concept both moves
    the score and is needed: the larger of `p_moves` and `p_loss`, which is valid for a conjunction
    (intersection-union test, Berger 1982). `p_holm` corrects it within the class,
    `p_bh` over all pairs. `p_moves_max` corrects `p_moves` within the class by the largest
    statistic of random concepts, which Holm's correction cannot match where concepts are many.

    A concept is `used` by the class when that p is at most 0.05 after Holm, the score rises along
    it, and the loss is at least the study's smallest effect with an interval below zero. It acts
    `from_context` when, besides, it lies mostly outside the class's region and at least half of
    the loss remains when it is erased outside of the region alone.
    """

    class_id: int
    concept: int
    images: int
    moves: float
    moves_ci: tuple[float, float]
    p_moves: float
    p_alignment: float
    tcav: float
    tcav_outside: float
    smooth_tcav: float
    p_tcav: float
    p_published: float
    outside_share: float
    erased_images: int
    loss: float
    loss_ci: tuple[float, float]
    null_loss: float
    p_loss: float
    outside_loss: float
    outside_ci: tuple[float, float]
    detectable: float
    inside: float
    ring: float
    elsewhere: float
    p: float
    p_holm: float
    p_bh: float
    p_moves_holm: float
    p_moves_bh: float
    p_moves_max: float
    used: bool
    from_context: bool


PAIRS: Key[tuple[Pair, ...]] = Key("pairs", tuple)


def assess(study: Ace, context: Context, known: Known) -> Known:
    """Every pair that was tested, in the order of class and concept."""
    found, erasures = known[DISCOVERY], known[ERASURES]
    rows = {key: _measure(study, found, erasures, *key) for key in sorted(found.influence)}
    if not rows:
        return PAIRS(())
    both = adjusted({key: row["p"] for key, row in rows.items()})
    moves = adjusted({key: row["p_moves"] for key, row in rows.items()})
    largest = _by_largest(found)
    pairs = []
    for key, row in rows.items():
        p_holm, p_bh = both[key]
        used = (
            p_holm <= ALPHA
            and row["moves"] > 0
            and row["loss"] <= -study.smallest_effect
            and row["loss_ci"][1] < 0
        )
        outside = (
            row["outside_loss"] <= min(-study.smallest_effect, row["loss"] / 2)
            and row["outside_ci"][1] < 0
        )
        pairs.append(
            Pair(
                **row,
                p_holm=p_holm,
                p_bh=p_bh,
                p_moves_holm=moves[key][0],
                p_moves_bh=moves[key][1],
                p_moves_max=largest[key],
                used=used,
                from_context=bool(used and outside and row["inside"] < 0.5),
            )
        )
    return PAIRS(tuple(pairs))


def _by_largest(found: Discovery) -> dict[tuple[int, int], float]:
    """Of each pair, its `p_moves` corrected over the concepts of its class (Westfall & Young).

    A draw of the joint null takes a random concept in place of each concept of the class, all from
    the same segments. The r-th random concepts of all concepts are such a draw, for each concept's
    are drawn on their own; that concepts share no segment, and random ones may, hardly matters.
    """
    result: dict[tuple[int, int], float] = {}
    for class_id in sorted({class_id for class_id, _ in found.influence}):
        keys = sorted(key for key in found.influence if key[0] == class_id)
        family = [found.influence[key] for key in keys]
        effects, nulls = [f.effect for f in family], [f.null_effect for f in family]
        p = max_statistic_p(effects, np.stack(nulls))
        result.update(zip(keys, map(float, p), strict=True))
    return result


def _measure(
    study: Ace, found: Discovery, erasures: Erasures, class_id: int, q: int
) -> dict[str, Any]:
    influence, local = found.influence[class_id, q], found.local[class_id, q]
    groups = [found.groups[i] for i in found.class_images[class_id]]
    where = found.where(found.concepts[q], class_id)
    loss, loss_groups = _defined(erasures.loss(class_id, q), erasures)
    null = _null(erasures, class_id)
    excess = loss - null.mean(1)
    outside = erasures.outside_loss(class_id, q)
    out, out_groups = _defined(outside, erasures) if outside is not None else (loss[:0], [])
    p_loss = 1.0
    if len(loss):
        over_images = sign_flip_p(excess, loss_groups, seed=study.seed, side="less")
        p_loss = max(over_images, prediction_p(float(loss.mean()), null.mean(0)))
    return {
        "class_id": class_id,
        "concept": q,
        "images": len(groups),
        "moves": influence.effect,
        "moves_ci": bootstrap_interval(influence.derivatives, groups, seed=study.seed),
        "p_moves": influence.p_effect,
        "p_alignment": influence.p_alignment,
        "tcav": local.tcav,
        "tcav_outside": local.tcav_outside,
        "smooth_tcav": local.smooth_tcav,
        "p_tcav": local.p_tcav,
        "p_published": found.published.get((class_id, q), NAN),
        "outside_share": influence.outside_share,
        "erased_images": len(loss),
        "loss": _mean(loss),
        "loss_ci": _interval(loss, loss_groups, study.seed),
        "null_loss": _mean(null.mean(1)),
        "p_loss": p_loss,
        "outside_loss": _mean(out),
        "outside_ci": _interval(out, out_groups, study.seed),
        "detectable": detectable_effect(excess, loss_groups) if len(loss) else NAN,
        **where,
        "p": max(influence.p_effect, p_loss),
    }


def _null(erasures: Erasures, class_id: int) -> np.ndarray:
    """Loss of the class under each random direction, in the images that have one, [n, z]."""
    null = erasures.null_loss(class_id).astype(np.float64)
    return null[np.isfinite(erasures.clean[:, class_id])]


def _defined(values: np.ndarray, erasures: Erasures) -> tuple[np.ndarray, list[str]]:
    """The values that are defined, and the groups of their images."""
    good = np.flatnonzero(np.isfinite(values))
    return values[good].astype(np.float64), [erasures.groups[i] for i in good]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NAN


def _interval(values: np.ndarray, groups: Sequence[str], seed: int) -> tuple[float, float]:
    return bootstrap_interval(values, groups, seed=seed) if len(values) else (NAN, NAN)


def describe(found: Discovery, concept: Concept, classes: Sequence[str]) -> str:
    """What a concept lies on, in words, from the labels under its segments: "tree (72 %)"."""
    share = found.truth[concept.core].mean(0)
    order = [int(c) for c in np.argsort(-share, kind="stable") if share[c] >= 0.15][:3]
    return ", ".join(f"{classes[c]} ({share[c]:.0%})" for c in order) or "mixed or ignored ground"


def enrichment(
    found: Discovery, metadata: dict[str, list[str]], most_values: int = 12
) -> list[dict[str, Any]]:
    """Which metadata values are more frequent among a concept's images than among all.

    `metadata` gives each column's value for each image of `found.ids`. Fisher's exact test, one
    sided, Benjamini & Hochberg over all concepts and values. Columns with a single value, or with
    more than `most_values`, are passed over.
    """
    from scipy.stats import fisher_exact

    rows: list[dict[str, Any]] = []
    for column, values in metadata.items():
        kinds = sorted(set(values))
        if not 1 < len(kinds) <= most_values:
            continue
        for concept in found.concepts:
            core = np.isin(np.arange(len(values)), found.image[concept.core])
            for kind in kinds:
                has = np.array([value == kind for value in values])
                table = [
                    [int((core & has).sum()), int((core & ~has).sum())],
                    [int((~core & has).sum()), int((~core & ~has).sum())],
                ]
                rows.append(
                    {
                        "concept": concept.number,
                        "column": column,
                        "value": kind,
                        "share_in_concept": float(has[core].mean()),
                        "share_in_all": float(has.mean()),
                        "p": float(fisher_exact(table, alternative="greater").pvalue),
                    }
                )
    for row, p in zip(rows, benjamini_hochberg([row["p"] for row in rows]), strict=True):
        row["p_adjusted"] = float(p)
    found_rows = [row for row in rows if row["p_adjusted"] <= ALPHA]
    return sorted(found_rows, key=lambda row: (row["concept"], row["p"], row["value"]))
