"""`conceptseg verify`: whether a result and its report are those that were saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from conceptseg.errors import InputError
from conceptseg.study.command.shown import report_of

PANEL = "May it ship?"
DIGEST = re.compile(r'<meta name="conceptseg-digest" content="([0-9a-f]{64})">')
HEAD = 100_000
"""Characters at a report's beginning among which its digest stands."""
LARGEST = 1 << 30
"""Bytes of a report, at most."""


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    report: Annotated[
        Path | None, typer.Option(help="A report that was sent; the folder's own if absent.")
    ] = None,
) -> None:
    """Check that no number, picture or word of a run was changed since it was saved.

    Of result.json, of all files that it lists, and of the report, that it is the one of this
    result. That is no protection against somebody who means to deceive and computes digests anew:
    compare the digest with the one that you were given.
    """
    from conceptseg import __version__
    from conceptseg.report.page import render
    from conceptseg.result.saved import Result, as_written

    result = Result.load(folder)
    print(f"result.json: unchanged, sha256 {result.digest}")
    files = len(result.images) + bool(result.arrays)
    print(f"arrays and pictures: {files} files unchanged")
    path = report or folder / "report.html"
    text = _read(path)
    told = DIGEST.search(text[:HEAD])
    if told is None:
        raise InputError(f"{path}: names no digest; render it again by conceptseg report {folder}")
    if told[1] != result.digest:
        raise InputError(
            f"{path}: is of another result, of digest {told[1][:12]}..., than that of {folder}"
        )
    made = result.provenance.get("versions", {}).get("conceptseg")
    own = report_of(result, folder)
    with as_written(folder):
        same = render(own, result) == text
    if not same:
        raise InputError(
            f"{path}: differs from what this result renders to: it was edited, or rendered by "
            f"another version than {__version__}"
            + (f" (the run was made by {made})" if made else "")
            + f"; render it again by conceptseg report {folder}"
        )
    print(f"{path}: the report of this result, unchanged")


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file; render it by conceptseg report")
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: too large to be a report")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
