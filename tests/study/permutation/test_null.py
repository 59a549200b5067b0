"""Where nothing costs more than the smallest effect, few families claim that something does."""

import numpy as np
import pytest

from conceptseg.study.permutation.findings import findings
from tests.study.permutation.small import assessed, deltas

PARTS, CLASSES = 6, 3


def false_claims(groups, sets, seed=0):
    """Share of data sets, of two images a group, with a finding that counts as evidence.

    Effects lie symmetrically about the smallest one that counts, groups are of unlike spread, and
    parts and classes share half of their variance.
    """
    rng = np.random.default_rng([seed, groups])
    count = 0
    for _ in range(sets):
        scale = rng.exponential(0.1, (groups, 1, 1))
        shared = rng.normal(size=(groups, 1, 1))
        rise = 0.005 + scale * (rng.normal(size=(groups, PARTS, CLASSES)) + shared)
        overlap = np.repeat(rise, 2, axis=0)
        given = deltas(overlap, np.full((2 * groups, CLASSES), 0.2))
        rows = assessed(given, lambda i: f"g{i // 2}").values()
        count += any(one.standing == "evidence" for one in findings(list(rows)))
    return count / sets


@pytest.mark.parametrize(("groups", "sets"), [(8, 40), (13, 15)])
def test_findings_of_nothing_are_rare(groups, sets):
    assert false_claims(groups, sets) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
