"""`conceptseg track`: a finished run in a tracker of experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conceptseg.study.command.shown import run_of

PANEL = "With finished runs"


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    to: Annotated[str, typer.Option("--to", help="mlflow or wandb (extras of these names).")],
    project: Annotated[
        str, typer.Option(help="Project (Weights & Biases) or experiment (MLflow).")
    ] = "conceptseg",
    name: Annotated[
        str | None, typer.Option(help="What the run is called there; its folder's name if absent.")
    ] = None,
    uri: Annotated[
        str | None, typer.Option(help="The tracker's address; as its environment says if absent.")
    ] = None,
) -> None:
    """Log a run's verdict, effects, settings, report and result in MLflow or Weights & Biases.

    Effects have names that stay from run to run, so that a tracker draws them over checkpoints.
    Neither the network nor the data is sent; the report shows pictures of images.
    """
    from conceptseg import catalogue

    send = catalogue.load("trackers", to)
    run = run_of(folder, name or folder.absolute().name)
    from conceptseg.report.tracked import Tracked

    print(send(Tracked.of(run), project, uri))
