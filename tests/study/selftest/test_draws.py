"""Draws are of real numbers: repeatable, one for each claim, and not all alike by construction."""

import numpy as np
import pytest

from conceptseg import catalogue
from conceptseg.study.selftest.bench import Planted, selftest_of

STUDIES = [name for name in catalogue.names("study") if selftest_of(name).claims]
LIGHT = ("actmax", "permutation", "saliency")


@pytest.mark.parametrize(
    "study", [n if n in LIGHT else pytest.param(n, marks=pytest.mark.slow) for n in STUDIES]
)
def test_draws_are_repeatable_and_of_every_claim(study):
    own = selftest_of(study)
    first, again = ([tuple(one) for one in own.draws(Planted(), 3, 7)] for _ in range(2))
    assert first == again and len(first) == 3
    assert all(len(one) == len(own.claims) for one in first)
    assert all(isinstance(value, bool | np.bool_) for one in first for value in one)
