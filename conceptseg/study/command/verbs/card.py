"""`conceptseg card`."""

from typing import Annotated

import typer

from conceptseg.errors import InputError, nearest
from conceptseg.study.command.options import Folders, OutFile

PANEL = "May it ship?"


def command(
    folders: Folders,
    form: Annotated[str, typer.Option("--format", help="html, md or json.")] = "html",
    out: OutFile = None,
) -> None:
    """Make an evidence card of finished runs: a model card's questions, each number with its place.

    Needs neither the network nor the data; the runs are of one network.
    """
    from conceptseg.report import card
    from conceptseg.result.saved import Result, as_written
    from conceptseg.study.command.written import hand_over, writable

    if form not in card.FORMATS:
        raise InputError(f"--format {form}: {nearest(form, card.FORMATS)}")
    writable(out)
    runs = [card.Run(str(folder), Result.load(folder)) for folder in folders]
    with as_written(", ".join(map(str, folders))):
        text = card.FORMATS[form](card.compose(runs))
    hand_over(text, out)
