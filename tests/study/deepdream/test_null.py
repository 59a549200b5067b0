"""How often something is claimed where nothing is there, counted in findings."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.study.deepdream.assess import ASSESSED, assess
from conceptseg.study.deepdream.descriptors import NAMES
from conceptseg.study.deepdream.findings import findings
from conceptseg.study.deepdream.survey import SURVEY
from conceptseg.study.deepdream.travel import TRAVELLED
from tests.study.deepdream.drawn import CLASSES, drawn, study_of

SETS = int(os.environ.get("CONCEPTSEG_NULL_SETS", "20"))
STUDY = study_of(smallest=0.0)


def claimed(groups, routes, seed):
    """Whether a descriptor, and whether the surroundings, are claimed in one data set.

    Every descriptor's change exceeds one null path by much, and is exchangeable with the other:
    with the smooth one for half of them, with the shuffled one for the other half and for the share
    of the change that is far from the region.
    """
    half = np.arange(len(NAMES)) % 2 == list(NAMES).index("change_near") % 2
    effects = (3.0 * half, 3.0 * ~half)
    survey, travelled = drawn(groups, 1, effects, routes=routes, seed=seed)
    known = SURVEY(survey) | TRAVELLED(travelled)
    assessed = assess(STUDY, SimpleNamespace(seed=seed), known)[ASSESSED]
    shown = {one.evidence for one in findings(assessed, CLASSES) if one.standing == "evidence"}
    return "cues" in shown, "paths" in shown


@pytest.mark.parametrize("groups", [9])
def test_false_claims_are_at_most_five_percent(groups):
    false = np.mean([claimed(groups, 2, seed) for seed in range(SETS)], axis=0)
    bar = 0.05 + 2 * np.sqrt(0.05 * 0.95 / SETS)
    assert (false <= bar).all(), false
