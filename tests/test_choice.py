"""Fields of a study that name a technique."""

import pytest
from pydantic import TypeAdapter, ValidationError

from conceptseg import catalogue
from conceptseg.catalogue import choice_labels, choice_versions, one_of, parse
from conceptseg.concepts.cavs.pattern import Pattern
from conceptseg.concepts.cavs.ridge import Ridge
from conceptseg.concepts.contract import CavLearner
from conceptseg.strict import Strict


class Holder(Strict):
    """As a study has it."""

    cav: one_of(CavLearner, "cavs") = Pattern()


def test_by_name_by_mapping_and_as_it_is():
    assert Holder(cav="ridge").cav == Ridge()
    assert Holder(cav={"kind": "ridge", "penalty": 3}).cav == Ridge(penalty=3)
    assert Holder(cav=Ridge(penalty=2)).cav == Ridge(penalty=2)
    assert Holder().cav == Pattern()


@pytest.mark.parametrize("name", catalogue.names("cavs"))
def test_every_technique_comes_back_from_what_is_saved(name):
    one = Holder(cav=name)
    saved = one.model_dump(mode="json")
    assert saved["cav"]["kind"] == name, "its own fields are saved, not only the contract's"
    assert Holder.model_validate(saved) == one
    assert Holder.model_validate_json(one.model_dump_json()) == one


def test_parameters_are_saved():
    assert Holder(cav={"kind": "ridge", "penalty": 7}).model_dump()["cav"]["penalty"] == 7


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("rigde", "unknown.*rigde.*ridge"),
        ({"kind": "kmeans"}, "unknown.*kmeans"),
        ({"penalty": 3}, "give `kind`, one of .*pattern.*ridge"),
        ({"kind": "ridge", "penalti": 3}, "penalti"),
        ({"kind": "ridge", "penalty": -1}, "penalty"),
        (7, "cav"),
        (None, "cav"),
    ],
)
def test_what_cannot_be(value, message):
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        Holder(cav=value)


def test_an_error_is_a_value_error_for_pydantic():
    with pytest.raises(ValueError, match="pattern"):
        parse("cavs", "patern")


def test_the_schema_offers_every_name():
    schema = TypeAdapter(Holder).json_schema()["properties"]["cav"]
    names = list(catalogue.names("cavs"))
    assert schema["anyOf"][0]["enum"] == names
    assert schema["anyOf"][1]["properties"]["kind"]["enum"] == names


class Ready(Strict):
    """As a study has it that says what parameters alone belong to."""

    cav: one_of(CavLearner, "cavs", "ridge") = Ridge(penalty=5)


def test_parameters_without_a_kind_are_those_of_the_default():
    assert Ready(cav={"penalty": 3}).cav == Ridge(penalty=3)
    assert Ready(cav="pattern").cav == Pattern()
    assert Ready().model_dump(mode="json") == {"cav": {"kind": "ridge", "penalty": 5.0}}
    with pytest.raises(ValidationError, match="penalti.*did you mean 'penalty'"):
        Ready(cav={"penalti": 3})


def test_ace_takes_parameters_of_its_own_choices():
    ace = catalogue.load("study", "ace")
    given = {"data": {"manifest": "m"}, "model": {"source": "planted", "name": "clean"}}
    made = ace.model_validate({**given, "concepts": {"counts": [15, 25]}})
    assert made.concepts.counts == (15, 25)
    assert type(ace.model_validate({**given, "cav": {}}).cav) is type(ace.model_validate(given).cav)


def test_a_technique_need_not_know_its_own_name(monkeypatch):
    """A file of a technique holds nothing but its parameters."""
    assert all(
        "kind" not in catalogue.load("cavs", n).model_fields for n in catalogue.names("cavs")
    )


def test_a_name_given_twice_is_told_by_its_parameters_and_found_by_its_name():
    entries = [{"kind": "cbl", "share": 0.1}, {"kind": "cbl", "share": 0.2}, "cbd"]
    found = choice_labels(entries)
    assert found == ("cbl (share 0.1)", "cbl (share 0.2)", "cbd")
    assert choice_versions(found, "cbl") == list(found[:2])
    assert choice_versions(found, "cb") == []
