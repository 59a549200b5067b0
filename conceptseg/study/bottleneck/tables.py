"""The tables of a bottleneck study's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.result.columns import Column, labels_of
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.enrichment import enriched
from conceptseg.stats.family import Question, judge
from conceptseg.study.bottleneck import flag
from conceptseg.study.bottleneck.evaluate import (
    Flagging,
    Standing,
    averaged,
    error,
    r_squared,
    told,
)
from conceptseg.study.bottleneck.presence import Presence
from conceptseg.study.bottleneck.slices import Slice, examples

if TYPE_CHECKING:
    from conceptseg.study.bottleneck.judge import Judged

NAMES = {
    "layer": "layer",
    "confidence": "confidence, fitted",
    "both": "layer and confidence",
    "raw": "confidence as it is",
}
"""What quality is predicted from, for readers."""
R2 = Column("r2", "R2", interval=True)
BEATS = Column("beats", "error below that of confidence", interval=True, brief="below confidence")
COVERED = Column("covered", "share covered", interval=True, brief="", ends=("low", "high"))
TURNED_AWAY = Column("turned_away", "rejected by the gate")
DIFFERENCE = Column("difference", "below or above all others", interval=True, brief="")
P_FAMILY = Column("p_family", "p of any (max. statistic)", of=lambda one: one.test.adjusted)
TRUE_MEAN = Column("quality", "mean true quality")
PREDICTED_MEAN = Column("predicted", "mean predicted quality")
P_BEATS = Column("p_beats", "p (below confidence)", of=lambda one: one.test and one.test.p)
STANDING = (
    Column("told_from", "predicted from", of=lambda one: NAMES[one.name]),
    R2,
    Column("mae", "mean absolute error", interval=True, brief="error"),
    Column("spearman", "rank correlation", interval=True, brief="correlation"),
    Column("gain", "error below that of the mean", interval=True, brief="below the mean"),
    BEATS,
    P_BEATS,
    Column(
        "p_beats_holm",
        "p (below confidence), corrected",
        of=lambda one: one.test and one.test.adjusted,
    ),
    Column(
        "chosen",
        "regressors chosen most",
        of=lambda one: ", ".join(f"{k} {v} times" for k, v in Counter(one.chosen).most_common(3)),
    ),
)


def standing_table(standing: Sequence[Standing]) -> Table:
    """A row for each feature set: how well it predicts, against the mean and confidence.

    `p_beats_holm` is corrected for the sets that are held against confidence.
    """
    return Table.of(standing, STANDING, "How well quality is predicted, out of fold")


def flag_table(flags: Flagging, budget: float) -> Table:
    """A row for each score, for chance, and for the best that can be."""
    count = flag.reviewed(len(flags.failed), budget)
    head = f"failures among the {count} reviewed (precision)"
    columns = (
        Column("score", of=lambda name: NAMES[name]),
        Column("precision", head, interval=True, brief="", of=flags.precision.get),
        Column("recall", "of all failures (recall)", interval=True, brief="", of=flags.recall.get),
        Column("average", "average precision", interval=True, brief="", of=flags.average.get),
        Column(
            "above",
            "precision above fitted confidence",
            interval=True,
            brief="above",
            of=flags.gains.get,
        ),
        Column("p_above", "p (above)", of=flags.p.get),
    )
    table = Table.of(flags.scores, columns, "How well failures are found")
    failing = float(flags.failed.sum())
    base, best = failing / len(flags.failed), min(1.0, failing / count)
    most = min(1.0, count / failing) if failing else None
    ends = [
        {"score": "chance", "precision": base, "recall": budget, "average": base},
        {"score": "at best", "precision": best, "recall": most, "average": 1.0},
    ]
    return replace(table, rows=[*table.rows, *ends])


def curve_table(flags: Flagging) -> Table:
    """Recall over the share reviewed, for each score, at 21 shares."""
    shares = np.linspace(0, 1, 21)
    counts = [round(share * len(flags.failed)) for share in shares.tolist()]
    total = max(1.0, float(flags.failed.sum()))
    curves = {
        NAMES[name]: np.mean([flag.found_by(one, flags.failed) for one in score], 0)[counts] / total
        for name, score in flags.scores.items()
    }
    best = np.minimum(1.0, np.array(counts) / total)
    columns = {"reviewed": shares, **curves, "at best": best}
    return Table.of_columns(columns, "Share of failures found over share of images reviewed")


def coverage_table(judged: Judged, column: Sequence[str] | None) -> Table:
    """Coverage of the intervals over all images, by slice of calibration, and by group."""
    names, groups = judged.predictor.slicing.names(), np.array(column or ())
    slices = judged.predictor.calibration.slice
    parts = [("all images", np.ones(len(judged.quality), bool))]
    parts += [(names[s], slices == s) for s in np.unique(slices)]
    parts += [(f"group {name}", groups == name) for name in np.unique(groups)]
    inside = (judged.quality >= judged.low - 1e-9) & (judged.quality <= judged.high + 1e-9)
    width = judged.high - judged.low
    columns = (
        Column("slice", of=lambda part: part[0]),
        Column("images", of=lambda part: part[1].sum()),
        replace(COVERED, of=lambda part: judged.sampling.at(part[1]).share(inside[part[1]])),
        Column("width", "mean width", of=lambda part: width[part[1]].mean()),
        replace(TURNED_AWAY, of=lambda part: judged.outside[part[1]].mean()),
    )
    return Table.of(parts, columns, "Coverage of the intervals")


def class_table(judged: Judged, classes: Sequence[str], seed: int) -> Table:
    """Each class's own overlap, predicted from the layer and from confidence by ridge."""
    rows = []
    for class_id, fitted in judged.per_class.items():
        values = judged.classes[:, judged.class_ids.index(class_id)]
        held = np.flatnonzero(np.isfinite(values))
        own, sampling = values[held], judged.sampling.at(held)
        layer, confidence = fitted["layer"].predicted, fitted["confidence"].predicted
        fall = error(confidence, own) - error(layer, own)
        (test,) = judge([Question(fall, sampling)], side="two", seed=seed)
        r2 = sampling.statistic(averaged(r_squared, own, layer))
        rows.append(
            {
                "class": classes[class_id],
                "images": len(held),
                "quality": own.mean(),
                **R2.cells(told(r2, own, layer, sampling)),
                "r2_confidence": averaged(r_squared, own, confidence)(np.arange(len(held))),
                **BEATS.cells(sampling.mean(fall)),
                P_BEATS.key: test.p,
            }
        )
    labels = {"r2_confidence": "R2 of confidence", "quality": "mean overlap"}
    labels |= labels_of([R2, BEATS, P_BEATS])
    return Table(rows, labels=labels, caption="Each class's own overlap")


def presence_table(presences: Sequence[Presence], classes: Sequence[str]) -> Table:
    columns = (
        Column("class", of=lambda one: classes[one.class_id]),
        Column("present", "images with it"),
        Column("absent", "images without"),
        Column("missed", "missed altogether", interval=True, brief=""),
        Column("alarms", "false alarms", interval=True, brief=""),
        Column("layer", "AUC, layer", interval=True, brief=""),
        Column("peak", "AUC, largest probability", interval=True, brief=""),
    )
    return Table.of(presences, columns, "Images with and without each class")


def slice_table(slices: Sequence[Slice], judged: Judged, pictures: Collection[str]) -> Table:
    """Of each slice, beside its numbers, `examples`: the images that stand for it and are
    pictured."""
    columns = (
        Column("slice", of="name"),
        "kind",
        Column("images", of=lambda one: int(one.members.sum())),
        Column("quality", "mean quality", interval=True, brief=""),
        DIFFERENCE,
        Column("confidence", "mean confidence"),
        Column("p", of=lambda one: one.test.p),
        P_FAMILY,
        Column("p_bh", "p Benjamini-Hochberg"),
        Column("remark", of=lambda one: "" if one.test.testable else "too few groups to test"),
    )
    table = Table.of(slices, columns, "Slices, lowest quality first")
    each = [[judged.ids[row] for row in examples(one, judged.quality)] for one in slices]
    rows = [
        {**row, "examples": [name for name in names if name in pictures]}
        for row, names in zip(table.rows, each, strict=True)
    ]
    return Table(rows, table.columns, table.labels, table.caption)


def enrichment_table(
    cluster: np.ndarray, values: Mapping[str, Sequence[str]], groups: Sequence[str]
) -> Table:
    """Metadata values that are frequent in a cluster [n], on groups, the surest first."""
    sets = {str(number + 1): cluster == number for number in np.unique(cluster)}
    kept = [one for one in enriched(sets, values, groups) if one.p_adjusted <= 0.2]
    kept.sort(key=lambda one: (one.p_adjusted, one.p, int(one.set_name), one.column))
    columns = (
        Column("cluster", of=lambda one: int(one.set_name)),
        "column",
        "value",
        Column("share_in_cluster", of="share_inside"),
        Column("share_elsewhere", of="share_outside"),
        Column("groups", of="both"),
        "p",
        Column("p_bh", of="p_adjusted"),
    )
    caption = "Metadata values that are frequent in a cluster (corrected p at most 0.2)"
    return Table.of(kept, columns, caption)


def image_table(
    judged: Judged,
    flags: Flagging,
    cluster: np.ndarray,
    groups: Sequence[str],
    pictures: Collection[str],
) -> Table:
    """Every image with a quality: true, predicted, interval, confidence, cluster; worst first."""
    columns = {
        "sample": judged.ids,
        "group": groups,
        "predicted": judged.predicted(),
        "low": judged.low,
        "high": judged.high,
        "true": judged.quality,
        "failed": flags.failed,
        "told_by_layer": judged.predicted("layer"),
        "told_by_confidence": judged.predicted("confidence"),
        "confidence": flags.scores["raw"][0],
        "cluster": cluster + 1,
        "turned_away": judged.outside,
        "picture": [picture_key(name) if name in pictures else None for name in judged.ids],
    }
    labels = {
        "told_by_layer": "predicted by the layer",
        "told_by_confidence": "predicted by confidence",
        **TURNED_AWAY.labels,
    }
    caption = "Every image with a quality, lowest prediction first"
    return Table.of_columns(columns, caption, labels).sorted("predicted")


def mapped_table(
    judged: Judged, shown: np.ndarray, points: Mapping[str, np.ndarray], cluster: np.ndarray
) -> Table:
    """The images on the maps, with their places by the first seed of each map."""
    columns = {
        "sample": [judged.ids[row] for row in shown],
        "true": judged.quality[shown],
        "predicted": judged.predicted()[shown],
        "cluster": cluster[shown] + 1,
        "picture": [picture_key(judged.ids[row]) for row in shown],
    }
    for name, each in points.items():
        columns |= {f"{name}_x": each[0, :, 0], f"{name}_y": each[0, :, 1]}
    return Table.of_columns(columns, "Images on the maps")


def calibration_table(judged: Judged, bins: int = 8) -> Table:
    """Mean predicted and mean true quality in bins of equally many images."""
    predicted = judged.predicted()
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    columns = {
        "bin": range(1, len(parts) + 1),
        "predicted": [predicted[own].mean() for own in parts],
        "true": [judged.quality[own].mean() for own in parts],
        "images": [len(own) for own in parts],
    }
    caption = "Predicted against true quality, in bins of equally many images"
    return Table.of_columns(columns, caption)


def picture_key(sample_id: str) -> str:
    return safe_key(f"panels-{sample_id}")
