"""What is a concern of diff, and what says nothing."""

import pytest

from conceptseg.result.finding import Finding
from conceptseg.study.diff.verdict import verdict as diff
from tests.study.verdicts import result


def row(value, share=0.9, all_=0.2, p=0.001, concept=1):
    return {"value": value, "share_in_concept": share, "share_in_all": all_, "p_adjusted": p,
            "concept": concept}  # fmt: skip


def shown(by, effect, ci=(0.1, 0.5)):
    kind = {"p_adjusted": 0.01} if by == "test" else {}
    return Finding(
        claim="c", n=9, evidence="x", by=by, effect=effect, ci=ci, **kind, **{"class": "car"}
    )


def test_a_checkpoint_that_drifted_is_a_concern():
    def said(*findings, p=0.9, seeds=2):
        rows = [{"p_adjusted": p}]
        return diff(result("diff", {"seeds": seeds}, findings, classes=rows, shifts=rows))

    found = said(shown("test", -0.3, (-0.5, -0.1)), seeds=0)
    assert found.status == "concern" and "became worse: IoU of car fell." in found.sentence
    assert "is not known" in found.advice
    assert "is not known" not in said(shown("test", -0.3, (-0.5, -0.1))).advice
    assert said().status == "none shown" and said(p=None).status == "cannot tell"


@pytest.mark.parametrize(
    ("effects", "status", "words"),
    [
        ({"iou": 0.4}, "none shown", "Other changes: IoU of car rose."),
        ({4: 0.2}, "none shown", "Other changes: less is owed to concepts, by car to concept 4"),
        ({4: -0.2}, "concern", "more is owed to concepts, by car to concept 4 (road)."),
        ({5: -0.2}, "none shown", "more is owed to concepts, by car to concept 5 (car)."),
        ({"iou": 0.4, 4: -0.2}, "concern", "(road). Other changes: IoU of car rose."),
        ({"iou": -0.4, 4: 0.2}, "concern", "IoU of car fell. Other changes: less is owed"),
    ],
)
def test_only_what_became_worse_is_a_concern(effects, status, words):
    """IoU that fell, and what is owed to concepts that do not lie on the class itself."""
    findings = []
    for key, effect in effects.items():
        details = {} if key == "iou" else {"concept": key}
        one = shown("test", effect, (effect - 0.05, effect + 0.05))
        findings.append(one.model_copy(update={"details": details}))
    rows = [{"p_adjusted": 0.01}]
    names = {4: "road", 5: "car"}
    concepts = [{"concept": n, "name_after": name} for n, name in names.items()]
    shifts = [{"concept": n, "name": f"concept {n} ({name})"} for n, name in names.items()]
    shifts = [{**row, "p_adjusted": 0.01} for row in shifts]
    tables = {"classes": rows, "shifts": shifts, "concepts": concepts}
    found = diff(result("diff", {"seeds": 2}, findings, **tables))
    assert found.status == status and words in found.sentence
    open_ones = {**tables, "classes": [{"p_adjusted": None}]}
    unsure = diff(result("diff", {"seeds": 2}, findings, **open_ones))
    assert unsure.status == ("concern" if status == "concern" else "cannot tell")


@pytest.mark.parametrize(
    ("detectable", "status"), [(0.05, "none shown"), (0.9, "cannot tell"), (None, "cannot tell")]
)
def test_of_a_checkpoint_that_might_have_lost_all_unseen_nothing_can_be_told(detectable, status):
    classes = [{"class": "car", "before": 0.6, "detectable": detectable, "p_adjusted": 0.4}]
    found = diff(result("diff", {"seeds": 2}, classes=classes, shifts=[]))
    assert found.status == status
