"""What is a concern of counterfactual, and what says nothing."""

import pytest

from conceptseg.study.counterfactual.verdict import verdict as counterfactual
from tests.study.verdicts import result


def row(value, share=0.9, all_=0.2, p=0.001, concept=1):
    return {"value": value, "share_in_concept": share, "share_in_all": all_, "p_adjusted": p,
            "concept": concept}  # fmt: skip


@pytest.mark.parametrize(
    ("own", "low", "p", "images", "status"),
    [
        (False, 0.6, 0.01, 20, "concern"),
        (False, 0.6, 0.2, 20, "cannot tell"),
        (False, 0.6, None, 20, "cannot tell"),
        (False, 0.1, 0.01, 20, "none shown"),
        (True, 0.9, 0.01, 20, "cannot tell"),
        (False, None, None, 3, "cannot tell"),
    ],
)
def test_counterfactuals_of_what_lies_around_are_a_concern(own, low, p, images, status):
    row = {"class": "car", "region": "road", "own": own, "share_low": low, "images": images}
    found = counterfactual(result("counterfactual", None, regions=[{**row, "p_corrected": p}]))
    assert found.status == status
    assert status != "concern" or "car by road" in found.sentence
    assert "elsewhere" not in found.sentence or (p != 0.01 and "car by road" in found.sentence)
