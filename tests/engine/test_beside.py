"""A process beside: it gives what a call gives, tells why it failed, and ends with its program."""

import numpy as np
import pytest

from conceptseg.engine.beside import Beside
from conceptseg.study.bottleneck.maps import maps


def test_it_gives_what_a_call_gives():
    rows = np.random.default_rng(0).normal(size=(20, 6))
    beside = Beside("conceptseg.study.bottleneck.maps", "0", "1", warm=False).give(rows)
    found, expected = beside.result(), maps(rows, [0, 1])
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_failure_is_told():
    beside = Beside("conceptseg.study.ace.plane", "0", warm=False)
    with pytest.raises(RuntimeError, match=r"conceptseg\.study\.ace\.plane failed"):
        beside.give(np.zeros(3)).result()


def test_it_ends_quietly_when_nothing_is_given():
    beside = Beside("conceptseg.study.ace.plane", "0", warm=False)
    output, errors = beside._process.communicate(b"", timeout=60)
    assert (beside._process.returncode, output, errors) == (0, b"", b"")
