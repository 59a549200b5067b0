"""The tables of a quality study's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.corrections import holm
from conceptseg.study.bottleneck import flag
from conceptseg.study.bottleneck.conformal import coverage
from conceptseg.study.bottleneck.evaluate import (
    Estimate,
    Fitted,
    Flagging,
    calibration_bins,
    estimate_share,
    gain,
    standing,
)
from conceptseg.study.bottleneck.judge import Judged
from conceptseg.study.bottleneck.presence import Presence
from conceptseg.study.bottleneck.slices import Slice

Row = dict[str, Any]
NAMES = {
    "layer": "layer",
    "confidence": "confidence, fitted",
    "both": "layer and confidence",
    "raw": "confidence as it is",
}
"""What quality is told from, for readers."""


def spread(row: Row, name: str, found: Estimate | None) -> Row:
    """The row with a number and the ends of its interval."""
    row[name] = None if found is None else found.value
    row[f"{name}_low"] = None if found is None else found.low
    row[f"{name}_high"] = None if found is None else found.high
    return row


LABELS = {
    "r2": "R2",
    "r2_low": "R2, low",
    "r2_high": "R2, high",
    "mae": "mean absolute error",
    "mae_low": "error, low",
    "mae_high": "error, high",
    "spearman": "rank correlation",
    "spearman_low": "correlation, low",
    "spearman_high": "correlation, high",
    "gain": "error below that of the mean",
    "gain_low": "below the mean, low",
    "gain_high": "below the mean, high",
    "beats": "error below that of confidence",
    "beats_low": "below confidence, low",
    "beats_high": "below confidence, high",
    "p_beats": "p (below confidence)",
    "p_beats_holm": "p (below confidence), Holm",
}


def standing_table(judged: Judged, baseline: Fitted, seed: int) -> Table:
    """One row per feature set: how well it predicts, against the mean and against confidence.

    `p_beats_holm` is corrected for the sets that are held against confidence.
    """
    numbers = standing(judged.fitted, judged.quality, judged.groups, seed)
    rows = []
    for name, fitted in judged.fitted.items():
        row: Row = {"told_from": NAMES[name]}
        for key in ("r2", "mae", "spearman"):
            spread(row, key, numbers[name][key])
        own, q, groups = fitted.predicted, judged.quality, judged.groups
        spread(row, "gain", gain(own, baseline.predicted, q, groups, seed))
        if name != "confidence":
            better = gain(own, judged.fitted["confidence"].predicted, q, groups, seed)
            spread(row, "beats", better)
            row["p_beats"] = better.p
        else:
            spread(row, "beats", None)
            row["p_beats"] = None
        row["p_beats_holm"] = None
        row["chosen"] = ", ".join(
            f"{k} {v} times" for k, v in Counter(fitted.chosen).most_common(3)
        )
        rows.append(row)
    tested = [row for row in rows if row["p_beats"] is not None]
    for row, adjusted in zip(tested, holm([row["p_beats"] for row in tested]), strict=True):
        row["p_beats_holm"] = float(adjusted)
    labels = {**LABELS, "told_from": "told from", "chosen": "regressors chosen most"}
    return Table(rows, labels=labels, caption="How well quality is predicted, out of fold")


def flag_table(flags: Flagging, budget: float) -> Table:
    count = flag.reviewed(len(flags.failed), budget)
    rows = []
    for name in flags.scores:
        row: Row = {"score": NAMES[name]}
        spread(row, "precision", flags.precision[name])
        spread(row, "recall", flags.recall[name])
        spread(row, "average", flags.average[name])
        gained = flags.gains.get(name)
        spread(row, "above", gained)
        row["p_above"] = None if gained is None else gained.p
        rows.append(row)
    failing = float(flags.failed.sum())
    base, best = failing / len(flags.failed), min(1.0, failing / count)
    most = min(1.0, count / failing) if failing else None
    rows.append({"score": "chance", "precision": base, "recall": budget, "average": base})
    rows.append({"score": "at best", "precision": best, "recall": most, "average": 1.0})
    labels = {
        "precision": f"failures among the {count} reviewed (precision)",
        "recall": "of all failures (recall)",
        "average": "average precision",
        "above": "precision above fitted confidence",
        "above_low": "above, low",
        "above_high": "above, high",
        "p_above": "p (above)",
    }
    return Table(rows, tuple(rows[0]), labels, "How well failures are found")


def curve_table(flags: Flagging) -> Table:
    """Recall over the share reviewed, for each score, at 21 shares."""
    n, total = len(flags.failed), max(1.0, float(flags.failed.sum()))
    rows = []
    for share in np.linspace(0, 1, 21):
        count = round(share * n)
        row: Row = {"reviewed": float(share)}
        for name, score in flags.scores.items():
            found = [flag.found_by(one, flags.failed)[count] for one in score]
            row[NAMES[name]] = float(np.mean(found)) / total
        row["at best"] = min(1.0, count / total)
        rows.append(row)
    return Table(rows, caption="Share of failures found over share of images reviewed")


def coverage_table(judged: Judged, column: Sequence[str] | None, seed: int) -> Table:
    """Coverage of the intervals over all images, by slice of calibration, and by group."""
    parts: list[tuple[str, np.ndarray]] = [("all images", np.ones(len(judged.quality), bool))]
    names = judged.slicing.names()
    parts += [(names[s], judged.slices == s) for s in np.unique(judged.slices)]
    if column is not None:
        parts += [
            (f"group {name}", np.array([one == name for one in column]))
            for name in sorted(set(column))
        ]
    inside = (judged.quality >= judged.low - 1e-9) & (judged.quality <= judged.high + 1e-9)
    rows = []
    for name, where in parts:
        covered, width = coverage(judged.quality, judged.low, judged.high, where)
        found = estimate_share(inside[where], judged.groups[where], seed)
        rows.append(
            {
                "slice": name,
                "images": int(where.sum()),
                "covered": covered,
                "low": found.low,
                "high": found.high,
                "width": width,
                "turned_away": float(judged.outside[where].mean()),
            }
        )
    labels = {
        "covered": "share covered",
        "width": "mean width",
        "turned_away": "turned away by the gate",
    }
    return Table(rows, labels=labels, caption="Coverage of the intervals")


def class_table(judged: Judged, classes: Sequence[str], seed: int) -> Table:
    """Each class's own overlap, predicted from the layer and from confidence by ridge."""
    rows = []
    for class_id, fitted in judged.per_class.items():
        place = judged.class_ids.index(class_id)
        held = np.flatnonzero(np.isfinite(judged.classes[:, place]))
        own, groups = judged.classes[held, place], judged.groups[held]
        numbers = standing(fitted, own, groups, seed)
        row: Row = {"class": classes[class_id], "images": len(held), "quality": float(own.mean())}
        spread(row, "r2", numbers["layer"]["r2"])
        row["r2_confidence"] = numbers["confidence"]["r2"].value
        better = gain(fitted["layer"].predicted, fitted["confidence"].predicted, own, groups, seed)
        spread(row, "beats", better)
        row["p_beats"] = better.p
        rows.append(row)
    labels = {**LABELS, "r2_confidence": "R2 of confidence", "quality": "mean overlap"}
    return Table(rows, labels=labels, caption="Each class's own overlap")


def presence_table(found: Sequence[Presence], classes: Sequence[str]) -> Table:
    rows = []
    for one in found:
        row: Row = {
            "class": classes[one.class_id],
            "present": one.present,
            "absent": one.absent,
        }
        for name in ("missed", "alarms", "layer", "peak"):
            spread(row, name, getattr(one, name))
        rows.append(row)
    labels = {
        "present": "images with it",
        "absent": "images without",
        "missed": "missed altogether",
        "alarms": "false alarms",
        "layer": "AUC, layer",
        "peak": "AUC, largest probability",
    }
    return Table(rows, labels=labels, caption="Images with and without each class")


def slice_table(found: Sequence[Slice]) -> Table:
    rows = []
    for one in found:
        row: Row = {"slice": one.name, "kind": one.kind, "images": int(one.members.sum())}
        spread(row, "quality", one.quality)
        spread(row, "difference", one.difference)
        row["confidence"] = one.confidence
        row |= {"p": one.difference.p, "p_family": one.p_family, "p_bh": one.p_bh}
        row["remark"] = "too few groups to test" if one.p_family is None else ""
        rows.append(row)
    labels = {
        "quality": "mean quality",
        "difference": "below or above all others",
        "confidence": "mean confidence",
        "p_family": "p of any (max. statistic)",
        "p_bh": "p Benjamini-Hochberg",
    }
    return Table(rows, labels=labels, caption="Slices, lowest quality first")


def image_table(
    judged: Judged, flags: Flagging, cluster: np.ndarray, groups: Sequence[str]
) -> Table:
    """Every image with a quality: true, predicted, interval, confidence, cluster; worst first."""
    predicted = judged.predicted()
    raw = flags.scores["raw"][0]
    order = np.argsort(predicted, kind="stable")
    shown = judged.measured.pictures
    rows = [
        {
            "sample": judged.ids[i],
            "group": groups[i],
            "predicted": float(predicted[i]),
            "low": float(judged.low[i]),
            "high": float(judged.high[i]),
            "true": float(judged.quality[i]),
            "failed": bool(flags.failed[i]),
            "told_by_layer": float(judged.predicted("layer")[i]),
            "told_by_confidence": float(judged.predicted("confidence")[i]),
            "confidence": float(raw[i]),
            "cluster": int(cluster[i]) + 1,
            "turned_away": bool(judged.outside[i]),
            "picture": picture_key(judged.ids[i]) if judged.ids[i] in shown else None,
        }
        for i in order
    ]
    return Table(rows, caption="Every image with a quality, lowest prediction first")


def calibration_table(judged: Judged) -> Table:
    rows = calibration_bins(judged.quality, judged.predicted())
    return Table(rows, caption="Predicted against true quality, in bins of equally many images")


def picture_key(sample_id: str) -> str:
    return safe_key(f"panels-{sample_id}")


def map_rows(points: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first seed's points of each map, under names that are safe as arrays' keys."""
    return {safe_key(f"map-{name}"): each for name, each in points.items()}
