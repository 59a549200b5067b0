"""What is a concern of bottleneck, and what says nothing."""

import pytest

from conceptseg.study.bottleneck.verdict import verdict as bottleneck
from tests.study.verdicts import result


def spoilt(kind, outside, covered, images=40, true=0.1, predicted=0.9):
    return {
        "kind": kind,
        "images": images,
        "outside": outside,
        "covered": covered,
        "quality": true,
        "predicted": predicted,
    }


@pytest.mark.parametrize(
    ("row", "status"),
    [
        (spoilt("dark", 0.08, 0.0), "concern"),
        (spoilt("dark", 1.0, None), "none shown"),
        (spoilt("dark", 0.95, 0.5), "none shown"),  # two images say nothing
        (spoilt("dark", 0.0, 0.9), "none shown"),
        (spoilt("dark", 0.0, 0.0, true=0.9, predicted=0.1), "none shown"),  # it is too careful
        (spoilt("as it is", 0.0, 0.0), "none shown"),
    ],
)
def test_bottleneck(row, status):
    standing = [{"r2": 0.5, "r2_low": 0.2}]
    found = bottleneck(result("bottleneck", {"coverage": 0.9}, shift=[row], standing=standing))
    assert found.status == status
    if status == "concern":
        assert found.sentence.startswith("Dark images")


def test_bottleneck_that_predicts_nothing_or_was_not_tried():
    fine = [spoilt("dark", 1.0, None)]
    useless = [{"r2": 0.1, "r2_low": -0.2}]
    notes = {"coverage": 0.9}
    found = bottleneck(result("bottleneck", notes, shift=fine, standing=useless))
    assert found.status == "cannot tell"
    assert bottleneck(result("bottleneck", notes, shift=[])).status == "cannot tell"


def test_bottleneck_claims_nothing_that_its_test_did_not_show():
    rows = [spoilt("blur", 0.6, 0.7), spoilt("noise", 0.9, None)]
    standing = [{"r2": 0.4, "r2_low": 0.1}]
    found = bottleneck(result("bottleneck", {"coverage": 0.8}, shift=rows, standing=standing))
    assert found.status == "none shown" and "was shown to pass" in found.sentence
    assert "turned away" not in found.sentence and "holds" not in found.sentence


def row(value, share=0.9, all_=0.2, p=0.001, concept=1):
    return {"value": value, "share_in_concept": share, "share_in_all": all_, "p_adjusted": p,
            "concept": concept}  # fmt: skip
