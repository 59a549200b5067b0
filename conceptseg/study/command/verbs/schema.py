"""`conceptseg schema`."""

import json
from typing import Annotated, Any

import typer

from conceptseg import catalogue
from conceptseg.errors import InputError, nearest

PANEL = "Begin"
MANIFEST = "manifest"


def command(
    what: Annotated[
        str, typer.Argument(metavar="[STUDY|manifest]", help="A study, or manifest.")
    ] = "ace",
) -> None:
    """Print the JSON schema of a study's YAML file, or of a manifest's, for editors."""
    print(json.dumps(schema(what), indent=2))


def schema(what: str) -> dict[str, Any]:
    """The JSON schema of the YAML files of a study, or of native manifests."""
    known = (*catalogue.names("study"), MANIFEST)
    if what not in known:
        raise InputError(f"unknown study {what!r}; {nearest(what, known)}")
    content: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    if what != MANIFEST:
        return content | catalogue.load("study", what).model_json_schema()
    from conceptseg.data.readers.native import schema as of_manifest

    return content | of_manifest()
