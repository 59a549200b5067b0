"""`conceptseg list`."""

from typing import Annotated

import typer

from conceptseg import catalogue

PANEL = "Begin"


def command(
    kind: Annotated[
        str | None, typer.Argument(help="One of: " + ", ".join(catalogue.KINDS) + ".")
    ] = None,
) -> None:
    """List the studies and the techniques, with their families and sources."""
    from rich.table import Table

    from conceptseg.study.command.running import console

    if kind is not None:
        catalogue.names(kind)  # an unknown kind is refused here
    screen = console()
    for one in (kind,) if kind else catalogue.KINDS:
        rows = catalogue.table((one,))
        if not rows:
            continue
        table = Table(title=one, title_justify="left")
        for heading in ("name", "what", "family", "source"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "name")
        for row in rows:
            table.add_row(row.name, row.summary, row.family, row.source)
        screen.print(table)
