"""The tables of an L-CRP result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.intervals import bootstrap_interval, detectable_effect
from conceptseg.study.lcrp.assess import Agreement, Score
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.control import Kept
from conceptseg.study.lcrp.flip import Curves

if TYPE_CHECKING:
    from conceptseg.report.unit_cards import KnownUnit

LABELS = {
    "unit": "channel",
    "label": "what it detects",
    "verdict": "acts from context",
    "relevance": "share of relevance",
    "spread": "its deviation over images",
    "context": "context score, random images",
    "context_low": "its low end",
    "context_high": "its high end",
    "top": "context score, most relevant images (published)",
    "over_shuffled": "excess over shuffled weights",
    "over_field": "excess over the receptive field",
    "p_images": "p over images",
    "p_networks": "p over shuffled networks",
    "p_adjusted": "p, corrected",
    "detectable": "smallest detectable excess",
    "by_activation": "context score of the activation",
    "latent": "context score of the relevance at the layer",
    "sensitivity": "background sensitivity",
    "sensitivity_low": "its low end",
    "sensitivity_high": "its high end",
    "tile": "mass outside that lies on the known context",
    "tile_chance": "the same of the area",
    "seen_on": "most of it outside lies on",
    "seen_share": "share of the map there",
    "images": "random images",
    "top_images": "most relevant images",
}


def score_table(
    scores: Sequence[Score], classes: Sequence[str], known: Mapping[int, KnownUnit]
) -> Table:
    rows = []
    for score in scores:
        row: dict[str, Any] = asdict(score)
        row["class"] = classes[row.pop("class_id")]
        row["label"] = known[score.unit].label if score.unit in known else ""
        row["seen_on"] = classes[score.seen_on] if score.seen_on >= 0 else None
        row["acts"], row["verdict"], row["p"] = score.acts, score.verdict, score.p
        for name in ("top", "context", "over_shuffled", "over_field", "sensitivity"):
            row[f"{name}_low"], row[f"{name}_high"] = row.pop(f"{name}_ci")
        row["card"] = card_id(row["class"], score.unit)
        row["picture"] = grid_key("relevant", row["class"], score.unit)
        row["active"] = safe_key(f"active-{score.unit}")
        rows.append(row)
    order = ["class", "unit", *(["label"] if known else []), "verdict", "relevance"]
    order += ["context", "context_low", "context_high", "top", "over_shuffled", "over_field"]
    order += ["p_adjusted", "detectable", "sensitivity", "sensitivity_low", "sensitivity_high"]
    order += ["seen_on", "images"]
    rest = [name for name in (rows[0] if rows else ()) if name not in order]
    return Table(rows, (*order, *rest), LABELS, "Every channel that was looked at, by class")


def channel_name(unit: int, label: str) -> str:
    return f"channel {unit} ({label})" if label else f"channel {unit}"


def card_id(class_name: str, unit: int) -> str:
    return safe_key(f"unit-{class_name}-{unit}")


def grid_key(kind: str, class_name: str, unit: int) -> str:
    return safe_key(f"{kind}-{class_name}-{unit}")


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def agreement_table(found: Sequence[Agreement]) -> Table:
    rows = [
        {
            "measure": a.measure,
            "correlation": a.correlation,
            "low": a.ci[0],
            "high": a.ci[1],
            "error": a.error,
            "pairs": a.pairs,
        }
        for a in found
    ]
    labels = {
        "measure": "context score of",
        "correlation": "correlation with sensitivity",
        "low": "its low end",
        "high": "its high end",
        "error": "root mean squared difference",
        "pairs": "classes and channels",
    }
    return Table(rows, tuple(labels), labels, "How well context scores foretell sensitivity")


def flip_table(chosen: Chosen, curves: Curves, seed: int) -> Table:
    """Mean area under each method's curve, its standard error, and its gap to random orders."""
    groups = [chosen.groups.get(s, s) for s in curves.samples]
    random = curves.area(curves.random) if len(curves.samples) else np.zeros(0)
    rows = []
    for number, name in enumerate(curves.names):
        area = curves.area(curves.of(number)) if len(curves.samples) else np.zeros(0)
        gap = area - random
        low, high = bootstrap_interval(gap, groups, seed=seed) if len(gap) else (np.nan,) * 2
        rows.append(
            {
                "method": name,
                "area": _mean(area.tolist()),
                "error": _error(area, groups),
                "gap": _mean(gap.tolist()),
                "low": low,
                "high": high,
                "curves": len(area),
                "detectable": detectable_effect(gap, groups) if len(gap) else np.nan,
            }
        )
    rows.append(
        {
            "method": "random orders",
            "area": _mean(random.tolist()),
            "error": _error(random, groups),
            "curves": len(random),
        }
    )
    labels = {
        "area": "area under the curve",
        "error": "its standard error",
        "gap": "minus that of random orders",
        "low": "its low end",
        "high": "its high end",
        "curves": "images and classes",
        "detectable": "smallest detectable gap",
    }
    return Table(rows, ("method", *labels), labels, "Concept flipping")


def _error(values: np.ndarray, groups: Sequence[str]) -> float | None:
    """Standard error of the mean of values [n]; those of one image or group count together.

    Source: Liang & Zeger 1986, for a mean, with g / (g - 1) for g groups.
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    if len(values) == 0 or index.max() < 1:
        return None
    sums = np.bincount(index, weights=values - values.mean())
    return float(np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(values))


def kept_table(kept: Kept) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "module": name or "(the network itself)",
            "received": received,
            "passed": passed,
            "lost": received - passed,
        }
        for name, received, passed in kept.rows
    ]
    rows.sort(key=lambda row: -abs(row["lost"]))
    labels = {"received": "relevance received", "passed": "handed on", "lost": "lost"}
    return Table(rows, ("module", *labels), labels, "Relevance by module, largest loss first")
