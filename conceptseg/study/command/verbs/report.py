"""`conceptseg report`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from conceptseg.study.command.shown import report_of

PANEL = "With finished runs"


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
) -> None:
    """Render the report of a saved result again; needs neither the network nor the data."""
    print(render_again(folder))


def render_again(folder: Path) -> Path:
    """Render the report of a saved result into its folder; returns the report's path.

    A result that was edited is rendered with a notice of that, here and on the page. Raises
    :class:`~conceptseg.errors.InputError` for a folder without a result, and for one whose
    `result.json` holds what the report cannot show.
    """
    from conceptseg.report.page import ALTERED, write
    from conceptseg.result.folder import tidy_file
    from conceptseg.result.saved import Result, as_written

    result = Result.load(folder, altered=True)
    for line in tidy_file(folder / "report.html"):
        print(line, file=sys.stderr)
    if result.altered:
        print(f"{folder}: {ALTERED.heading}; the report says so", file=sys.stderr)
    report = report_of(result, folder)
    with as_written(folder):
        return write(report, result, folder / "report.html")
