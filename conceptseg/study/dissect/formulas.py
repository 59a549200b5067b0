"""Compositional explanations: a unit's mask as AND, OR and NOT of concepts, by beam search.

Source: Mu & Andreas 2020, "Compositional explanations of neurons" (arXiv 2006.14032), section 2.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conceptseg.study.dissect.kept import Masks

OPERATORS = ("and", "or", "and not")


@dataclass(frozen=True)
class Formula:
    """`first` concept, then operators with further concepts, applied from left to right."""

    first: int
    rest: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return 1 + len(self.rest)

    @property
    def used(self) -> set[int]:
        return {self.first, *(concept for _, concept in self.rest)}

    def extended(self, operator: str, concept: int) -> "Formula":
        return Formula(self.first, (*self.rest, (operator, concept)))

    def bits(self, concepts: np.ndarray) -> np.ndarray:
        """Where it holds, uint64 [w], from the concepts' bits [l, w]."""
        held = concepts[self.first].copy()
        for operator, concept in self.rest:
            if operator == "or":
                held |= concepts[concept]
            else:
                held &= concepts[concept] if operator == "and" else ~concepts[concept]
        return held

    def words(self, names: Sequence[str]) -> str:
        """In words: "(car or bus) and not frame"."""
        text = names[self.first]
        for place, (operator, concept) in enumerate(self.rest):
            text = f"({text})" if place else text
            text = f"{text} {operator} {names[concept]}"
        return text


@dataclass(frozen=True)
class Explained:
    """A unit's formula and its IoU on the images that chose it and on the others.

    `single` is the best formula of one concept; `single_score` its IoU on the other images.
    """

    formula: Formula
    choose: float
    score: float
    single: Formula
    single_score: float


def explain(
    choose: Masks,
    score: Masks,
    unit: int,
    allowed: np.ndarray,
    *,
    length: int,
    beam: int,
    penalty: float,
) -> Explained:
    """The formula of a unit, chosen on one half of the images and scored on the other.

    The `beam` best of each length are kept and extended; in the end IoU x penalty^(length - 1)
    decides. Concepts that are not annotated at a pixel count as absent there.
    """
    own = choose.units[unit]
    frontier = _singles(own, choose.concepts, allowed)[:beam]
    iou, best = frontier[0]
    worth, single = iou, best
    for size in range(2, length + 1):
        frontier = _extended(own, choose.concepts, allowed, [f for _, f in frontier], beam)
        if frontier and frontier[0][0] * penalty ** (size - 1) > worth:
            iou, best = frontier[0]
            worth = iou * penalty ** (size - 1)
    own_score, single_score = (
        mask_iou(score.units[unit], formula.bits(score.concepts)) for formula in (best, single)
    )
    return Explained(best, iou, own_score, single, single_score)


def explain_each(
    choose: Masks,
    score: Masks,
    allowed: np.ndarray,
    settings: Mapping[str, Any],
    units: Iterable[int],
) -> tuple[Explained, ...]:
    """The formulas of several units; `settings` are :func:`explain`'s."""
    return tuple(explain(choose, score, unit, allowed, **settings) for unit in units)


def mask_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two bit masks [w]; 0 where both are empty."""
    union = _count(one | other)
    return float(_count(one & other) / union) if union else 0.0


def _count(words: np.ndarray) -> np.ndarray:
    return np.bitwise_count(words).sum(-1, dtype=np.int64)


def _singles(
    own: np.ndarray, concepts: np.ndarray, allowed: np.ndarray
) -> list[tuple[float, Formula]]:
    rows = concepts[allowed]
    shared = _count(rows & own)
    iou = shared / np.maximum(_count(own) + _count(rows) - shared, 1)
    order = np.argsort(-iou, kind="stable")
    return [(float(iou[k]), Formula(int(allowed[k]))) for k in order]


def _extended(
    own: np.ndarray,
    concepts: np.ndarray,
    allowed: np.ndarray,
    formulas: Sequence[Formula],
    beam: int,
) -> list[tuple[float, Formula]]:
    """The `beam` best formulas longer by one concept, best IoU first, of those that change it.

    With F the formula, c the concept and U the unit, all sizes follow from |U F c| and |F c|:
    |U (F or c)| = |U F| + |U c| - |U F c|, and so on; so each formula is met with all concepts
    once, whatever the operator.
    """
    if not formulas:
        return []
    rows = concepts[allowed]
    size_c, own_c = _count(rows), _count(rows & own)
    size_own = _count(own)
    every = np.full((len(formulas), len(OPERATORS), len(allowed)), -1.0)
    for place, formula in enumerate(formulas):
        bits = formula.bits(concepts)
        size_f, own_f = _count(bits), _count(bits & own)
        both, own_both = _count(rows & bits), _count(rows & (bits & own))
        shared = {"and": own_both, "or": own_f + own_c - own_both, "and not": own_f - own_both}
        size = {"and": both, "or": size_f + size_c - both, "and not": size_f - both}
        fresh = ~np.isin(allowed, list(formula.used))
        for number, operator in enumerate(OPERATORS):
            union = np.maximum(size_own + size[operator] - shared[operator], 1)
            changed = fresh & (size[operator] != size_f)
            every[place, number, changed] = (shared[operator] / union)[changed]
    # Words are made of those alone that can be among the best: of 150 classes there are thousands.
    least = max(np.sort(every, axis=None)[-beam:][0], 0.0)
    longer = [
        (
            float(every[place, number, k]),
            formulas[place].extended(OPERATORS[number], int(allowed[k])),
        )
        for place, number, k in np.argwhere(every >= least).tolist()
    ]
    return sorted(longer, key=lambda entry: (-entry[0], repr(entry[1])))[:beam]
