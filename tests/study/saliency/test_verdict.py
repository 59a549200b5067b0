"""What is a concern of saliency, and what says nothing."""

import pytest

from conceptseg.result.finding import Finding
from conceptseg.study.saliency.verdict import verdict as saliency
from tests.study.verdicts import result


def method(name, effect_name, method="rise"):
    return Finding(
        claim=name, n=9, evidence="x", details={"effect_name": effect_name, "method": method}
    )


@pytest.mark.parametrize(
    ("chance", "said"),
    [(None, "names no context"), (float("nan"), "names no context"), (0.5, "No metric asked")],
)
def test_saliency_says_whether_data_or_metrics_ask_of_no_context(chance, said):
    notes = {"metrics": ["deletion"], "chance": chance}
    rows = [{"method": "a", "family": "CAM"}]
    found = saliency(result("saliency", notes, methods=rows))
    assert found.status == "cannot tell" and said in found.sentence


def test_saliency_believes_no_method_that_is_blind_to_weights():
    blind = method("b", "randomisation: rank correlation with the shuffled network's map")
    sees = method("s", "CBL above chance")
    rows = [{"method": "rise", "family": "perturbation"}, {"method": "m", "family": "baseline"}]

    def said(*findings, metrics=("cbl",)):
        notes = {"metrics": list(metrics)}
        return saliency(result("saliency", notes, findings, methods=rows)).status

    assert said(sees) == "concern"
    assert said(sees, blind) == "cannot tell"
    assert said() == "none shown"
    assert said(metrics=()) == "cannot tell"


@pytest.mark.parametrize(
    ("least", "chance", "status", "words"),
    [
        ([0.25, 1.0], 0.3, "cannot tell", "too few cases for a test (4)"),
        ([0.25, 0.04], 0.3, "none shown", "No method was shown"),
        ([], 0.3, "cannot tell", "too few cases"),
        ([], None, "cannot tell", "names no context"),
    ],
)
def test_saliency_cannot_tell_where_no_method_could_have_passed(least, chance, status, words):
    against = [{"method": "a", "reference": "chance", "p_least": p} for p in least]
    against += [{"method": "a", "reference": "random_map", "p_least": 0.001}]
    notes = {"metrics": ["cbl"], "chance": chance, "cases": 4}
    rows = [{"method": "a", "family": "CAM"}]
    found = saliency(result("saliency", notes, methods=rows, against=against))
    assert found.status == status and words in found.sentence
    assert ("at least" in found.advice) == ("too few" in words)
