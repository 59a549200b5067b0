"""What is a concern of prototypes, and what says nothing."""

from conceptseg.result.finding import Finding
from conceptseg.study.prototypes.verdict import verdict as prototypes
from tests.study.verdicts import result


def shown(by, effect, ci=(0.1, 0.5)):
    kind = {"p_adjusted": 0.01} if by == "test" else {}
    return Finding(
        claim="c", n=9, evidence="x", by=by, effect=effect, ci=ci, **kind, **{"class": "car"}
    )


def test_ways_of_deciding_that_err_are_a_concern():
    def said(*findings, outliers=0, p=0.9):
        rows = {"prototypes": [{"p_adjusted": p}], "foretell": [{"p": p}]}
        return prototypes(result("prototypes", {"outliers": outliers}, findings, **rows))

    def fault(evidence, wrong=True):
        return shown("test", 0.3).model_copy(update={"fault": wrong, "evidence": evidence})

    found = said(fault("standing"))
    assert found.status == "concern" and "others: car." in found.sentence
    assert said(fault("rare")).status == "concern"
    assert said(fault("standing", wrong=False)).status == "none shown"
    assert said(outliers=1).sentence.startswith("1 region is decided")
    assert said(outliers=2).status == "cannot tell" and said(p=None).status == "cannot tell"
    assert said().status == "none shown"
