"""What is claimed of agreement as a sign of quality, on correlations made by hand."""

from types import SimpleNamespace

import pytest

from conceptseg.stats.estimate import Estimate
from conceptseg.study.ability.findings import forecast

ABOVE, BELOW = Estimate(0.35, 0.1, 0.6, 40), Estimate(-0.35, -0.6, -0.1, 40)
UNSURE = Estimate(0.12, -0.2, 0.4, 40)
GOOD = "Where the layers agree with the prediction, images are segmented better; it "


@pytest.mark.parametrize(
    ("own", "gap", "plain"),
    [
        (ABOVE, ABOVE, f"{GOOD}is a better sign than the confidence."),
        (ABOVE, BELOW, f"{GOOD}is a worse sign than the confidence."),
        (ABOVE, UNSURE, f"{GOOD}was not shown to be a better sign than the confidence."),
        (
            UNSURE,
            UNSURE,
            "Agreement of the layers was not shown to tell quality better than the confidence "
            "does.",
        ),
        (BELOW, BELOW, "Agreement of the layers tells quality worse than the confidence does."),
        (
            UNSURE,
            ABOVE,
            "Agreement of the layers ranks images better than the confidence does, but was not "
            "shown to tell quality.",
        ),
    ],
)
def test_agreement_is_a_sign_of_quality_only_where_its_own_interval_says_so(own, gap, plain):
    estimates = {"agreement": own, "confidence": UNSURE, "difference": gap}
    assert forecast(SimpleNamespace(estimates=estimates)).plain == plain


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (ABOVE, "ranks images by their true Dice better than"),
        (BELOW, "ranks images by their true Dice worse than"),
        (UNSURE, "was not shown to rank images by their true Dice better or worse than"),
    ],
)
def test_a_direction_is_claimed_only_where_the_interval_excludes_zero(gap, said):
    estimates = {"agreement": ABOVE, "confidence": UNSURE, "difference": gap}
    finding = forecast(SimpleNamespace(estimates=estimates))
    assert said in finding.claim and (finding.standing == "evidence") is (gap is not UNSURE)
