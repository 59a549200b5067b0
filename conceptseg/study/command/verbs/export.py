"""`conceptseg export`: a run's tables, charts and report in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conceptseg.errors import InputError
from conceptseg.study.command.shown import run_of

PANEL = "With finished runs"


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    csv: Annotated[bool, typer.Option("--csv", help="All tables, all rows, as CSV.")] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Each chart as SVG and PNG, and all pictures.")
    ] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="The report as PDF.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; export in the run's if absent.")
    ] = None,
) -> None:
    """Write a run's tables as CSV, its charts as SVG and PNG, its report as PDF.

    Charts and PDF need the extra browser and an installed Chromium.
    """
    from conceptseg.report import browser
    from conceptseg.report.page import render
    from conceptseg.result.csv_files import csv_files
    from conceptseg.result.folder import check_file, replace_file
    from conceptseg.result.saved import as_written, image_type

    if not (csv or figures or pdf):
        raise InputError("say what to export: --csv, --figures, --pdf, or several")
    run = run_of(folder, folder.absolute().name)
    files: dict[str, bytes] = {}
    if csv:
        files |= {name: text.encode() for name, text in csv_files(run.result).items()}
    if figures or pdf:
        browser.chromium()  # before anything is rendered
        with as_written(folder):
            page = render(run.report, run.result)
    if figures:
        files |= {f"picture-{k}.{image_type(d)}": d for k, d in run.result.images.items()}
        files |= browser.charts(page)
    if pdf:
        files["report.pdf"] = browser.pdf(page)
    target = out or folder / "export"
    target.mkdir(parents=True, exist_ok=True)
    check_file(target / "conceptseg-export")
    for name, data in files.items():
        replace_file(target / name, data)
    print(target)
