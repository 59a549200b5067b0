"""What a reader is told of what was left out: each reason once."""

import pytest

from conceptseg.result.wording import by_reason, signed

LEFT = [("lrp", "no rule"), ("rise", "no room"), ("deep_lift", "no rule"), ("shap", "no rule")]


def test_each_reason_comes_once_with_all_that_it_holds_for():
    assert by_reason(LEFT) == ["lrp, deep_lift, shap: no rule", "rise: no room"]
    assert by_reason([]) == []


def test_of_many_names_the_first_and_how_many_more():
    assert by_reason(LEFT, 2) == ["lrp, deep_lift and 1 more: no rule", "rise: no room"]
    assert by_reason(LEFT, 3) == by_reason(LEFT)


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [(0.25, 2, "+0.25"), (-0.0004, 3, "0.000"), (0.0004, 3, "0.000"), (-0.0006, 3, "-0.001"),
     (0.0, 2, "0.00"), (-1.0, 3, "-1.000")],
)  # fmt: skip
def test_a_change_has_a_sign_unless_it_rounds_to_nothing(value, digits, said):
    assert signed(value, digits) == said
