"""New images, scored by a predictor that an earlier study saved: no labels are read."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.fitted import check_bound
from conceptseg.result.table import Table
from conceptseg.study.bottleneck.confidence import names
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.fitness import SIZE
from conceptseg.study.bottleneck.measure import look
from conceptseg.study.bottleneck.predictor import Predictor, Scored


class Scoring(Bottleneck):
    """The study's keys, for all images that are to be scored: little is kept of each."""

    most_images = None


def check(predictor: Predictor, context: Context, where: str) -> None:
    """Refuse a network that the predictor was not made for: its layer means nothing there."""
    cure = "give the same network, or run the bottleneck study on this one"
    check_bound(predictor.facts["weights"], context.model, f"{where}: its predictor", cure)
    if predictor.facts["confidence"] != names(predictor.facts["flip"]):
        raise InputError(
            f"{where}: its predictor reads another confidence than this version measures; run the "
            "study again"
        )


@dataclass(frozen=True)
class Scores:
    """Scored images: `ids` [m], and `values` [m, 4] of quality, its ends and the distance."""

    ids: np.ndarray
    values: np.ndarray

    def merge(self, other: Self) -> Self:
        return type(self)(
            np.concatenate([self.ids, other.ids]), np.concatenate([self.values, other.values])
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        return dict(vars(self))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(arrays["ids"], arrays["values"])


SCORES = Key("scores", Scores)


@dataclass(frozen=True)
class Score(Pass):
    """Each image's quality by a predictor: one forward, and one of the mirrored image."""

    study: Bottleneck
    predictor: Predictor

    name = "score"
    cost = "1 forward per image, and 1 of its mirror image"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        logits, numbers = look(self.study, context, batch.images)
        confidence, facts = numbers["confidence"], self.predictor.facts
        size = confidence[:, list(facts["confidence"]).index(SIZE)]
        found = self.predictor.score(numbers["pooled"], confidence, size)
        columns = (found.quality, found.low, found.high, found.distance)
        return SCORES(Scores(np.array(batch.ids), np.stack(columns, 1)))


def ranked(scores: Scores) -> Table:
    """One row per image, most doubtful first: images of an unknown kind, then lowest quality.

    `review` counts from 1. Ends are nan for an image of an unknown kind.
    """
    found = Scored(*scores.values.T)
    order = np.lexsort((scores.ids, found.quality, found.inside))
    columns = {"sample": scores.ids, **vars(found), "known_kind": found.inside}
    rows = {name: values[order].tolist() for name, values in columns.items()}
    return Table.of_columns({**rows, "review": range(1, len(order) + 1)})


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
