"""Fields of a study that name a technique: `cav: ridge`, or `cav: {kind: ridge, penalty: 10}`."""

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, SerializeAsAny, WithJsonSchema

from conceptseg import catalogue
from conceptseg.errors import InputError

T = TypeVar("T")


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
    return technique.model_validate(value)


def one_of(contract: type[T], kind: str) -> Any:
    """The annotation of a field that holds one technique of a folder."""
    names = list(catalogue.names(kind))
    return Annotated[
        SerializeAsAny[contract],  # type: ignore[valid-type]
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
