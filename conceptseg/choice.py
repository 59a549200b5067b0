"""Fields of a study that name a technique: `cav: ridge`, or `cav: {kind: ridge, penalty: 10}`."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, WithJsonSchema

from conceptseg import catalogue
from conceptseg.errors import InputError, nearest


def parse(kind: str, value: Any) -> Any:
    """The technique that a name, or a mapping with `kind` and its parameters, stands for.

    Raises ValueError, which pydantic reports with the field's name, for an unknown name.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, dict):
        return value
    if "kind" not in value:
        raise ValueError("give `kind`, one of " + ", ".join(catalogue.names(kind)))
    try:
        technique = catalogue.load(kind, str(value["kind"]))
    except InputError as error:
        raise ValueError(str(error)) from None
    unknown = [key for key in value if key not in technique.model_fields]
    if unknown:
        hint = nearest(str(unknown[0]), technique.model_fields)
        raise ValueError(f"unknown key {unknown[0]!r}; {hint}")
    return technique.model_validate(value)


def one_of(contract: Any, kind: str) -> Any:
    """The annotation of a field that holds one technique of a folder."""
    names = list(catalogue.names(kind))
    return Annotated[
        contract,
        SerializeAsAny(),
        BeforeValidator(lambda value: parse(kind, value)),
        WithJsonSchema(
            {
                "description": f"A technique of conceptseg/{kind}: its name, or a mapping with "
                "`kind` and its parameters.",
                "anyOf": [
                    {"enum": names},
                    {"type": "object", "properties": {"kind": {"enum": names}}},
                ],
            }
        ),
    ]
