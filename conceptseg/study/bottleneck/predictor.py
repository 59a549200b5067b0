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
from conceptseg.study.bottleneck.conformal import Calibration, Slicing, interval, quality_ends
from conceptseg.study.bottleneck.gate import Gate, Gates, Space
from conceptseg.study.bottleneck.regress import from_log_odds

PREFIX = "predictor-"
HEAD = f"{PREFIX}head"
VERSION = 1
NODES = {"left": int, "right": int, "feature": int, "threshold": float, "value": float}
"""What is known of a tree's nodes; a leaf's children are -1."""


@dataclass(frozen=True)
class Part:
    """One fitted pipeline: reduced rows z = (x - offset) @ matrix, then a regressor on z.

    `kind` says how `arrays` are read: `linear` (coefficients, intercept), `neighbours` (points,
    values, k), `trees` (nodes; the mean over trees, or the sum above a baseline).
    """

    kind: str
    offset: np.ndarray
    matrix: np.ndarray
    arrays: Mapping[str, np.ndarray]

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Log odds of quality [m] of feature rows [m, d]."""
        z = (np.asarray(rows, np.float64) - self.offset) @ self.matrix
        if self.kind == "linear":
            return np.asarray(z @ self.arrays["coefficients"] + self.arrays["intercept"])
        if self.kind == "neighbours":
            known, k = self.arrays["points"], int(self.arrays["k"])
            square = ((z[:, None] - known[None]) ** 2).sum(2)
            nearest = np.argpartition(square, k - 1, axis=1)[:, :k]
            return np.asarray(self.arrays["values"][nearest].mean(1))
        return _walk(z, self.arrays)


def _walk(z: np.ndarray, nodes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Down every tree at once: node -> its left child where z <= threshold, else its right one."""
    roots = nodes["roots"]
    at = np.tile(roots, (len(z), 1))
    rows = np.arange(len(z))[:, None]
    if nodes["single"]:
        # Forests compare in single precision what they were fitted on in single precision.
        z = z.astype(np.float32).astype(np.float64)
    while True:
        left = nodes["left"][at]
        inner = left >= 0
        if not inner.any():
            break
        below = z[rows, np.maximum(nodes["feature"][at], 0)] <= nodes["threshold"][at]
        at = np.where(inner, np.where(below, left, nodes["right"][at]), at)
    values = nodes["value"][at]
    return np.asarray(values.mean(1) if nodes["single"] else nodes["baseline"] + values.sum(1))


def part_of(pipeline: Any, width: int) -> Part:
    """The numbers of a fitted pipeline of :func:`conceptseg.study.bottleneck.regress.pipeline`."""
    fitted = pipeline["regress"]
    offset, matrix = _affine(pipeline["reduce"], width)
    known = type(fitted).__name__
    if known in ("Ridge", "DummyRegressor"):
        constant = known == "DummyRegressor"
        slope = np.zeros(matrix.shape[1]) if constant else np.asarray(fitted.coef_, np.float64)
        intercept = np.ravel(fitted.constant_ if constant else fitted.intercept_)[0]
        arrays = {"coefficients": slope, "intercept": np.asarray(intercept)}
        return Part("linear", offset, matrix, arrays)
    if known == "KNeighborsRegressor":
        arrays = {
            "points": np.asarray(fitted._fit_X, np.float64),
            "values": np.asarray(fitted._y, np.float64),
            "k": np.array(fitted.n_neighbors, np.int64),
        }
        return Part("neighbours", offset, matrix, arrays)
    return Part("trees", offset, matrix, _forest(fitted) if "Forest" in known else _boosted(fitted))


def _affine(steps: Any, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Scaling and PCA of all columns as one affine map: offset [d] and matrix [d, c]."""
    offset, blocks = np.zeros(width), []
    for name, step, columns in steps.transformers_:
        if name not in ("layer", "confidence"):
            continue
        scaler = step[0] if name == "layer" else step
        block = np.diag(1 / scaler.scale_)
        if name == "layer":
            block = block @ step[1].components_.T
        offset[columns] = scaler.mean_
        placed = np.zeros((width, block.shape[1]))
        placed[columns] = block
        blocks.append(placed)
    return offset, np.concatenate(blocks, axis=1)


def _forest(fitted: Any) -> dict[str, np.ndarray]:
    trees = [
        {
            "left": tree.children_left,
            "right": tree.children_right,
            "feature": tree.feature,
            "threshold": tree.threshold,
            "value": tree.value.reshape(tree.node_count, -1)[:, 0],
        }
        for tree in (one.tree_ for one in fitted.estimators_)
    ]
    return _joined(trees) | {"single": np.array(True), "baseline": np.array(0.0)}


def _boosted(fitted: Any) -> dict[str, np.ndarray]:
    trees = []
    for (stage,) in fitted._predictors:
        nodes, leaf = stage.nodes, stage.nodes["is_leaf"].astype(bool)
        names = {"left": "left", "right": "right", "feature": "feature_idx"}
        tree = {key: np.where(leaf, -1, nodes[name].astype(int)) for key, name in names.items()}
        trees.append(tree | {"threshold": nodes["num_threshold"], "value": nodes["value"]})
    baseline = np.asarray(np.ravel(fitted._baseline_prediction)[0], np.float64)
    return _joined(trees) | {"single": np.array(False), "baseline": baseline}


def _joined(trees: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The nodes of all trees end to end; children are counted from the first node of all."""
    sizes = [len(tree["left"]) for tree in trees]
    roots = np.cumsum([0, *sizes[:-1]])
    arrays: dict[str, np.ndarray] = {
        name: np.concatenate([tree[name] for tree in trees]).astype(kind)
        for name, kind in NODES.items()
    }
    shift = np.where(arrays["left"] >= 0, np.repeat(roots, sizes), 0)
    return {
        "roots": roots,
        **arrays,
        "left": arrays["left"] + shift,
        "right": arrays["right"] + shift,
    }


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
        """The rows that the models read, [m, d]."""
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
            return cls(
                tuple(parts),
                Calibration(*(own[key] for key in Calibration.__dataclass_fields__)),
                Slicing(name, tuple(edges)),
                Gates(_gate(own, "layer"), _gate(own, "confidence")),
                own["columns"],
                head["facts"],
            )
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{where}: its predictor cannot be read ({error}); run the study again"
            ) from None


def _gate(arrays: Mapping[str, np.ndarray], name: str) -> Gate:
    space = Space(**{field: arrays[f"{name}-{field}"] for field in Space.__dataclass_fields__})
    return Gate(space, arrays[f"{name}-known"], arrays[f"{name}-limits"])
