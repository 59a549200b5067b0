"""The options that several verbs of the command share, and what their help says."""

import re
from pathlib import Path
from typing import Annotated

import typer

from conceptseg import catalogue
from conceptseg.errors import InputError, nearest

CODES = (
    "Exit codes: 0 done, 2 bad input, 3 out of memory, 4 a verdict that --fail-on names, "
    "130 interrupted, 143 terminated, 1 a defect."
)
FRESH = "Ignore saved parts, and replace whatever result is in the output folder."
RESUME = "A run that was killed or interrupted resumes when the same command is given again."

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The study's YAML file; the built-in example if absent."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.SUB=VALUE", help="Override a key; VALUE is read as YAML."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per pass of the network.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder in which the images lie.")]
Quietly = Annotated[bool, typer.Option("--quiet", "-q", help="Print the report's path alone.")]


Out = Annotated[Path | None, typer.Option(help="Output folder; runs/STUDY-CONFIG-HASH if absent.")]
Shards = Annotated[
    int | None, typer.Option(help="Parts that are saved one by one, to resume from.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help=FRESH)]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="VERDICT",
        help="End with exit code 4 if a class and context have this verdict, such as confirmed.",
    ),
]


MOST_PIXELS = 2**24
"""Of the image for `layers --model`: 4096 x 4096."""


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of `--size`. Raises InputError."""
    found = re.fullmatch(r"([0-9]{1,7})x([0-9]{1,7})", text.lower())
    height, width = (int(side) for side in found.groups()) if found else (0, 0)
    if not 0 < height * width <= MOST_PIXELS:
        raise InputError(
            f"--size {text}: write it as HxW in pixels, e.g. 256x320, {MOST_PIXELS} at most in all"
        )
    return height, width


def file_of(study: str, config: Path | None) -> Path:
    """The given file, or the study's built-in example."""
    if config is not None:
        return config
    package = Path(catalogue.__file__).parent
    for root in (package / "builtin", package.parent):  # installed, or in a checkout
        path = root / "studies" / f"{study}_planted.yaml"
        if path.is_file():
            return path
    raise InputError(f"the study {study!r} has no built-in example; give --config FILE")


def study_of(config: Path | None, study: str | None) -> str:
    """The study that a file belongs to: as given, else by the file's name `<study>_....yaml`."""
    known = catalogue.names("study")
    if study is not None:
        if study not in known:
            raise InputError(f"unknown study {study!r}; {nearest(study, known)}")
        return study
    if config is None:
        return "ace"
    fitting = [name for name in known if config.stem == name or config.stem.startswith(f"{name}_")]
    if not fitting:
        raise InputError(
            f"{config}: its name does not begin with a study's; give --study, one of "
            + ", ".join(known)
        )
    return max(fitting, key=len)
