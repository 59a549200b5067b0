"""Fields of a study that name a technique."""

import pytest
from pydantic import TypeAdapter, ValidationError

from conceptseg import catalogue
from conceptseg.cavs.pattern import Pattern
from conceptseg.cavs.ridge import Ridge
from conceptseg.choice import one_of, parse
from conceptseg.config import Strict
from conceptseg.contracts import CavLearner


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
