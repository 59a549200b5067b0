"""What a descriptor's change on a path lets an auditor conclude, and what it does not."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.study.deepdream.assess import (
    ASSESSED,
    LEAST,
    SHORT,
    Cue,
    _judge_both,
    _measured,
    assess,
    conclusion,
    find_cues,
)
from conceptseg.study.deepdream.descriptors import NAMES
from conceptseg.study.deepdream.findings import findings
from conceptseg.study.deepdream.survey import SURVEY
from conceptseg.study.deepdream.travel import TRAVELLED
from tests.study.deepdream.drawn import CLASSES, ROUTE, drawn, study_of

STUDY = study_of(flip=0.9)
MEAN = list(NAMES).index("mean")
NAN = float("nan")


def cue(
    pixel, phase=None, *, p=0.01, n=20, reach=2.0, natural=1.5, ends=None, phase_ends=None,
    null=0.01,
):  # fmt: skip
    """A change in pixels and phases over n images, of corrected p, in whose data classes differ."""
    phase = pixel if phase is None else phase
    change = {"pixel": pixel, "phase": phase, "smooth": null, "shuffled": null}
    ends, phase_ends = (
        ends or (pixel - 0.05, pixel + 0.05),
        phase_ends or (phase - 0.05, phase + 0.05),
    )
    test = Test(p, p, 0.001, 1.0 if np.isnan(p) else 0.001, NAN, 0.05, n, "images", "holm")
    own, other = Estimate(pixel, *ends, n), Estimate(phase, *phase_ends, n)
    return Cue(ROUTE, "mean", 20, own, other, change, 1.0, reach, natural, test)


def test_a_change_beyond_chance_is_set_against_the_data():
    assert conclusion(STUDY, cue(1.0, p=0.01)) == "as in the data"
    assert conclusion(STUDY, cue(-1.0, p=0.01)) == "against the data"
    assert conclusion(STUDY, cue(1.0, natural=0.1, p=0.01)) == "absent in the data"
    assert conclusion(STUDY, cue(1.0, natural=NAN, p=0.01)) == "not known in the data"
    assert conclusion(STUDY, cue(1.0, -1.0, p=0.01)) == "no finding"
    assert conclusion(STUDY, cue(1.0, p=0.2)) == "no finding"
    assert conclusion(STUDY, cue(1.0, p=NAN)) == "not testable"


def test_a_descriptor_is_ignored_only_where_it_was_shown_to_stay():
    assert conclusion(STUDY, cue(0.02, p=0.6)) == "ignored"
    # Its interval reaches too far, in pixels or in phases; or the phases hardly ever flip.
    assert conclusion(STUDY, cue(0.02, ends=(-0.3, 0.34), p=0.6)) == "no finding"
    assert conclusion(STUDY, cue(0.02, phase_ends=(-0.4, 0.3), p=0.6)) == "no finding"
    assert conclusion(STUDY, cue(0.02, phase_ends=(NAN, NAN), p=0.6)) == "no finding"
    # The classes do not differ greatly in it.
    assert conclusion(STUDY, cue(0.02, natural=0.5, p=0.6)) == "no finding"


def test_what_a_short_path_could_not_move_is_neither_ignored_nor_found():
    """A few steps flip the region: nothing of that length moves brightness by 0.2 SD."""
    assert conclusion(STUDY, cue(-0.03, reach=0.05, p=0.6)) == SHORT
    assert conclusion(STUDY, cue(-0.03, reach=0.05, natural=-2.6, p=0.03)) == SHORT
    assert conclusion(STUDY, cue(-0.03, reach=1.0, natural=-2.6, p=0.03)) == "no finding"


def rising(flipped):
    """Starts whose brightness rises by 1 on real paths, and by `-9` where none flips."""
    n, m = len(flipped), MEAN
    described = np.zeros((n, 4, 3, len(NAMES)))
    described[:, :2, -1, m] = np.where(flipped >= 0.9, 1.0, -9.0)[:, None]
    described[:, 2, -1, m] = 0.3 * (-1.0) ** np.arange(n)
    share = np.zeros((n, 4, 3))
    share[:, :2, -1] = flipped[:, None]
    return SimpleNamespace(
        described=described, flipped=share, length=np.ones((n, 4)), ended=np.full((n, 4), 5)
    )


def measured(flipped):
    names = tuple(f"i{k}" for k in range(len(flipped)))
    every = np.ones(len(flipped), bool)
    starts = Sampling(names, names, "images", 0)
    return _measured(STUDY, ROUTE, rising(flipped), starts, every, MEAN, (1.5, 1.0))


@pytest.mark.parametrize("others", [0, 5])
def test_only_starts_that_flip_count(others):
    flipped = np.array([0.95] * 8 + [0.44] * others)
    one, asked = measured(flipped)
    assert one.n == 8 and one.change["pixel"] == one.change["phase"] == 1.0
    assert one.reach == pytest.approx(0.3) and one.phase.ci == (1.0, 1.0)
    assert [len(question.values) for question in asked] == [8, 8]
    few, asked = measured(flipped[3:])
    assert few.n == LEAST - 1 and not asked and few.pixel.ci is None and few.phase.ci is None


def test_old_fault_an_interval_over_four_groups_showed_that_a_descriptor_is_ignored():
    """Of 12 starts in 4 groups no interval is computed, so nothing is shown to stay."""
    assert conclusion(STUDY, cue(0.02, p=0.6, n=5)) == "ignored"
    assert conclusion(STUDY, cue(0.02, p=0.6, n=4)) == "no finding"
    survey, travelled = drawn(groups=4, per_group=3, effect=1.0)
    cues = find_cues(STUDY, survey, travelled, np.ones(len(NAMES)), 0)
    assert {(one.n, one.pixel.n, one.pixel.ci) for one in cues} == {(12, 4, None)}


def test_old_fault_descriptors_of_five_groups_were_tested_although_none_could_pass():
    """2 / 2^5 is above 0.05; eight groups can pass all together, where a change is everywhere."""
    survey, travelled = drawn(groups=5, per_group=3, effect=4.0)
    few = find_cues(STUDY, survey, travelled, np.ones(len(NAMES)), 0)
    assert all(not one.test.testable and np.isnan(one.test.p) for one in few)
    assert {one.word for one in few} == {"not testable"}
    survey, travelled = drawn(groups=8, per_group=3, effect=4.0)
    enough = find_cues(STUDY, survey, travelled, np.ones(len(NAMES)), 0)
    assert all(one.test.passed for one in enough)


def test_old_fault_n_of_a_finding_was_the_number_of_starts_whatever_was_counted():
    survey, travelled = drawn(groups=9, per_group=3, effect=4.0)
    known = SURVEY(survey) | TRAVELLED(travelled)
    assessed = assess(STUDY, SimpleNamespace(seed=0), known)[ASSESSED]
    claims = findings(assessed, CLASSES)
    changes = [one for one in claims if one.evidence == "cues"]
    assert changes
    for one in changes:
        assert (one.n, one.of, one.by) == (9, "groups", "test")
        assert one.details["starts"] == 27 and one.standing == "evidence"


def test_a_change_has_to_exceed_both_null_paths():
    """p is that of the weaker difference."""
    survey, travelled = drawn(groups=30, per_group=1, effect=(4.0, 0.0))
    one = find_cues(STUDY, survey, travelled, np.ones(len(NAMES)), 0)[0]
    asked = _measured(
        STUDY, ROUTE, travelled, survey.sampling, np.ones(30, bool), 0, (NAN, 1.0)
    )[1]  # fmt: skip
    smooth, shuffled = (_judge_both([(each, each)], 0)[0] for each in asked)
    assert smooth.p < 0.001 < 0.05 < shuffled.p and one.test.p == shuffled.p
    assert not one.test.passed and not _judge_both([], 0)
