"""What is a concern of landmarks, and what says nothing."""

from conceptseg.result.finding import Finding
from conceptseg.study.landmarks.verdict import verdict as landmarks
from tests.study.verdicts import result


def shown(by, effect, ci=(0.1, 0.5)):
    kind = {"p_adjusted": 0.01} if by == "test" else {}
    return Finding(
        claim="c", n=9, evidence="x", by=by, effect=effect, ci=ci, **kind, **{"class": "car"}
    )


def test_landmarks_ask_something_else():
    found = landmarks(result("landmarks", None, [shown("interval", 0.4)]))
    assert found.status == "cannot tell" and "structures of car" in found.sentence
    assert "No class" in landmarks(result("landmarks")).sentence


def test_landmarks_name_the_classes_whose_structures_attribution_keeps_off():
    off = shown("test", -0.8, (-1.1, -0.4)).model_copy(update={"class_": "pole"})
    found = landmarks(result("landmarks", None, [off])).sentence
    assert found.startswith("No class was shown to be followed along its structures; attribution")
    assert "keeps off those of pole;" in found
    both = landmarks(result("landmarks", None, [shown("test", 0.4), off])).sentence
    assert "follows the structures of car and keeps off those of pole;" in both
    unsure = off.model_copy(update={"p_adjusted": 0.3})
    assert "keeps off" not in landmarks(result("landmarks", None, [unsure])).sentence
