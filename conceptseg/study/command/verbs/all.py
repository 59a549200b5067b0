"""`conceptseg all`: every study of one network and data set, the cheapest first."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from conceptseg import catalogue
from conceptseg.errors import EXIT_INPUT, InputError, nearest
from conceptseg.study.command.options import (
    BatchSize,
    Config,
    DataRoot,
    Device,
    File,
    Fresh,
    Quietly,
    Sets,
    file_of,
    one_file,
    overridden,
)
from conceptseg.study.command.studies import run_study

PANEL = "May it ship?"
WRITTEN = b"# written by conceptseg all\n"
"""How the files begin that it writes, and alone replaces."""


def command(
    file: File = None,
    config: Config = None,
    studies: Annotated[
        list[str] | None, typer.Option("--study", help="Only this one; may be given again.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    sets: Sets = None,
    device: Device = None,
    batch_size: BatchSize = None,
    data_root: DataRoot = None,
    fresh: Fresh = False,
    quiet: Quietly = False,
) -> None:
    """Run all studies on the data and the network of one study's file, the cheapest first.

    What all studies share is taken from the file (data, model, run, layer, seed); a study's own
    keys have their defaults, and one that needs more is told. Each run lies in a folder of its own
    name, beside the file that runs it alone; index.html puts them together. A study that cannot be
    made here is told and left out, and the exit code is then 2.
    """
    from conceptseg.study.command.running import shared_parts

    known = catalogue.names("study")
    for one in studies or ():
        if one not in known:
            raise InputError(f"unknown study {one!r}; {nearest(one, known)}")
    path = file_of("ace", one_file(file, config))
    overrides = overridden(sets, device, batch_size, data_root)
    shared_parts(path, overrides)  # what is wrong with them is told before anything is written
    files = _written(path, overrides, studies or _able(known), out)
    left_out = 0
    for name in _cheapest_first(files):
        try:
            print(run_study(name, files[name], [], out / name, fresh=fresh, quiet=quiet))
        except InputError as error:
            left_out += 1
            print(f"left out: {name}: {error}", file=sys.stderr)
    from conceptseg.study.command.verbs.index import command as index

    if left_out < len(files):
        index(out, None)
    if left_out:
        raise typer.Exit(EXIT_INPUT)


def _able(names: Iterable[str]) -> list[str]:
    """The studies that need no more than what all share; the others are told."""
    from conceptseg.config import StudyKeys

    able = []
    for name in names:
        fields = catalogue.load("study", name).model_fields
        needs = [key for key, one in fields.items() if one.is_required()]
        lacking = [key for key in needs if key not in StudyKeys.model_fields]
        if lacking:
            told = f"not made: {name}, which needs {', '.join(lacking)} in a file of its own"
            print(told, file=sys.stderr)
        else:
            able.append(name)
    return able


def _written(
    path: Path, overrides: list[tuple[str, Any]], names: Any, out: Path
) -> dict[str, Path]:
    """A file for each study, of the keys that all share, with paths in full."""
    import yaml

    from conceptseg.config import StudyKeys
    from conceptseg.result.folder import replace_file
    from conceptseg.settings import read_parts, validate

    content = read_parts(path, overrides)
    shared = {key: one for key, one in content.items() if key in StudyKeys.model_fields}
    validate(StudyKeys, shared, str(path))
    files = {name: out / f"{name}_all.yaml" for name in names}
    for file in files.values():
        if file.exists() and not (file.is_file() and file.read_bytes().startswith(WRITTEN)):
            raise InputError(
                f"{file}: is there, and not written by conceptseg all; choose another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(shared, sort_keys=False, allow_unicode=True)
    for file in files.values():
        replace_file(file, WRITTEN + text.encode())
    return files


def _cheapest_first(files: dict[str, Path]) -> list[str]:
    """The studies by the forward passes per image that their plans come to; the network is loaded
    once. One whose cost cannot be told before it runs comes last."""
    from conceptseg.engine import start
    from conceptseg.engine.contract import Pass
    from conceptseg.settings import read_settings
    from conceptseg.study.command.running import shared_parts, start_here

    start_here()
    first = next(iter(files.values()))
    context = start.prepare_each(shared_parts(first, ()), weigh=False)[0][1]
    costs = {}
    for name, file in files.items():
        try:
            study = read_settings(name, catalogue.load("study", name), file).study
            passes = [step for step in study.plan() if isinstance(step, Pass)]
            costs[name] = float(sum(step.forwards(context) for step in passes))
        except Exception:  # it is told when the study is run
            costs[name] = float("inf")
    return sorted(files, key=lambda name: (costs[name], name))
