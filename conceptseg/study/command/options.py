"""The options that several verbs of the command share, and what their help says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from conceptseg import catalogue
from conceptseg.errors import InputError, check_study, nearest

CODES = (
    "Exit codes: 0 done, 2 bad input, 3 out of memory, 4 what --fail-on names, "
    "130 interrupted, 143 terminated, 1 a defect."
)
FRESH = "Ignore saved parts, and replace whatever result is in the output folder."
RESUME = "A run that was killed or interrupted resumes when the same command is given again."

File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="The study's YAML file; the built-in example if absent."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The same file, named by an option."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.SUB=VALUE", help="Override a key; VALUE is read as YAML."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per pass of the network.")]
DataRoot = Annotated[
    str | None, typer.Option(help="Folder, or URL of one in a bucket, in which the images lie.")
]
Engine = Annotated[
    str | None, typer.Option(help="local, or ray: parts are made by a cluster's workers.")
]
Address = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="The Ray cluster; auto: this machine's.")
]
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
        help="End with exit code 4 on this verdict of the run (concern, cannot-tell) or, of an "
        "audit, of a class and context (confirmed, ...).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON, and no path.")]
Junit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Also write a JUnit file.")
]
Folders = Annotated[list[Path], typer.Argument(help="Folders of finished runs.")]
OutFile = Annotated[Path | None, typer.Option("--out", help="File to write; printed if absent.")]


def one_file(*given: Path | None) -> Path | None:
    """The study's file, as an argument or by `--config`. Raises InputError for two of them."""
    files = [one for one in given if one is not None]
    if len(files) > 1:
        raise InputError(f"two files are given, {files[0]} and {files[1]}; give one")
    return files[0] if files else None


def overridden(
    sets: Sequence[str] | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    data_root: str | None = None,
    shards: int | None = None,
    engine: str | None = None,
    address: str | None = None,
) -> list[tuple[str, Any]]:
    """All overrides as (dotted key, value), the options of their own after `--set`."""
    from conceptseg.settings import parse_override

    own = {
        "run.device": device,
        "run.batch_size": batch_size,
        "data.root": data_root,
        "run.shards": shards,
        "run.engine": engine,
        "run.address": address,
    }
    overrides = [parse_override(text) for text in sets or ()]
    return overrides + [(key, value) for key, value in own.items() if value is not None]


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
        from conceptseg.settings import read_yaml

        check_study(read_yaml(config), config)
        raise InputError(
            f"{config}: its name does not begin with a study's; give --study, one of "
            + ", ".join(known)
        )
    return max(fitting, key=len)
