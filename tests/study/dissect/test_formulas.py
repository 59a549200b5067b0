"""Formulas: planted ones recovered, and the beam against all formulas."""

import itertools

import numpy as np
import pytest

from conceptseg.study.dissect.formulas import Formula, _extended, explain, mask_iou
from conceptseg.study.dissect.kept import Masks, packed

CONCEPTS, PIXELS = 6, 700
NAMES = ["a", "b", "c", "d", "e", "f"]


def shows(seed=0, share=0.3):
    return np.random.default_rng(seed).random((CONCEPTS, PIXELS)) < share


def as_masks(unit, concepts):
    counts = np.zeros((0, 4, 1), np.int64)
    return Masks(packed(unit[None]), packed(concepts), counts, ())


def found(make, length=3, penalty=0.97, beam=5):
    parts = []
    for seed in (0, 1):
        concepts = shows(seed)
        parts.append(as_masks(make(concepts), concepts))
    allowed = np.arange(CONCEPTS)
    return explain(*parts, 0, allowed, length=length, beam=beam, penalty=penalty)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s: s[1], {"b"}),
        (lambda s: s[1] | s[4], {"b or e", "e or b"}),
        (lambda s: s[0] & s[2], {"a and c", "c and a"}),
        (lambda s: s[3] & ~s[5], {"d and not f"}),
        (lambda s: (s[0] | s[1]) & ~s[2], {"(a or b) and not c", "(b or a) and not c"}),
    ],
)
def test_a_planted_formula_is_recovered(make, words):
    one = found(make)
    assert one.formula.words(NAMES) in words
    assert one.choose == one.score == 1.0
    assert one.single_score <= one.score


def test_a_longer_formula_must_pay_for_its_length():
    """Of what also shows `a`, six in ten are missing: `and not a` fits better, but hardly."""

    def make(shown):
        gone = np.random.default_rng(5).random(PIXELS) < 0.6
        return (shown[1] | shown[4]) & ~(shown[0] & gone)

    assert len(found(make, penalty=1.0).formula) == 3
    assert len(found(make, penalty=0.9).formula) == 2


def test_the_beam_finds_what_trying_all_formulas_finds():
    concepts = shows(3)
    unit = np.random.default_rng(4).random(PIXELS) < 0.4
    masks = as_masks(unit, concepts)
    every = [
        Formula(a, ((operator, b),))
        for a, b in itertools.permutations(range(CONCEPTS), 2)
        for operator in ("and", "or", "and not")
    ]

    def plain(formula):
        mask = concepts[formula.first]
        for operator, other in formula.rest:
            right = concepts[other]
            mask = (
                mask | right
                if operator == "or"
                else mask & (right if operator == "and" else ~right)
            )
        return (mask & unit).sum() / (mask | unit).sum()

    best = max(plain(formula) for formula in every)
    one = explain(masks, masks, 0, np.arange(CONCEPTS), length=2, beam=CONCEPTS, penalty=1.0)
    assert one.choose == pytest.approx(max(best, max(plain(Formula(a)) for a in range(CONCEPTS))))
    for formula in every:
        bits = formula.bits(masks.concepts)
        assert mask_iou(masks.units[0], bits) == pytest.approx(plain(formula))


def test_a_unit_that_is_never_active_has_no_overlap():
    concepts = shows(0)
    nothing = as_masks(np.zeros(PIXELS, bool), concepts)
    one = explain(nothing, nothing, 0, np.arange(CONCEPTS), length=2, beam=2, penalty=0.9)
    assert one.score == 0 and len(one.formula) == 1


def shown_by(formula, concepts):
    held = concepts[formula.first]
    for operator, concept in formula.rest:
        other = ~concepts[concept] if operator == "and not" else concepts[concept]
        held = held | other if operator == "or" else held & other
    return held


def test_the_beam_keeps_the_best_of_all_extensions():
    """Against all of them, by sets of pixels; of equal ones the first in the alphabet stays."""
    rng = np.random.default_rng(4)
    concepts = rng.random((7, 128)) < 0.4
    concepts[5] = concepts[2]
    own = (concepts[1] | concepts[2]) & (rng.random(128) < 0.9)
    allowed = np.array([0, 1, 2, 3, 5, 6])
    formulas = [Formula(1), Formula(2, (("or", 0),))]
    every = []
    for formula in formulas:
        before = shown_by(formula, concepts)
        for operator in ("and", "or", "and not"):
            for concept in allowed.tolist():
                longer = formula.extended(operator, concept)
                held = shown_by(longer, concepts)
                if concept in formula.used or held.sum() == before.sum():
                    continue
                iou = float((held & own).sum() / max((held | own).sum(), 1))
                every.append((iou, longer))
    every.sort(key=lambda one: (-one[0], repr(one[1])))
    assert len({one for one, _ in every}) < len(every)  # some are equal
    for beam in (1, 3, 8, 1000):
        assert (
            _extended(packed(own[None])[0], packed(concepts), allowed, formulas, beam)
            == every[:beam]
        )
    assert _extended(packed(own[None])[0], packed(concepts), allowed, [], 3) == []
