"""Fields of a study that name a technique: `cav: ridge`, or `cav: {kind: ridge, penalty: 10}`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo, WithJsonSchema

from conceptseg import catalogue
from conceptseg.errors import InputError, nearest

Entry = str | dict[str, Any]
"""A method as a study's file names it: its name, or a mapping with `kind` and its parameters."""


def parse(kind: str, value: Any, default: str | None = None) -> Any:
    """The technique that a name, or a mapping with `kind` and its parameters, stands for.

    A mapping without `kind` is of the technique `default`, if there is one. Raises ValueError,
    which pydantic reports with the field's name, for an unknown name.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, dict):
        return value
    parameters = {key: one for key, one in value.items() if key != "kind"}
    name = value.get("kind", default)
    if name is None:
        raise ValueError("give `kind`, one of " + ", ".join(catalogue.names(kind)))
    try:
        technique = catalogue.load(kind, str(name))
    except InputError as error:
        raise ValueError(str(error)) from None
    unknown = [key for key in parameters if key not in technique.model_fields]
    if unknown:
        known = technique.model_fields
        hint = nearest(str(unknown[0]), known) if known else f"{name} takes no parameters"
        raise ValueError(f"unknown key {unknown[0]!r}; {hint}")
    return technique.model_validate(parameters)


def labels(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What each method is called: its name, with its parameters where the name comes twice."""
    names = [entry if isinstance(entry, str) else str(entry["kind"]) for entry in entries]
    count = Counter(names)
    found = []
    for name, entry in zip(names, entries, strict=True):
        given = {} if isinstance(entry, str) else {k: v for k, v in entry.items() if k != "kind"}
        if count[name] > 1 and given:
            name += " (" + ", ".join(f"{key} {value}" for key, value in given.items()) + ")"
        found.append(name)
    return tuple(found)


def versions(labels: Iterable[str], name: str) -> list[str]:
    """Those of some :func:`labels` that are of one technique, one for each set of parameters."""
    return [label for label in labels if label == name or label.startswith(f"{name} (")]


def saved(technique: Any, info: SerializationInfo) -> Any:
    """What :func:`parse` makes the technique from again: its file's name and its parameters."""
    kind = type(technique).__module__.rpartition(".")[2]
    return {"kind": kind, **technique.model_dump(mode=info.mode, by_alias=info.by_alias)}


def one_of(contract: Any, kind: str, default: str | None = None) -> Any:
    """The annotation of a field that holds one technique of a folder.

    Parameters given without `kind` are those of the technique `default`.
    """
    names = list(catalogue.names(kind))
    return Annotated[
        contract,
        PlainSerializer(saved),
        BeforeValidator(lambda value: parse(kind, value, default)),
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
