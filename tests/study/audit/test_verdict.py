"""What is a concern of audit, and what says nothing."""

import pytest

from conceptseg.study.audit.verdict import verdict as audit
from tests.study.verdicts import result


def context(verdict, effect=0.3):
    ends = {"low": effect - 0.1, "high": effect + 0.1}
    return {"class": "car", "context": "road", "verdict": verdict, "effect": effect} | ends


@pytest.mark.parametrize(
    ("rows", "status", "words"),
    [
        ([context("confirmed"), context("no reliance shown")], "concern", "car on road (+"),
        (
            [context("behaviour only", -0.3)],
            "concern",
            "car on the absence of road (-0.30 [-0.40, -0.20] IoU)",
        ),
        ([context("no reliance shown"), context("underpowered")], "none shown", "1 pair of 2 stay"),
        ([context("underpowered")], "cannot tell", "1 stay open"),
        ([context("attribution only")], "none shown", "No class"),
    ],
)
def test_audit(rows, status, words):
    parts = [{"class": "car", "context": "road", "p": 0.5}]
    found = audit(result("audit", {"delta": 0.02}, verdicts=rows, parts=parts))
    assert found.status == status and words in found.sentence


@pytest.mark.parametrize(("p", "cure"), [(None, "name fewer contexts"), (0.5, "Give more images")])
def test_an_audit_says_what_would_decide(p, cure):
    parts = [{"class": "car", "context": "road", "p": p}]
    found = audit(result("audit", verdicts=[context("underpowered")], parts=parts))
    assert found.status == "cannot tell" and cure in found.advice


def test_an_audit_says_where_not_to_use_the_network():
    rows = [context("confirmed"), context("confirmed", -0.3) | {"class": "bus"}]
    found = audit(result("audit", verdicts=rows, parts=[]))
    assert "where there is car without that context or bus with that context." in found.advice
    only = audit(result("audit", verdicts=rows[1:], parts=[]))
    assert "where there is bus with that context." in only.advice


def test_an_audit_that_cannot_tell_names_the_pair_that_fewest_images_would_decide():
    parts = [{"class": "car", "context": "road", "p": 0.5}]
    nearest = context("underpowered", -0.07) | {"class": "bus", "needed": 44}
    rows = [context("underpowered") | {"needed": 300}, nearest]
    rows += [context("underpowered") | {"needed": None}]
    found = audit(result("audit", verdicts=rows, parts=parts))
    told = "bus with and without road, -0.07 [-0.17, +0.03] IoU, which about 44 images"
    assert found.status == "cannot tell" and told in found.sentence and "300" not in found.sentence
