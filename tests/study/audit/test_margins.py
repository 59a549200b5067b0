"""Which classes keep no margin: those whose context fills it."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.engine.known import Known
from conceptseg.study.audit.contexts import CONTEXTS, ContextType
from conceptseg.study.audit.margins import MARGINS, filled, fit_margins, margins_of
from conceptseg.study.audit.reach import MARGIN
from conceptseg.study.audit.survey import GRID, HOLDINGS, PLAN, Plan
from tests.study.audit.small import audit, holdings

SIDE = 64
"""Of the images, so that a cell is 2 px."""


def scenes():
    """A square of class 1 in the middle; the first context lies all around it, the second far off,
    the third on one side of it; half of the images hold them."""
    share = np.zeros((12, 3))
    share[::2] = 0.3
    held = holdings(share)
    held.size[:] = SIDE**2
    region = np.zeros((GRID, GRID), bool)
    region[12:20, 12:20] = True
    held.ground[:, region] = 1
    places = np.zeros((3, GRID, GRID), bool)
    places[0], places[1, :4], places[2, :, :12] = ~region, True, True
    held.cells[::2] = np.packbits(places.reshape(3, -1), axis=1)
    return held


def fitted(kinds=("mask", "mask", "mask"), **keys):
    held, usual = scenes(), keys.get("margin", 8.0)
    known = (
        HOLDINGS(held)
        | CONTEXTS(tuple(ContextType(f"t{i}", kind) for i, kind in enumerate(kinds)))
        | PLAN(Plan({1: held.ids}, {1: (0, 1, 2)}))
        | MARGIN(float(usual))
    )
    return fit_margins(audit(**keys), SimpleNamespace(), Known() | known) | known


def test_the_part_of_the_margin_that_a_context_takes():
    held, rows = scenes(), np.arange(0, 12, 2)
    assert filled(held, rows, 1, 0, 8.0) == 1 and filled(held, rows, 1, 1, 8.0) == 0
    # Of a ring of four cells around eight: 16 by 4 of 16 by 16 less 8 by 8.
    assert filled(held, rows, 1, 2, 8.0) == pytest.approx(64 / 192)
    assert filled(held, np.arange(0), 1, 0, 8.0) == 0 and filled(held, rows, 5, 0, 8.0) == 0


def test_a_context_that_fills_it_is_tested_without_one():
    known = fitted()
    assert known[MARGINS] == {(1, 0): 0.0, (1, 1): 8.0, (1, 2): 8.0}
    assert margins_of(known, 1) == [0.0, 8.0]


def test_a_margin_that_was_given_stays_and_so_does_that_of_what_lies_nowhere():
    assert set(fitted(margin=6)[MARGINS].values()) == {6.0}
    assert fitted(kinds=("column", "mask", "mask"))[MARGINS][1, 0] == 8.0
