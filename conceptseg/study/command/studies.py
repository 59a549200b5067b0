"""The verb of a study: one declaration of its options, for all studies."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from conceptseg import catalogue
from conceptseg.study.command.options import (
    CODES,
    RESUME,
    AsJson,
    BatchSize,
    Config,
    DataRoot,
    Device,
    FailOn,
    File,
    Fresh,
    Out,
    Quietly,
    Sets,
    Shards,
    file_of,
    one_file,
    overridden,
)

QUESTIONS = {
    "local": "What does it look at?",
    "importance": "What does it look at?",
    "concept": "Which concepts does it use?",
    "global": "Which concepts does it use?",
    "quality": "Where does it fail?",
    "context": "May it ship?",
}
"""What a study of a family answers: the panel of help that its verb stands in."""
OTHER = "Other studies"


def panel(name: str) -> str:
    """The question that a study answers."""
    return QUESTIONS.get(catalogue.entry("study", name).family, OTHER)


def study_command(name: str) -> Callable[..., None]:
    """The verb that runs one study; its module is imported only when it is called."""

    def command(
        file: File = None,
        config: Config = None,
        sets: Sets = None,
        device: Device = None,
        batch_size: BatchSize = None,
        data_root: DataRoot = None,
        out: Out = None,
        shards: Shards = None,
        fresh: Fresh = False,
        quiet: Quietly = False,
        fail_on: FailOn = None,
        as_json: AsJson = False,
    ) -> None:
        from conceptseg.study.command import gate

        gate.check(name, fail_on or (), as_json=as_json)
        overrides = overridden(sets, device, batch_size, data_root, shards)
        path = _run(
            name, file_of(name, one_file(file, config)), overrides, out, fresh=fresh, quiet=quiet
        )
        if not fail_on and not as_json:
            print(path)
            return
        rows = gate.verdicts(path.parent)
        print(gate.text(rows, as_json=as_json))
        if code := gate.code(rows, fail_on or ()):
            raise typer.Exit(code)

    command.__doc__ = f"{catalogue.entry('study', name).summary}\n\n{RESUME}\n\n{CODES}"
    return command


def _run(
    name: str,
    file: Path,
    overrides: list[tuple[str, Any]],
    out: Path | None,
    *,
    fresh: bool,
    quiet: bool,
) -> Path:
    """Run a study; returns the report's path."""
    from conceptseg.study.command import running

    # What a network prints is none of ours: the output stream carries the answer alone.
    with contextlib.redirect_stdout(sys.stderr):
        return running.run(name, file, overrides, out, fresh=fresh, quiet=quiet)
