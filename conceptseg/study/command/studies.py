"""The verb of a study: one declaration of its options, for all studies."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from conceptseg import catalogue
from conceptseg.errors import EXIT_FOUND
from conceptseg.study.command.options import (
    CODES,
    RESUME,
    Address,
    AsJson,
    BatchSize,
    Config,
    DataRoot,
    Device,
    Engine,
    FailOn,
    File,
    Fresh,
    Junit,
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
    "graph": "What does it look at?",
    "counterfactual": "What does it look at?",
    "concept": "Which concepts does it use?",
    "global": "Which concepts does it use?",
    "quality": "Where does it fail?",
    "example": "Where does it fail?",
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
        engine: Engine = None,
        address: Address = None,
        fresh: Fresh = False,
        quiet: Quietly = False,
        fail_on: FailOn = None,
        as_json: AsJson = False,
        junit: Junit = None,
    ) -> None:
        from conceptseg.study.command import gate
        from conceptseg.study.command.junit import document, failing
        from conceptseg.study.command.written import hand_over, writable

        wanted = gate.wanted(name, fail_on or ())
        writable(junit)
        overrides = overridden(sets, device, batch_size, data_root, shards, engine, address)
        file_given = file_of(name, one_file(file, config))
        path = run_study(name, file_given, overrides, out, fresh=fresh, quiet=quiet)
        if not (wanted or as_json or junit):
            print(path)
            return
        told = gate.Told.of(path.parent)
        print(told.json() if as_json else told.text())
        if junit is not None:
            hand_over(document(f"conceptseg {name}", told.cases, wanted), junit, told=False)
        if failing(told.cases, wanted):
            raise typer.Exit(EXIT_FOUND)

    command.__doc__ = f"{catalogue.entry('study', name).summary}\n\n{RESUME}\n\n{CODES}"
    return command


def run_study(
    name: str,
    file: Path,
    overrides: list[tuple[str, Any]],
    out: Path | None,
    *,
    fresh: bool,
    quiet: bool,
) -> Path:
    """Run a study and tell its verdict and first findings; returns the report's path."""
    from conceptseg.result.saved import Result
    from conceptseg.study.command import ending, running

    # What a network prints is none of ours: the output stream carries the answer alone.
    with contextlib.redirect_stdout(sys.stderr):
        path = running.run(name, file, overrides, out, fresh=fresh, quiet=quiet)
        for line in () if quiet else ending.lines(Result.load(path.parent)):
            print(line)
    return path
