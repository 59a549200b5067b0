"""Where no layer is better than the output by more than counts, few data sets claim that one is."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.study.ability import assess, findings
from tests.study.ability.test_assess import STUDY, counting, made

LAYERS = 12


def false_claims(groups, sets, seed=0):
    """Share of data sets, of two images a group, with a finding that a layer is better.

    Readings lie symmetrically about what just does not count, groups are of unlike spread, and
    layers share half of their variance.
    """
    rng = np.random.default_rng([seed, groups])
    names = [f"g{number // 2:02d}" for number in range(2 * groups)]
    count = 0
    for _ in range(sets):
        scale = rng.exponential(0.05, (groups, 1, 1))
        noise = rng.normal(size=(groups, LAYERS, 1)) + rng.normal(size=(groups, 1, 1))
        output = np.full((2 * groups, 1), 0.5)
        dice = 0.5 + STUDY.smallest_effect + np.repeat(scale * noise, 2, axis=0)
        rows = assess.levels(STUDY, made(dice, output), [0], counting(names), seed)
        listed = findings.better(SimpleNamespace(levels=rows), ["cat"])
        count += any(one.standing == "evidence" for one in listed)
    return count / sets


@pytest.mark.parametrize(("groups", "sets"), [(8, 40), (13, 15)])
def test_findings_of_nothing_are_rare(groups, sets):
    assert false_claims(groups, sets) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
