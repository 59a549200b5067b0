"""Changes between networks, in units of what is known of their drift."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Estimate
from conceptseg.study.diff.assess import _in_units

NAN = float("nan")


def test_a_change_of_which_nothing_is_known_has_no_size():
    assert np.isnan(_in_units(Estimate(0.1, NAN, NAN, 3, "images"), NAN))
    assert _in_units(Estimate(0.0, NAN, NAN, 3, "images"), NAN) == 0
    assert _in_units(Estimate(0.1, 0.0, 0.2, 30, "images"), NAN) == pytest.approx(1.96, abs=0.01)
    assert _in_units(Estimate(0.1, 0.0, 0.2, 30, "images"), 0.05) == pytest.approx(2)
