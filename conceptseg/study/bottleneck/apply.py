"""New images, scored by a predictor that an earlier study saved: no labels are read."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context
from conceptseg.errors import InputError
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.measure import look
from conceptseg.study.bottleneck.predictor import Predictor

COLUMNS = ("sample", "quality", "low", "high", "distance", "known_kind", "review")


def check(predictor: Predictor, context: Context, where: str) -> None:
    """Refuse a network that the predictor was not made for: its layer means nothing there."""
    if context.model.fingerprint() != predictor.facts["weights"]:
        raise InputError(
            f"{where}: its predictor was made for other weights (or another preprocessing) than "
            f"those of model {context.model.name!r}; give the same network, or run the bottleneck "
            "study on this one"
        )


def read(study: Bottleneck, context: Context, batch: Batch) -> dict[str, np.ndarray]:
    """What the predictor reads of a batch: pooled units [n, 3 u] and confidence [n, b]."""
    logits, numbers = look(study, context, batch.images)
    context.model.check_finite(logits, batch.ids)
    return numbers


def scored(
    predictor: Predictor, ids: Sequence[str], pooled: np.ndarray, confidence: np.ndarray
) -> list[dict[str, Any]]:
    """One row per image, most doubtful first: images of an unknown kind, then lowest quality.

    `review` counts from 1. Ends are empty for an image of an unknown kind.
    """
    size = confidence[:, list(predictor.facts["confidence"]).index("foreground")]
    scores = predictor.score(pooled, confidence, size)
    order = np.lexsort((np.array(ids), scores.quality, scores.inside))
    return [
        {
            "sample": ids[i],
            "quality": float(scores.quality[i]),
            "low": float(scores.low[i]) if scores.inside[i] else None,
            "high": float(scores.high[i]) if scores.inside[i] else None,
            "distance": float(scores.distance[i]),
            "known_kind": bool(scores.inside[i]),
            "review": place,
        }
        for place, i in enumerate(order.tolist(), start=1)
    ]


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV; numbers to six digits, nothing where there is no interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in COLUMNS])
    return buffer.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
