"""What is claimed of unlikely regions that foretell errors, on areas made by hand."""

import pytest

from conceptseg.stats.estimate import Estimate
from conceptseg.study.prototypes.assess import Foretold
from conceptseg.study.prototypes.findings import _warning


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Estimate(0.18, 0.05, 0.33, 24), "a wrong region is told better than by"),
        (Estimate(-0.18, -0.33, -0.05, 24), "a wrong region is told worse than by"),
        (Estimate(-0.06, -0.3, 0.2, 24), "was not shown to be told better or worse than by"),
        (Estimate(0.06, -0.2, 0.3, 24), "was not shown to be told better or worse than by"),
        (Estimate(0.4, 0.3, 0.5, 3), "was not shown to"),  # of so few there is no interval
    ],
)
def test_a_direction_is_claimed_only_where_the_interval_excludes_zero(gap, said):
    areas = {"unlikely": Estimate(0.6, 0.5, 0.7, 24), "doubt": Estimate(0.5, 0.4, 0.6, 24)}
    (finding,) = _warning(Foretold(50, 8, None, None, {**areas, "difference": gap}))
    assert said in finding.claim
    assert (finding.standing == "evidence") is ("not shown" not in finding.claim)
