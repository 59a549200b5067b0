"""Data in which nothing is used: how often does any finding stand as evidence?"""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.dissect.ablate import Ablations, losses
from conceptseg.study.dissect.findings import findings
from conceptseg.study.dissect.remaining import Remaining
from tests.study.dissect.small import vocabulary
from tests.study.dissect.test_ablate import study

CLASSES = ("ground", "car", "tree")
EDITS, SETS = 6, 10


def claimed(seed, groups):
    """Whether anything is claimed as evidence of six concepts and three classes: all is false.

    All classes lose much, and as much without random units. Of the classes `ground` and `tree` the
    random sets do not vary, and groups lose more or less than without them as often; of `car` they
    vary, and the concept's units are one more such set.
    """
    rng = np.random.default_rng([seed, groups])
    k, by_sets = len(CLASSES), np.arange(len(CLASSES)) == 1
    scale = rng.exponential(size=(groups, 1, 1))
    noise = scale * (rng.normal(size=(groups, EDITS, k)) + rng.normal(size=(groups, 1, 1)))
    sets = rng.normal(size=(EDITS, SETS + 1, k)) * by_sets
    edited = sets[:, -1] + np.where(by_sets, 1e-3 * noise, noise)
    random = [np.broadcast_to(sets[e, :-1], (groups, SETS, k)) for e in range(EDITS)]
    names = tuple(f"g{i}" for i in range(groups))
    sampling = Sampling(names, names, "groups", seed)
    clean = np.full((groups, k), 100.0)
    shown = losses(study(smallest_effect=0.0), clean, edited, random, sampling)
    sets = tuple((edit,) for edit in range(EDITS))
    ablations = Ablations(sets, sets, (), shown, (), groups, 0, "zero")
    plan = SimpleNamespace(vocabulary=vocabulary(EDITS))
    detection = SimpleNamespace(plan=plan, detectors=lambda concept: [0])
    rest = (Remaining(0.9, 0.8),) * EDITS
    return any(one.standing == "evidence" for one in findings(detection, ablations, rest, CLASSES))


@pytest.mark.parametrize("groups", [6, 8, 13])
def test_false_claims_are_as_rare_as_promised(groups, sets=40):
    rate = np.mean([claimed(seed, groups) for seed in range(sets)])
    assert rate <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
