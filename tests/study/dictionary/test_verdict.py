"""What is a concern of dictionary, and what says nothing."""

from conceptseg.result.finding import Finding
from conceptseg.study.dictionary.verdict import verdict as dictionary
from tests.study.verdicts import result


def shown(by, effect, ci=(0.1, 0.5)):
    kind = {"p_adjusted": 0.01} if by == "test" else {}
    return Finding(
        claim="c", n=9, evidence="x", by=by, effect=effect, ci=ci, **kind, **{"class": "car"}
    )


def test_a_dictionary_that_undoes_failures_is_a_concern():
    def said(regained, recovers=True, kind="test"):
        finding = shown(kind, 0.5).model_copy(update={"fault": True})
        finding = finding.model_copy(update={"details": {"regained": regained}})
        rows = [{"class": "car", "name": "atom 3 (wire)"}]
        return dictionary(result("dictionary", {"recovers": recovers}, [finding], repairs=rows))

    found = said(0.9)
    assert found.status == "concern" and "car on atom 3 (wire)" in found.sentence
    assert said(0.1).status == "cannot tell" and "no single atom" in said(0.1).sentence
    assert "do not rebuild" in said(0.9, recovers=False).sentence
    nothing = dictionary(result("dictionary", {"recovers": True}, repairs=[]))
    assert nothing.status == "cannot tell" and "No class fails" in nothing.sentence
