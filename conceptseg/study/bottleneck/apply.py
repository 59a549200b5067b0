"""New images, scored by a predictor that an earlier study saved: no labels are read."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context
from conceptseg.errors import InputError
from conceptseg.result.table import Table
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.measure import look
from conceptseg.study.bottleneck.predictor import Predictor


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
) -> Table:
    """One row per image, most doubtful first: images of an unknown kind, then lowest quality.

    `review` counts from 1. Ends are nan for an image of an unknown kind.
    """
    size = confidence[:, list(predictor.facts["confidence"]).index("foreground")]
    scores, names = predictor.score(pooled, confidence, size), np.array(ids)
    order = np.lexsort((names, scores.quality, scores.inside))
    columns = {"sample": names, **vars(scores), "known_kind": scores.inside}
    ranked = {name: values[order].tolist() for name, values in columns.items()}
    return Table.of_columns({**ranked, "review": range(1, len(names) + 1)})


def as_csv(table: Table) -> str:
    """The rows as CSV; numbers to six digits, nothing where there is no interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(map(_cell, row.values()) for row in table.rows)
    return buffer.getvalue()


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if np.isnan(value) else f"{value:.6g}"
