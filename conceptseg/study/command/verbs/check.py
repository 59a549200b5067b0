"""`conceptseg check`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from conceptseg import catalogue
from conceptseg.errors import EXIT_INPUT
from conceptseg.study.command.options import (
    Address,
    BatchSize,
    Config,
    DataRoot,
    Device,
    Engine,
    File,
    Sets,
    file_of,
    one_file,
    overridden,
    study_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from conceptseg.engine.examine import Examination

PANEL = "Begin"


def command(
    file: File = None,
    config: Config = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; by default the file's name begins so.")
    ] = None,
    sets: Sets = None,
    device: Device = None,
    batch_size: BatchSize = None,
    data_root: DataRoot = None,
    engine: Engine = None,
    address: Address = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="Also compare LRP's rules on an image: some 200 passes.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Open every image; of more than 20000 some are drawn.")
    ] = False,
) -> None:
    """Try everything without running: files, network, layer; estimate passes, time and memory."""
    from rich.table import Table

    from conceptseg.data.problems import sum_up
    from conceptseg.settings import read_settings
    from conceptseg.study.command.estimate import estimate
    from conceptseg.study.command.running import console, start_here
    from conceptseg.study.command.watch import watch

    given = one_file(file, config)
    name = study_of(given, study)
    path = file_of(name, given)
    overrides = overridden(sets, device, batch_size, data_root, engine=engine, address=address)
    settings = read_settings(name, catalogue.load("study", name), path, overrides)
    watch(settings.study.run)
    start_here()
    estimated = estimate(settings, compare_rules=rules, every=every)
    table = Table(title=f"{name} on {path.name}", show_header=False, title_justify="left")
    for what, value in estimated.lines:
        table.add_row(what, value)
    screen = console()
    screen.print(table)
    if estimated.examination is not None:
        _print_examination(estimated.examination, screen)
    errors = sum_up(estimated.errors)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if errors:
        raise typer.Exit(EXIT_INPUT)


def _print_examination(examination: Examination, screen: Console) -> None:
    """What the network puts out and how it is read; its outputs beside the masks' classes."""
    from rich.markup import escape
    from rich.table import Table

    title = f"how the network is read, tried on {examination.images} images"
    table = Table(title=title, show_header=False, title_justify="left")
    for one in examination.verdicts:
        style = "bold" if one.doubt else None
        table.add_row("DOUBT" if one.doubt else "", one.what, escape(one.found), style=style)
    screen.print(table)
    table = Table(title="classes", title_justify="left")
    for head in ("output", "counts as", "in the masks", "IoU"):
        table.add_column(head, justify="right" if head == "IoU" else "left")
    for row in examination.classes:
        iou = "" if row["iou"] is None else f"{row['iou']:.2f}"
        table.add_row(*(escape(str(row[key])) for key in ("output", "class", "masks")), iou)
    screen.print(table)
