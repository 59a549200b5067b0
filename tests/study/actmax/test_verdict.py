"""What is a concern of actmax, and what says nothing."""

import pytest

from conceptseg.result.finding import Finding
from conceptseg.study.actmax.verdict import verdict as actmax
from tests.study.verdicts import result


def pictured(*findings, **words):
    """Of each word so many pictures, spaces as underlines."""
    rows = [{"verdict": word.replace("_", " ")} for word, n in words.items() for _ in range(n)]
    found = actmax(result("actmax", None, findings, units=rows))
    assert found.status == "cannot tell"
    return found


def test_pictures_that_could_not_be_judged_are_counted_with_what_would_help():
    found = pictured(not_testable=9)
    assert found.sentence.startswith("9 of 9 pictures could not be judged one by one (of 9 too few")
    assert "resemble" not in found.sentence and "that passed" not in found.advice
    assert "`compared`" in found.advice
    found = pictured(not_testable=2, not_started=5, beyond_the_data=1)
    assert found.sentence.startswith("7 of 8") and "of 5 the ascent found no" in found.sentence
    assert "`steps`" in found.advice and "`compared`" not in found.advice
    found = pictured(representative=2, not_testable=3)
    assert "2 of 5 pictures may be read" in found.sentence and "3 could not" in found.sentence
    assert "that passed" in found.advice


def test_pictures_that_were_judged_and_did_not_pass_are_not_to_be_read():
    found = pictured(beyond_the_data=4, not_testable=1)
    assert found.sentence.startswith("None of 5 pictures was shown to resemble")
    assert "; 1 could not be judged (of 1 too few" in found.sentence
    assert "that passed" not in found.advice and "Do not take a picture" in found.advice


@pytest.mark.parametrize(("effect", "said"), [(0.2, True), (-0.2, False)])
def test_pictures_that_resemble_their_images_on_average_are_said_to(effect, said):
    average = shown("test", effect).model_copy(update={"evidence": "likeness"})
    assert ("on average" in pictured(average, not_testable=6).sentence) is said


def shown(by, effect, ci=(0.1, 0.5)):
    kind = {"p_adjusted": 0.01} if by == "test" else {}
    return Finding(
        claim="c", n=9, evidence="x", by=by, effect=effect, ci=ci, **kind, **{"class": "car"}
    )
