"""What is a concern of lcrp, and what says nothing."""

from conceptseg.study.lcrp.verdict import verdict as lcrp
from tests.study.verdicts import result


def test_lcrp_counts_what_maps_do_not_show_as_well():
    def said(acts, verdict, *sensitivity, half=0.05):
        scores = [{"class": "car", "acts": acts, "verdict": verdict}]
        classes = [
            {"class": f"c{i}", "sensitivity": s, "context": 0.1}
            | ({"sensitivity_low": s - half, "sensitivity_high": s + half} if half else {})
            for i, s in enumerate(sensitivity)
        ]
        return lcrp(result("lcrp", scores=scores, classes=classes))

    assert said(True, "acts", 0.1, 0.1).status == "concern"
    hidden = said(False, "less than chance", 0.98, 0.1)
    assert hidden.status == "concern" and "c0" in hidden.sentence
    # Of few images the largest of several says little: its interval has to.
    assert said(False, "less than chance", 0.98, 0.1, half=None).status == "none shown"
    assert said(False, "less than chance", 0.8, 0.5, half=0.3).status == "none shown"
    assert said(False, "less than chance", 0.1, 0.1).status == "none shown"
    assert said(False, "cannot be told", 0.1, 0.1).status == "cannot tell"
