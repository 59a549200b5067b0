"""What is claimed of neighbours that foretell errors, on areas made by hand."""

import pytest

from conceptseg.stats.estimate import Estimate
from conceptseg.study.examples.assess import Foretold
from conceptseg.study.examples.findings import findings


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Estimate(0.21, 0.08, 0.31, 30), "ones foretells a wrong object better than"),
        (Estimate(-0.21, -0.31, -0.08, 30), "ones foretells a wrong object worse than"),
        (Estimate(-0.11, -0.27, 0.04, 30), "was not shown to foretell a wrong object better or"),
        (Estimate(0.11, -0.04, 0.27, 30), "was not shown to foretell a wrong object better or"),
        (Estimate(0.4, 0.3, 0.5, 3), "was not shown to"),  # of so few there is no interval
    ],
)
def test_a_direction_is_claimed_only_where_the_interval_excludes_zero(gap, said):
    areas = {"nearness": Estimate(0.6, 0.5, 0.7, 30), "doubt": Estimate(0.5, 0.4, 0.6, 30)}
    overall = Foretold(None, 40, 9, {**areas, "difference": gap})
    (finding,) = findings([], [overall], ["ground", "car"], "predicted")
    assert said in finding.claim
    assert (finding.standing == "evidence") is ("not shown" not in finding.claim)
