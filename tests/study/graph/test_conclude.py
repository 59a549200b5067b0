"""What the sentence of an edge claims, on edges made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.estimate import Estimate
from conceptseg.stats.family import Test
from conceptseg.study.graph.assess import Edge
from conceptseg.study.graph.conclude import findings

ATOMS = SimpleNamespace(name=lambda place: f"body/{place}")


def told(beyond, signed=2.7, target=None):
    test = Test(0.001, 0.01, 0.001, 0.001, float("nan"), 0.001, 12, "images", "benjamini_hochberg")
    size = Estimate(1.83, 1.2, 2.4, 12)
    edge = Edge(0, target, 1, size, signed, signed, signed, 0.1, np.nan, test, beyond)
    (finding,) = findings([edge], ATOMS, ["sky", "tree"], ["ground", "car"])
    assert finding.standing == "evidence"
    return finding.claim


@pytest.mark.parametrize(
    ("beyond", "said"),
    [
        (0.02, ", more than random groups of as many units carry."),
        (0.64, "; random groups of as many units were not shown to carry less."),
        (np.nan, None),
    ],
)
def test_an_edge_says_how_random_groups_compare_only_where_they_did(beyond, said):
    claim = told(beyond)
    assert claim.endswith("(mean of both +2.70)." if said is None else said)
    assert ("random" in claim) is (said is not None)


def test_the_size_of_an_edge_is_that_of_its_smaller_direction():
    assert "1.83 log-odds in the smaller of both directions (mean of both +2.70)" in told(np.nan)
    against = told(np.nan, -2.1, 1)
    assert against.startswith("sky speaks against car through tree") and "-2.10" in against
