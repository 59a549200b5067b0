"""What is a concern of examples, and what says nothing."""

from conceptseg.result.finding import Finding
from conceptseg.study.examples.verdict import verdict as examples
from tests.study.verdicts import result


def shown(by, effect, ci=(0.1, 0.5)):
    kind = {"p_adjusted": 0.01} if by == "test" else {}
    return Finding(
        claim="c", n=9, evidence="x", by=by, effect=effect, ci=ci, **kind, **{"class": "car"}
    )


def test_examples_that_stand_for_errors_are_a_concern():
    def said(difference, *findings):
        rows = [{"class": "car", "difference": difference}]
        return examples(result("examples", None, findings, foretell=rows))

    found = said(0.1, shown("test", 0.3))
    assert found.status == "concern" and "car" in found.sentence
    assert said(0.1, shown("interval", 0.3)).status == "concern"
    assert said(-0.1, shown("interval", -0.3, (-0.5, -0.1))).status == "none shown"
    assert said(0.1).status == "none shown" and said(None).status == "cannot tell"
    rows = {"foretell": [{"class": "car", "difference": 0.1}]}
    for p, status in ((0.4, "none shown"), (None, "cannot tell")):
        kinds = [{"p_adjusted": p}, {"p_adjusted": None}]  # of a prototype and a criticism
        assert examples(result("examples", standing=kinds, **rows)).status == status


def test_neighbours_that_warn_are_said_to_rank_and_not_how_often_objects_are_wrong():
    rows = [{"class": "car", "difference": 0.17}]
    found = examples(result("examples", None, [shown("interval", 0.17)], foretell=rows))
    assert "ranks wrong objects above right ones" in found.sentence
    assert "often" not in found.sentence
    nothing = examples(result("examples", foretell=rows)).sentence
    assert "nor nearness to wrong examples to rank wrong objects better" in nothing
