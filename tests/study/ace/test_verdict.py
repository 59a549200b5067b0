"""What is a concern of ace, and what says nothing."""

import pytest

from conceptseg.study.ace.naming import by_metadata
from conceptseg.study.ace.verdict import out_of_reach
from conceptseg.study.ace.verdict import verdict as ace
from tests.study.verdicts import result


def use(context=True, used=True, verdict="used"):
    row = {"class": "car", "concept": 1, "used": used, "from_context": context, "verdict": verdict}
    return row


CONCEPTS = [{"concept": 1, "given": "", "word": "brick"}]


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        ([use(), use(False)], "concern"),
        ([use(False)], "none shown"),
        ([use(None)], "cannot tell"),
        ([use(None), use(None), use(False)], "cannot tell"),  # most are not decided
        ([use(None), use(False)], "none shown"),
        ([use(None, False, "inconclusive")], "none shown"),
        ([use(None, False, "not testable"), use(None, False, "underpowered")], "cannot tell"),
        ([], "cannot tell"),
    ],
)
def test_ace(pairs, status):
    found = ace(result("ace", pairs=pairs, concepts=CONCEPTS))
    assert found.status == status
    if status == "concern":
        assert 'car by "brick" (concept 1)' in found.sentence
    if pairs == [use(None), use(False)]:
        told = (
            "of 2 pairs of class and concept 2 were shown to be used at all; of these, whether one"
        )
        assert f"{told} does so stays open" in found.sentence
    if pairs == [use(None)]:
        assert found.sentence.startswith("Of 1 use, whether it acts from outside of the class's")
        assert found.advice.startswith("Give more images, or name the context")
    if len(pairs) == 3:
        assert "Of 3 uses, whether 2 of them act from outside" in found.sentence


def test_ace_names_another_layer_where_its_own_reaches_little():
    notes = {"layer": "body", "reach_px": 34.0, "spared_px": 20, "outside_layer": None}
    rows = [{**use(None), "reached": 0.6}]
    found = ace(result("ace", pairs=rows, concepts=CONCEPTS, notes=notes))
    assert found.status == "cannot tell"
    assert found.advice.startswith("Choose a layer before it (`conceptseg layers`). Give more")


@pytest.mark.parametrize(
    ("loss", "p", "status"),
    [
        (-0.3, 0.12, "cannot tell"),  # most of what there is, and random directions do the same
        (-0.2, 0.12, "none shown"),
        (-0.3, 0.04, "none shown"),  # fails by another part of the criterion
        (0.3, 0.12, "none shown"),
    ],
)
def test_ace_of_a_layer_that_holds_little_else(loss, p, status):
    row = use(None, False, "below the criterion")
    rows = [{**row, "loss": loss, "to_lose": 0.5, "p_random": p}, use(False)]
    found = ace(result("ace", pairs=rows, concepts=CONCEPTS))
    assert found.status == status
    if status == "cannot tell":
        assert 'Car without "brick" (concept 1)' in found.sentence and "audit" in found.advice


@pytest.mark.parametrize(
    ("uses", "reach", "status"),
    [
        ([0.2, 0.1, 0.9], None, "cannot tell"),  # of most uses nothing could have remained
        ([0.2, 0.9, 0.9], 3.0, "none shown"),
        ([], 3.0, "cannot tell"),
        ([], 30.0, "none shown"),
        ([], None, "none shown"),  # everywhere
    ],
)
def test_ace_of_a_layer_behind_which_little_is_looked_at(uses, reach, status):
    rows = [{**use(False), "reached": share} for share in uses]
    rows = rows or [use(None, False, "inconclusive")]
    notes = {"layer": "decoder", "reach_px": reach, "spared_px": 20}
    found = ace(result("ace", pairs=rows, concepts=CONCEPTS, notes=notes))
    assert found.status == status
    if status == "cannot tell":
        assert "decoder" in found.sentence and "audit" in found.advice
    said = out_of_reach(notes)
    assert bool(said) is (reach == 3.0)
    if said:
        assert "3 px away at most" in said and "20 px around" in said
    acting = [*rows, {**use(), "reached": 0.1}]
    assert ace(result("ace", pairs=acting, concepts=CONCEPTS, notes=notes)).status == "concern"


@pytest.mark.parametrize("own", [0.95, None])
def test_ace_names_the_layer_at_which_more_could_be_told(own):
    other = {"layer": "encoder.layer4", "worth": 0.813, "own_worth": own, "reach_px": 160.0}
    notes = {"layer": "decoder", "reach_px": 2.0, "spared_px": 20, "outside_layer": other}
    rows = [use(None, False, "inconclusive")]
    advice = ace(result("ace", pairs=rows, concepts=CONCEPTS, notes=notes)).advice
    assert "--set layer=encoder.layer4" in advice and "160 px away" in advice
    assert ("worth 0.81 to the decision, 0.95 here" in advice) is (own is not None)
    notes["outside_layer"] = None
    advice = ace(result("ace", pairs=rows, concepts=CONCEPTS, notes=notes)).advice
    assert advice.startswith("Choose a layer before it (`conceptseg layers`), or name")


@pytest.mark.parametrize(("hidden", "advice"), [(1.3, "another layer"), (0.4, "more images")])
def test_ace_says_why_nothing_could_be_shown(hidden, advice):
    rows = [{**use(None, False, "underpowered"), "hidden": hidden, "to_lose": 1.0}] * 3
    found = ace(result("ace", pairs=rows, concepts=CONCEPTS))
    assert found.status == "cannot tell"
    assert ("layer that holds more" in found.advice) is (advice == "another layer")
    assert ("more images" in found.advice) is (advice == "more images")


def context(verdict, effect=0.3):
    ends = {"low": effect - 0.1, "high": effect + 0.1}
    return {"class": "car", "context": "road", "verdict": verdict, "effect": effect} | ends


def row(value, share=0.9, all_=0.2, p=0.001, concept=1):
    return {"value": value, "share_in_concept": share, "share_in_all": all_, "p_adjusted": p,
            "concept": concept}  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "seen", "word"),
    [
        ([row("True"), row("brick", p=0.01)], "ground (100%)", "brick"),
        ([row("3.0"), row("-1"), row("nan")], "ground (100%)", None),
        ([row("320x256"), row("1024 × 768")], "ground (100%)", None),
        ([row("brick", share=0.5)], "ground (100%)", None),
        ([row("brick", all_=0.6)], "ground (100%)", None),
        ([row("brick", p=0.2)], "ground (100%)", None),
        ([row("brick")], "car (60%), ground (40%)", None),  # it lies on an object
        ([row("brick", p=0.01), row("grass", p=0.001)], "ground (70%), car (30%)", "grass"),
    ],
)
def test_a_concept_is_called_by_what_its_images_have_in_common(rows, seen, word):
    assert by_metadata(rows, {1: seen}, "ground").get(1) == word
