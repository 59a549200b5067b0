"""False uses where no concept is used, at the level of the study's findings."""

from dataclasses import replace

import numpy as np
import pytest

from conceptseg.study.ace.assess import JUDGED, assess
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.erase import ERASURES, Erasures
from conceptseg.study.ace.findings import findings
from conceptseg.study.ace.tcav import Influence
from tests.study.ace.small import concept, direction, discovery, study

UNITS, RANDOM, NULLS = 3, 10, 999


def one_class(rng, groups, concepts):
    """A class and concepts of which none is used: each has one of the two effects, or neither.

    A third of the concepts move the score (p is as small as it can be) and cost no more than the
    random directions do; a third cost much and move it as random concepts do; the rest do neither.
    Losses of a group go together in all concepts; random directions differ from each other.
    """
    kind = np.arange(concepts) % 3
    heavy = 0.05 * rng.exponential(size=(groups, 1))
    shared = rng.normal(size=(groups, 1))
    between = 0.02 * rng.normal(size=concepts + RANDOM)
    change = heavy * (rng.normal(size=(groups, concepts + RANDOM)) + shared) + between - 0.05
    lost, null = change[:, :concepts], change[:, concepts:]
    lost[:, kind == 1] -= 0.5
    # Statistics of random concepts are as good as continuous: no ties.
    null_moves = rng.normal(size=(concepts, NULLS))
    effect = np.where(kind == 0, 10.0, np.abs(rng.normal(size=concepts)))
    moves = {}
    for q in range(concepts):
        p = (1 + (np.abs(null_moves[q]) >= effect[q]).sum()) / (1 + NULLS)
        even = np.full(groups, effect[q])
        moves[0, q] = Influence(even, even, even, p, p, null_moves[q], null_moves[q])
    axis = direction(np.eye(UNITS)[0])
    found = discovery(
        groups,
        UNITS,
        1,
        concepts=tuple(concept(q + 1, [0], axis) for q in range(concepts)),
        influence=moves,
        local=moves,
    )
    # Intervals of few draws cost less, and a use needs its test as well.
    found = replace(found, sampling=replace(found.sampling, draws=200))
    clean = np.full((groups, 1), 0.8)
    kept, random = clean[:, None] + lost[:, :, None], clean[:, None] + null[:, :, None]
    return found, Erasures(found.ids, np.ones(groups, bool), clean, kept, random, random[:, :1])


def false_uses(data_sets, groups, concepts):
    """The share of data sets with any finding."""
    rng = np.random.default_rng([groups, concepts])
    plain, wrong = study(smallest_effect=0.0), 0
    for _ in range(data_sets):
        found, erasures = one_class(rng, groups, concepts)
        pairs = assess(plain, None, DISCOVERY(found) | ERASURES(erasures))[JUDGED]
        names = [""] * concepts
        wrong += any(
            finding.standing == "evidence" for finding in findings(found, pairs, ["car"], names)
        )
    return wrong / data_sets


@pytest.mark.parametrize(
    ("groups", "concepts", "data_sets"),
    [
        (8, 15, 20),  # joint flips
        (13, 4, 20),  # Holm
        pytest.param(6, 14, 300, marks=pytest.mark.slow),
        pytest.param(8, 14, 300, marks=pytest.mark.slow),
        pytest.param(10, 14, 300, marks=pytest.mark.slow),
        pytest.param(20, 14, 300, marks=pytest.mark.slow),
        pytest.param(13, 4, 300, marks=pytest.mark.slow),
        pytest.param(30, 15, 300, marks=pytest.mark.slow),
    ],
)
def test_a_use_is_claimed_falsely_in_one_of_twenty_data_sets(groups, concepts, data_sets):
    bound = 0.05 + 2 * np.sqrt(0.05 * 0.95 / data_sets)
    assert false_uses(data_sets, groups, concepts) <= bound


@pytest.mark.parametrize("groups", [6, 8, 10])
def test_what_takes_nearly_all_of_the_iou_is_found_in_few_groups(groups, data_sets=10):
    """Of 14 concepts; by Holm's correction nothing could pass in 6 or 8 groups."""
    rng = np.random.default_rng(groups)
    found = []
    for _ in range(data_sets):
        discovery_, erasures = one_class(rng, groups, 14)
        kept = erasures.concept.copy()
        kept[:, 0, 0] = 0.8 * (1 - rng.beta(6, 1, groups))  # concept 0 moves the score as well
        erasures = replace(erasures, concept=kept)
        pairs = assess(study(), None, DISCOVERY(discovery_) | ERASURES(erasures))[JUDGED]
        found.append(pairs[0].used)
    assert np.mean(found) >= 0.8
