"""A fitted pipeline as numbers alone, which scikit-learn is not needed to apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ROOM = 2**23
"""Differences of rows and points that are held at a time."""
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
            at_once = max(1, ROOM // max(self.arrays["points"].size, 1))
            parts = [self._nearest(z[i : i + at_once]) for i in range(0, len(z), at_once)]
            return np.concatenate([*parts, np.zeros(0)])
        return _walk(z, self.arrays)

    def _nearest(self, z: np.ndarray) -> np.ndarray:
        """The mean value of the nearest points of each row."""
        known, k = self.arrays["points"], int(self.arrays["k"])
        square = ((z[:, None] - known[None]) ** 2).sum(2)
        nearest = np.argpartition(square, k - 1, axis=1)[:, :k]
        return np.asarray(self.arrays["values"][nearest].mean(1))


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
        if name == "layer" and len(step) > 1:
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
