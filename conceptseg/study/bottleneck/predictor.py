"""A predictor of quality as numbers alone: parameters and arrays, no pickled object.

It is kept among the arrays of a study's result, so whoever has the result can score new images, and
reading it runs no code of whoever wrote it. scikit-learn fits it, and is not needed to apply it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conceptseg.errors import InputError
from conceptseg.result.saved import UNREADABLE
from conceptseg.study.bottleneck.conformal import Calibration, Slicing, interval, quality_ends
from conceptseg.study.bottleneck.fitness import check
from conceptseg.study.bottleneck.gate import Gate, Gates, Space
from conceptseg.study.bottleneck.part import Part
from conceptseg.study.bottleneck.regress import from_log_odds

PREFIX = "predictor-"
HEAD = f"{PREFIX}head"
VERSION = 1


@dataclass(frozen=True)
class Scored:
    """New images: predicted quality [m], its interval, and the distance to those that are known.

    Beyond a distance of 1 an image is of another kind, and its ends are nan.
    """

    quality: np.ndarray
    low: np.ndarray
    high: np.ndarray
    distance: np.ndarray

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, np.where(self.inside, getattr(self, name), np.nan))

    @property
    def inside(self) -> np.ndarray:
        return np.asarray(self.distance <= 1)


@dataclass(frozen=True)
class Predictor:
    """The models of all folds, their residuals, the slices and the gate.

    `columns` are the pooled units that are read; `facts` what the arrays do not say: classes,
    layer, the hash of the weights, names, alpha.
    """

    parts: Sequence[Part]
    calibration: Calibration
    slicing: Slicing
    gates: Gates
    columns: np.ndarray
    facts: Mapping[str, Any]

    def features(self, pooled: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """The rows that the models read, [m, d]. Raises InputError for a layer of fewer units."""
        if len(self.columns) and self.columns.max() >= pooled.shape[1]:
            raise InputError(
                f"the predictor reads unit {self.columns.max()} of {self.facts['layer']}, which "
                f"has {pooled.shape[1]}; run the bottleneck study again"
            )
        use, parts = (
            self.facts["features"],
            {"layer": pooled[:, self.columns], "confidence": confidence},
        )
        read = [part for name, part in parts.items() if use in (name, "both")]
        return np.concatenate(read, axis=1).astype(np.float64)

    def score(self, pooled: np.ndarray, confidence: np.ndarray, size: np.ndarray) -> Scored:
        """Quality and intervals of new images; those outside of the gate get nan for ends.

        The prediction is the mean of the folds' log odds, each model having seen most of the data.
        """
        rows = self.features(pooled, confidence)
        each = np.stack([part.predict(rows) for part in self.parts], axis=1)
        ends = interval(each, self.slicing(size), self.calibration, self.facts["alpha"])
        distance = self.gates.distance(pooled[:, self.columns], confidence)
        return Scored(from_log_odds(each.mean(1)), *quality_ends(*ends), distance)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it as plain arrays, whose names begin with "predictor-"."""
        head = {
            "version": VERSION,
            "kinds": [part.kind for part in self.parts],
            "slicing": [self.slicing.name, list(self.slicing.edges)],
            "facts": dict(self.facts),
        }
        text = json.dumps(head, sort_keys=True).encode()
        arrays = {
            "head": np.frombuffer(text, dtype=np.uint8).copy(),
            "columns": self.columns,
            **vars(self.calibration),
        }
        for name, gate in vars(self.gates).items():
            arrays |= {f"{name}-{field}": value for field, value in vars(gate.space).items()}
            arrays |= {f"{name}-known": gate.known, f"{name}-limits": gate.limits}
        for number, part in enumerate(self.parts):
            arrays[f"{number}-offset"], arrays[f"{number}-matrix"] = part.offset, part.matrix
            arrays |= {f"{number}.{name}": value for name, value in part.arrays.items()}
        return {f"{PREFIX}{name}": value for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], where: str = "the result") -> Predictor:
        """The predictor among a result's arrays. Raises InputError when there is none to read."""
        if HEAD not in arrays:
            raise InputError(
                f"{where} holds no predictor of quality; give a bottleneck study's run"
            )
        try:
            own = {k.removeprefix(PREFIX): v for k, v in arrays.items() if k.startswith(PREFIX)}
            head = json.loads(bytes(np.asarray(own["head"], np.uint8)))
            if head["version"] != VERSION:
                raise ValueError(f"version {head['version']}, this program reads {VERSION}")
            parts = []
            for number, kind in enumerate(head["kinds"]):
                start = f"{number}."
                mine = {k.removeprefix(start): v for k, v in own.items() if k.startswith(start)}
                parts.append(Part(kind, own[f"{number}-offset"], own[f"{number}-matrix"], mine))
            name, edges = head["slicing"]
            numbers = (
                tuple(parts),
                Calibration(*(own[key] for key in Calibration.__dataclass_fields__)),
                Slicing(name, tuple(edges)),
                Gates(_gate(own, "layer"), _gate(own, "confidence")),
                own["columns"],
                head["facts"],
            )
            check(*numbers)
        except UNREADABLE as error:
            raise InputError(
                f"{where}: its predictor cannot be read ({error}); run the study again"
            ) from None
        return cls(*numbers)


def _gate(arrays: Mapping[str, np.ndarray], name: str) -> Gate:
    space = Space(**{field: arrays[f"{name}-{field}"] for field in Space.__dataclass_fields__})
    return Gate(space, arrays[f"{name}-known"], arrays[f"{name}-limits"])
