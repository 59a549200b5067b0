"""`conceptseg report`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from conceptseg import catalogue
from conceptseg.errors import InputError

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
    from conceptseg.result.saved import Result

    result = Result.load(folder, altered=True)
    for line in tidy_file(folder / "report.html"):
        print(line, file=sys.stderr)
    study = catalogue.load("study", result.study)
    if result.altered:
        print(f"{folder}: {ALTERED.heading}; the report says so", file=sys.stderr)
    try:
        return write(study.report(result), result, folder / "report.html")
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever drawing meets of numbers that no study has written
        what = f"cannot be shown ({type(error).__name__}: {str(error)[:200]})"
        if isinstance(error, KeyError):
            what = f"lacks {str(error.args[0])[:200]!r}, which the report shows"
        raise InputError(
            f"{folder}: result.json {what}; it is damaged, edited or of "
            "another version: run the study again"
        ) from error
