"""What is swapped together with a context is named, and what is not is not."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.study.audit.company import Company, company
from conceptseg.study.audit.contexts import ContextType

STUDY = SimpleNamespace(min_context=0.01, most_lacking=0.001)
NAMES = ("wire", "tram", "bus", "cloud", "scarce")


def held(*columns):
    """Holdings of which shares [n, q] alone are known."""
    return SimpleNamespace(share=np.array(columns, float).T)


def found(place, first, *columns):
    contexts = [ContextType(name, "class") for name in NAMES]
    rows = np.arange(len(first))
    return company(STUDY, held(*columns), contexts, place, rows, np.array(first, bool))


def test_company_by_hand():
    first = [1] * 10 + [0] * 10
    wire = [0.2] * 10 + [0.0] * 10
    tram = [0.3] * 10 + [0.0] * 9 + [0.3]  # 1.0 against 0.1
    bus = [0.0] * 9 + [0.3] + [0.3] * 10  # 0.1 against 1.0
    cloud = [0.3] * 8 + [0.0] * 2 + [0.3] + [0.0] * 9  # 0.8 against 0.1: below 0.8 apart
    scarce = [0.005] * 20  # neither there nor lacking
    got = found(0, first, wire, tram, bus, cloud, scarce)
    assert got == Company(("tram",), ("bus",))
    assert "tram nearly always come with it and bus nearly always stand in its place" in got.words


def test_no_company_is_false():
    first = [1] * 5 + [0] * 5
    half = [0.3, 0.0] * 5
    assert not found(0, first, [0.2] * 5 + [0.0] * 5, half, half, half, half)


@pytest.mark.parametrize("unknown", [np.nan, 0.005])
def test_donors_of_which_nothing_is_known_are_left_out(unknown):
    first = [1] * 5 + [0] * 5
    own = [0.2] * 5 + [0.0] * 5
    other = [0.3] + [unknown] * 4 + [0.0] + [unknown] * 4
    got = found(0, first, own, other, [unknown] * 10, [unknown] * 10, [unknown] * 10)
    assert got.along == ("tram",) and not got.instead
