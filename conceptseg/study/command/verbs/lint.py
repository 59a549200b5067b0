"""`conceptseg lint`: mistakes in files, found without data, network or torch."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from conceptseg import catalogue
from conceptseg.errors import EXIT_INPUT, InputError, is_manifest
from conceptseg.study.command.options import study_of

PANEL = "Begin"


def command(
    files: Annotated[
        list[Path], typer.Argument(help="Studies' files, manifests, and result.json of runs.")
    ],
) -> None:
    """Check the keys of studies' files and manifests, and that results were not edited.

    Neither images nor weights are opened: for a hook before each commit. `check` tries everything.
    """
    wrong = 0
    for file in files:
        try:
            _look(file)
        except InputError as error:
            wrong += 1
            told = str(error)
            print(f"error: {told if str(file) in told else f'{file}: {told}'}", file=sys.stderr)
    if wrong:
        raise typer.Exit(EXIT_INPUT)


def _look(file: Path) -> None:
    """Raise InputError for a file that is wrong."""
    from conceptseg.settings import read_settings, read_yaml

    if file.name == "result.json":
        from conceptseg.result.saved import Result

        Result.load(file.parent)
        return
    content = read_yaml(file)
    if is_manifest(content):
        _look_at_manifest(content, file)
        return
    study = study_of(file, None)
    read_settings(study, catalogue.load("study", study), file)


def _look_at_manifest(content: dict[str, object], file: Path) -> None:
    """The keys of a native manifest; of other formats only that there is such a one."""
    kind = content.pop("format", "native")
    known = catalogue.names("readers")
    if kind not in known:
        from conceptseg.errors import nearest

        raise InputError(f"{file}: no reader for format {kind!r}; {nearest(str(kind), known)}")
    if kind == "native":
        from conceptseg.data.readers._spec import parse
        from conceptseg.data.readers.native import NativeSpec

        parse(NativeSpec, content, str(file))
