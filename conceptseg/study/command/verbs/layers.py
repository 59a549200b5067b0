"""`conceptseg layers`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptseg.errors import InputError
from conceptseg.study.command.options import (
    Config,
    DataRoot,
    Device,
    File,
    Sets,
    file_of,
    one_file,
    overridden,
)

if TYPE_CHECKING:
    from conceptseg.network.layers import LayerInfo

PANEL = "Begin"
MOST_PIXELS = 2**24
"""Of the image for `--model`: 4096 x 4096."""


def command(
    file: File = None,
    config: Config = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE:NAME",
            help="A network instead of a file, e.g. torchvision:deeplabv3_resnet50 or "
            "factory:package.module:Class.",
        ),
    ] = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Image size for --model.")] = "256x256",
    channels: Annotated[int, typer.Option(min=1, max=1024, help="Image channels for --model.")] = 3,
    classes: Annotated[
        int, typer.Option(min=1, max=10_000, help="Number of classes for --model.")
    ] = 21,
    sets: Sets = None,
    device: Device = None,
    data_root: DataRoot = None,
) -> None:
    """Show a network's layers: shape, stride, channels, parameters, the recommended one marked."""
    given = one_file(file, config)
    overrides = overridden(sets, device, data_root=data_root)
    if model is None:
        _of_study(file_of("ace", given), overrides)
        return
    if given is not None:
        raise InputError("give a study's file or --model, not both")
    source, sign, name = model.partition(":")
    if not (source and sign and name):
        raise InputError(f"--model {model}: write it as SOURCE:NAME")
    _of_model(source, name, parse_size(size), channels, classes, overrides)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of `--size`. Raises InputError."""
    found = re.fullmatch(r"([0-9]{1,7})x([0-9]{1,7})", text.lower())
    height, width = (int(side) for side in found.groups()) if found else (0, 0)
    if not 0 < height * width <= MOST_PIXELS:
        raise InputError(
            f"--size {text}: write it as HxW in pixels, e.g. 256x320, {MOST_PIXELS} at most in all"
        )
    return height, width


def _of_study(path: Path, overrides: Sequence[tuple[str, Any]]) -> None:
    """Print the layers of the network in a study's file, for its first image."""
    from conceptseg.engine import reading, start
    from conceptseg.network.choice import with_worth
    from conceptseg.network.reach import with_reach
    from conceptseg.study.command.running import shared_parts

    study = shared_parts(path, overrides)
    _, context = start.prepare_each(study.model_copy(update={"layer": "auto", "layers": None}))[0]
    images = reading.first_images(context.manifest, context.run)
    choice = context.choice
    if choice is not None:
        choice = with_reach(choice, context.model, images, context.run.batch_size)
    _print_layers(with_worth(context.model.layers(images), choice))
    if choice is not None and len(choice.levels) > 1:
        worth = choice.worth(choice.joint)
        print(f"layers: auto takes {choice.joint}, worth {worth:.2f} together")


def _of_model(
    source: str,
    name: str,
    size: tuple[int, int],
    channels: int,
    classes: int,
    overrides: Sequence[tuple[str, Any]],
) -> None:
    """Print the layers of a network that no study's file names, for an image of noise.

    What they are worth is not measured: it would be that of noise.
    """
    import torch

    from conceptseg.engine import start
    from conceptseg.network.model import load_model
    from conceptseg.study.command.running import blank_study

    names = [f"class {index}" for index in range(classes)]
    given = {"source": source, "name": name, "classes": names}
    study = blank_study(given, overrides)
    device = start.resolve_device(study.run.device)
    torch.manual_seed(study.seed)
    model = load_model(study.model, names, device)
    # Not zeros: on these, layers without biases are dead.
    _print_layers(model.layers(torch.rand(1, channels, *size).to(device)))


def _print_layers(infos: Sequence[LayerInfo]) -> None:
    from rich.table import Table

    from conceptseg.study.command.running import console

    table = Table()
    table.add_column("layer", overflow="fold")
    table.add_column("kind", overflow="fold")
    weighed = any(info.worth is not None for info in infos)
    headings = ["channels", "grid (y x x)", "stride", "own parameters", "run so far"]
    headings += ["worth", "acts on pixels up to"] if weighed else []
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("", no_wrap=True)  # what the table is read for is never cut
    for info in infos:
        grid = "no map" if info.shape is None else f"{info.shape[1]} x {info.shape[2]}"
        table.add_row(
            info.name,
            info.kind,
            "" if info.channels is None else str(info.channels),
            grid,
            "" if info.stride is None else f"{info.stride:g}",
            f"{info.parameters:.1%}",
            f"{info.through:.1%}",
            *([_number(info.worth, ".2f"), _number(info.reach, ".0f")] if weighed else []),
            "recommended" if info.recommended else "",
            style="bold" if info.recommended else None,
        )
    console(width=240).print(table)


def _number(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)
