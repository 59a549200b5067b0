"""What a descriptor's change on a path lets an auditor conclude, and what it does not."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.study.deepdream.assess import SHORT, Cue, _measured, conclusion
from conceptseg.study.deepdream.descriptors import NAMES
from conceptseg.study.deepdream.survey import Route

STUDY = SimpleNamespace(smallest=0.2)
ROUTE = Route("become", 1, 2)
NAN = float("nan")


def cue(pixel, phase=None, *, reach=2.0, natural=1.5, ends=None, phase_ends=None, null=0.01):
    phase = pixel if phase is None else phase
    own = (pixel - 0.05, pixel + 0.05)
    change = {"pixel": pixel, "phase": phase, "smooth": null, "shuffled": null}
    ends, phase_ends = ends or own, phase_ends or (phase - 0.05, phase + 0.05)
    return Cue(ROUTE, "mean", 20, change, 1.0, ends, phase_ends, reach, natural, 0.0, 0.0, "")


def test_a_change_beyond_chance_is_set_against_the_data():
    assert conclusion(STUDY, cue(1.0), 0.01) == "as in the data"
    assert conclusion(STUDY, cue(-1.0), 0.01) == "against the data"
    assert conclusion(STUDY, cue(1.0, natural=0.1), 0.01) == "absent in the data"
    assert conclusion(STUDY, cue(1.0, natural=NAN), 0.01) == "not known in the data"
    assert conclusion(STUDY, cue(1.0, -1.0), 0.01) == "no finding"
    assert conclusion(STUDY, cue(1.0), 0.2) == "no finding"
    assert conclusion(STUDY, cue(1.0), NAN) == "not testable"


def test_a_descriptor_is_ignored_only_where_it_was_shown_to_stay():
    assert conclusion(STUDY, cue(0.02), 0.6) == "ignored"
    # Its interval reaches too far, in pixels or in phases; or the phases hardly ever flip.
    assert conclusion(STUDY, cue(0.02, ends=(-0.3, 0.34)), 0.6) == "no finding"
    assert conclusion(STUDY, cue(0.02, phase_ends=(-0.4, 0.3)), 0.6) == "no finding"
    assert conclusion(STUDY, cue(0.02, phase_ends=(NAN, NAN)), 0.6) == "no finding"
    # The classes do not differ greatly in it.
    assert conclusion(STUDY, cue(0.02, natural=0.5), 0.6) == "no finding"


def test_what_a_short_path_could_not_move_is_neither_ignored_nor_found():
    """A few steps flip the region: nothing of that length moves brightness by 0.2 SD."""
    assert conclusion(STUDY, cue(-0.03, reach=0.05), 0.6) == SHORT
    assert conclusion(STUDY, cue(-0.03, reach=0.05, natural=-2.6), 0.03) == SHORT
    assert conclusion(STUDY, cue(-0.03, reach=1.0, natural=-2.6), 0.03) == "no finding"


def travelled(flipped):
    """Twelve starts whose brightness rises by 1 on real paths, and by `-9` where none flips."""
    n, m = len(flipped), list(NAMES).index("mean")
    described = np.zeros((n, 4, 3, len(NAMES)))
    described[:, :2, -1, m] = np.where(flipped >= 0.9, 1.0, -9.0)[:, None]
    described[:, 2, -1, m] = 0.3 * (-1.0) ** np.arange(n)
    share = np.zeros((n, 4, 3))
    share[:, :2, -1] = flipped[:, None]
    return SimpleNamespace(
        described=described, flipped=share, length=np.ones((n, 4)), ended=np.full((n, 4), 5)
    )


@pytest.mark.parametrize("others", [0, 5])
def test_only_starts_that_flip_count(others):
    flipped = np.array([0.95] * 8 + [0.44] * others)
    members = [f"i{k}" for k in range(len(flipped))]
    m = list(NAMES).index("mean")
    own = np.arange(len(flipped))
    one = _measured(travelled(flipped), ROUTE, own, members, m, (1.5, 1.0), 0.9, 0)
    assert one.n == 8 and one.change["pixel"] == one.change["phase"] == 1.0
    assert one.reach == pytest.approx(0.3) and one.phase_interval == (1.0, 1.0)
    few = _measured(travelled(flipped[3:]), ROUTE, own[:-3], members, m, (1.5, 1.0), 0.9, 0)
    assert few.n == 5 and np.isnan(few.p) and np.isnan(few.phase_interval).all()
