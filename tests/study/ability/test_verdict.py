"""What is a concern of ability, and what says nothing."""

import pytest

from conceptseg.result.finding import Finding
from conceptseg.study.ability.verdict import verdict as ability
from tests.study.verdicts import result


def test_ability():
    lost = Finding(
        claim="c", n=9, evidence="levels", by="test", p_adjusted=0.01, details={"layer": "body"},
        **{"class": "car"},
    )  # fmt: skip

    def said(doubt, *findings):
        return ability(result("ability", None, findings, classes=[{"doubt": doubt}]))

    assert said("", lost).status == "concern" and "car after body" in said("", lost).sentence
    assert said("").status == "none shown" and said("few").status == "cannot tell"


@pytest.mark.parametrize(
    ("doubt", "forgotten", "chance", "words"),
    [
        ("", 23, [150, 23, 4], "output; 23 of 150 objects were seen by a layer and lost by the"),
        ("few", 1, [90, 1, 2], "reported; 1 of 90 objects was seen by a layer and lost by the"),
        ("", 6, [0, 0, 0], "; 6 objects were seen"),  # there was no shuffled network
        ("", 0, [90, 0, 2], None),
    ],
)
def test_ability_says_how_many_objects_a_layer_saw_and_the_output_lost(
    doubt, forgotten, chance, words
):
    notes = {"forgotten": forgotten, "chance": chance}
    found = ability(result("ability", notes, classes=[{"doubt": doubt}]))
    assert (words or "by the output.") in found.sentence
    by_chance = f"({chance[2]} by chance, in a shuffled network)." in found.sentence
    assert by_chance is bool(forgotten and chance[0])
    assert ("forgotten objects" in found.advice) is bool(forgotten and not doubt)


@pytest.mark.parametrize(
    ("tested", "status"), [((1, 1, 0), "none shown"), ((1, 0, 0), "cannot tell")]
)
def test_ability_shows_none_only_where_most_could_have_been_shown(tested, status):
    levels = [{"tested": bool(one)} for one in tested]
    found = ability(result("ability", classes=[{"doubt": ""}], levels=levels))
    assert found.status == status and ("could not have been" in found.sentence) is (sum(tested) < 2)
