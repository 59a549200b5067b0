"""What is claimed of a language beside its rivals, on comparisons made by hand."""

from types import SimpleNamespace

import pytest

from conceptseg.stats.estimate import Estimate
from conceptseg.study.language.assess import LANGUAGE, PRODUCT, Compared
from conceptseg.study.language.conclude import findings

SCORED = [
    SimpleNamespace(name=name, tells=Estimate(0.2, 0.1, 0.3, 20), dice=Estimate(0.7, 0.6, 0.8, 20))
    for name in (LANGUAGE, PRODUCT)
]


@pytest.mark.parametrize(
    ("gap", "tells", "drawn"),
    [
        (Estimate(0.07, 0.02, 0.12, 20), "words tell more of", "masks are drawn better than"),
        (Estimate(-0.07, -0.12, -0.02, 20), "words tell less of", "masks are drawn worse than"),
        (
            Estimate(-0.04, -0.13, 0.05, 20),
            "words were not shown to tell more or less of",
            "masks were not shown to be drawn better or worse than",
        ),
        (Estimate(0.3, 0.2, 0.4, 3), "words were not shown to", "masks were not shown to"),
    ],
)
def test_a_direction_is_claimed_only_where_the_interval_excludes_zero(gap, tells, drawn):
    for compared, evidence, said in (
        (Compared(gap, Estimate(0, -1, 1, 20), PRODUCT, PRODUCT), "codes", tells),
        (Compared(Estimate(0, -1, 1, 20), gap, PRODUCT, PRODUCT), "masks", drawn),
    ):
        (finding,) = (one for one in findings(compared, SCORED, []) if one.evidence == evidence)
        assert said in finding.claim
        assert (finding.standing == "evidence") is ("not shown" not in finding.claim)
