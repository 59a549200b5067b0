"""`conceptseg index`: one page of all runs in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from conceptseg.errors import InputError, one_line
from conceptseg.study.command.shown import run_of

PANEL = "With finished runs"
DEEPEST = 3
"""Folders within folders that are looked through."""


def command(
    folder: Annotated[Path, typer.Argument(help="Folder in which runs lie.")] = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="Page to write; index.html in the folder if absent.")
    ] = None,
) -> None:
    """Put all finished runs of a folder on one page: cards, a filter, and what they say together.

    Runs of the same weights stand in one table of class by study.
    """
    from conceptseg.report.index import Entry, as_html
    from conceptseg.study.command.written import hand_over, writable

    page = out or folder / "index.html"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one in which runs lie")
    writable(page)
    entries, remarks = [], []
    for one in sorted(_runs(folder, DEEPEST)):
        try:
            run = run_of(one, one.relative_to(folder).as_posix(), altered=True)
        except InputError as error:
            remarks.append(one_line(f"Left out: {error}"))
            continue
        if run.result.altered:
            remarks.append(one_line(f"{run.name}: its result was edited since it was saved."))
        entries.append(Entry(run, _link(one / "report.html", page)))
    if not entries:
        why = f" ({remarks[0]})" if remarks else ""
        raise InputError(f"{folder}: holds no finished run{why}; name the folder in which runs lie")
    hand_over(as_html(entries, remarks), page)


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    """The folders that hold a result, in a folder and those within; hidden ones and links not."""
    if (folder / "result.json").is_file():
        yield folder
        return
    for one in folder.iterdir() if depth else ():
        if one.is_dir() and not one.is_symlink() and not one.name.startswith("."):
            yield from _runs(one, depth - 1)


def _link(target: Path, page: Path) -> str:
    """A link from a page to a file, which no name of a folder can turn into something else."""
    return "./" + quote(os.path.relpath(target, page.absolute().parent).replace(os.sep, "/"))
