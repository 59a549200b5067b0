"""What an actmax study claims, and what its numbers count, on likenesses made by hand."""

from types import MappingProxyType

import numpy as np
import pytest

from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.family import given
from conceptseg.study.actmax.findings import _average
from conceptseg.study.actmax.judge import Judged, Likeness


def likenesses(above, started=None):
    """As many features as `above` has, each compared with 40 others."""
    above = np.asarray(above, float)
    f = len(above)
    tests = given(1.0 - above, 1 / 41, benjamini_hochberg, n=40, of="units")
    nothing = np.zeros((f, f))
    one = Likeness(nothing, above, above, tuple(tests), nothing.astype(bool), above)
    started = np.ones(f, bool) if started is None else np.asarray(started)
    words = tuple("representative" if s else "not started" for s in started)
    spaces = MappingProxyType({"forgot": one})
    return Judged(above, above, above, above, started, spaces, words)


@pytest.mark.parametrize(("units", "standing"), [(8, "evidence"), (5, "not testable")])
def test_the_average_counts_units_and_is_tested_where_so_many_could_pass(units, standing):
    """Five units gave an interval and a p of 2/32, that no likeness could have made smaller."""
    (finding,) = _average(likenesses(np.linspace(0.8, 1.0, units)), 0)
    assert (finding.n, finding.of, finding.standing) == (units, "units", standing)
    assert finding.effect == pytest.approx(0.4)


def test_no_interval_is_computed_of_fewer_than_five_units():
    (finding,) = _average(likenesses([0.9] * 4 + [0.1] * 4, [True] * 4 + [False] * 4), 0)
    assert finding.n == 4 and finding.ci is None


def test_pictures_that_resemble_nothing_are_called_alike_in_one_of_twenty():
    rng, sets = np.random.default_rng(0), 200
    wrong = [
        _average(likenesses(rng.uniform(size=n)), 0)[0].standing == "evidence"
        for n in (8, 24)
        for _ in range(sets // 2)
    ]
    assert np.mean(wrong) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
