"""Whether the numbers of a predictor that was read from a file fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conceptseg.study.bottleneck.conformal import Calibration, Slicing
from conceptseg.study.bottleneck.gate import COMPONENTS, Gate, Gates
from conceptseg.study.bottleneck.part import NODES, Part

FACTS = {
    "features": str,
    "alpha": float,
    "flip": bool,
    "classes": list,
    "layer": str,
    "weights": str,
    "confidence": list,
}
READ = ("layer", "confidence", "both")
SIZE = "foreground"
"""What is read of the confidence as an image's size."""


def check(
    parts: Sequence[Part],
    kept: Calibration,
    slicing: Slicing,
    gates: Gates,
    columns: np.ndarray,
    facts: Mapping[str, Any],
) -> None:
    """Raise ValueError, in words, where what a predictor is made of has another shape, type or
    range; or what Python raises of values of other types."""
    _facts(facts)
    own, said = len(numbers("columns", columns, (None,), int, least=0)), len(facts["confidence"])
    width = {"layer": own, "confidence": said, "both": own + said}[facts["features"]]
    if not parts:
        raise ValueError("it has no models")
    for number, part in enumerate(parts):
        _part(f"{number}.", part, width)
    n = len(np.atleast_1d(kept.residual))
    numbers("residual", kept.residual, (n,), least=0)
    numbers("fold", kept.fold, (n,), int, least=0, most=len(parts) - 1)
    numbers("slice", kept.slice, (n,), int)
    numbers("group", kept.group, (n,), int)
    if not n:
        raise ValueError("it has no residuals")
    name, edges = slicing.name, np.asarray(slicing.edges)
    if not isinstance(name, str) or (
        len(edges) and (np.diff(numbers("edges", edges, (None,))) <= 0).any()
    ):
        raise ValueError("its slices have no name, or edges that do not rise")
    _gate("layer", gates.layer, own)
    _gate("confidence", gates.confidence, said)


def numbers(
    name: str,
    array: Any,
    shape: tuple[int | None, ...],
    kind: type = float,
    *,
    least: float = -np.inf,
    most: float = np.inf,
) -> np.ndarray:
    """The array, if it is of a shape (None for any length), of finite numbers within ends.

    Of `int` it must hold signed whole numbers by its type. Raises ValueError.
    """
    array = np.asarray(array)
    fits = array.ndim == len(shape) and all(
        wanted in (None, there) for wanted, there in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} has the shape {list(array.shape)}, not {list(shape)}")
    if array.dtype.kind not in {int: "i", float: "fiu", bool: "b"}[kind]:
        raise ValueError(f"{name} holds {array.dtype}, not {kind.__name__}")
    if array.size and not (
        np.isfinite(array).all() and array.min() >= least and array.max() <= most
    ):
        raise ValueError(f"{name} holds numbers that are not finite or out of range")
    return array


def _facts(facts: Any) -> None:
    if not isinstance(facts, Mapping):
        raise ValueError("its facts are no mapping")
    for name, kind in FACTS.items():
        if not isinstance(facts[name], kind):
            raise ValueError(f"{name} is {str(facts[name])[:40]!r}, not {kind.__name__}")
    for name in ("classes", "confidence"):
        if not facts[name] or not all(isinstance(one, str) for one in facts[name]):
            raise ValueError(f"{name} are not names")
    if facts["features"] not in READ or not 0 < facts["alpha"] < 1:
        raise ValueError("features or alpha are none that there are")
    if SIZE not in facts["confidence"]:
        raise ValueError(f"confidence lacks {SIZE}, by which images are sliced")


def _part(start: str, part: Part, width: int) -> None:
    """A model of so many columns."""
    numbers(f"{start}offset", part.offset, (width,))
    c = numbers(f"{start}matrix", part.matrix, (width, None)).shape[1]
    arrays = part.arrays
    if part.kind == "linear":
        numbers(f"{start}coefficients", arrays["coefficients"], (c,))
        numbers(f"{start}intercept", arrays["intercept"], ())
    elif part.kind == "neighbours":
        known = len(numbers(f"{start}points", arrays["points"], (None, c)))
        numbers(f"{start}values", arrays["values"], (known,))
        numbers(f"{start}k", arrays["k"], (), int, least=1, most=known)
    elif part.kind == "trees":
        _trees(start, arrays, c)
    else:
        raise ValueError(f"it has a model of the unknown kind {str(part.kind)[:40]!r}")


def _trees(start: str, arrays: Mapping[str, np.ndarray], c: int) -> None:
    """Nodes whose children come after them, so that every way down ends."""
    n = len(np.atleast_1d(arrays["left"]))
    for name, kind in NODES.items():
        if name != "threshold":
            numbers(f"{start}{name}", arrays[name], (n,), kind)
    numbers(f"{start}roots", arrays["roots"], (None,), int, least=0, most=n - 1)
    numbers(f"{start}single", arrays["single"], (), bool)
    numbers(f"{start}baseline", arrays["baseline"], ())
    inner = np.flatnonzero(arrays["left"] >= 0)
    if np.shape(arrays["threshold"]) != (n,):  # a leaf's may be anything
        raise ValueError(f"{start}threshold has the shape {list(np.shape(arrays['threshold']))}")
    numbers(f"{start}threshold", arrays["threshold"][inner], (len(inner),))
    numbers(f"{start}feature", arrays["feature"], (n,), int, most=c - 1)
    numbers(f"{start}feature", arrays["feature"][inner], (len(inner),), int, least=0)
    for side in ("left", "right"):
        child = arrays[side][inner]
        numbers(f"{start}{side}", child, (len(inner),), int, least=0, most=n - 1)
        if (child.astype(int) <= inner).any():
            raise ValueError(f"{start}{side} leads back, so that a way down would not end")
    if not len(arrays["roots"]):
        raise ValueError("a forest has no trees")


def _gate(name: str, gate: Gate, width: int) -> None:
    """A gate of so many columns."""
    space = gate.space
    numbers(f"{name}-offset", space.offset, (width,))
    numbers(f"{name}-scale", space.scale, (width,), least=np.finfo(float).tiny)
    r = numbers(f"{name}-vectors", space.vectors, (width, None)).shape[1]
    numbers(f"{name}-variance", space.variance, (r,), least=np.finfo(float).tiny)
    numbers(f"{name}-rest", space.rest, (), least=np.finfo(float).tiny)
    known = numbers(f"{name}-known", gate.known, (None, min(r, COMPONENTS)))
    numbers(f"{name}-limits", gate.limits, (2,), least=0)
    if not len(known):
        raise ValueError(f"the gate {name} knows no images")
