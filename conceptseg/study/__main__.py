"""The command: `conceptseg` or `python -m conceptseg.study`.

Nothing heavy is imported before a verb needs it, so help answers at once. Exit codes: 0 done,
2 bad input (one line says what and what cures it), 3 out of memory, 4 an audit with a verdict that
`--fail-on` names, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM), 1 a defect.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

# Read by the OpenMP library when torch loads it: threads that wait by spinning make a machine
# that does anything else up to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer

from conceptseg import __version__, catalogue
from conceptseg.errors import EXIT_DONE, EXIT_INPUT, EXIT_INTERRUPTED, InputError
from conceptseg.study.command.failure import report_failure
from conceptseg.study.command.options import (
    CODES,
    RESUME,
    BatchSize,
    Config,
    DataRoot,
    Device,
    FailOn,
    Fresh,
    Out,
    Quietly,
    Sets,
    Shards,
    file_of,
    parse_size,
    study_of,
)
from conceptseg.study.command.screen import ours_alone
from conceptseg.study.command.signals import Asked, stoppable

app = typer.Typer(
    name="conceptseg",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def study_command(name: str) -> Callable[..., None]:
    """The verb that runs one study; its module is imported only when it is called."""

    def command(
        config: Config = None,
        sets: Sets = None,
        device: Device = None,
        batch_size: BatchSize = None,
        data_root: DataRoot = None,
        out: Out = None,
        shards: Shards = None,
        fresh: Fresh = False,
        quiet: Quietly = False,
    ) -> None:
        overrides = _overrides(sets, device, batch_size, data_root, shards)
        print(_run(name, config, overrides, out, fresh=fresh, quiet=quiet))

    return _told(command, name)


def audit_command(name: str) -> Callable[..., None]:
    """The verb of the audit, which can also stop a release."""

    def command(
        config: Config = None,
        sets: Sets = None,
        device: Device = None,
        batch_size: BatchSize = None,
        data_root: DataRoot = None,
        out: Out = None,
        shards: Shards = None,
        fresh: Fresh = False,
        quiet: Quietly = False,
        fail_on: FailOn = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the verdicts as JSON, and no path.")
        ] = False,
    ) -> None:
        from conceptseg.study.command import gate

        gate.check(fail_on or ())
        overrides = _overrides(sets, device, batch_size, data_root, shards)
        path = _run(name, config, overrides, out, fresh=fresh, quiet=quiet)
        if not fail_on and not as_json:
            print(path)
            return
        rows = gate.verdicts(path.parent)
        print(gate.text(rows, as_json=as_json))
        if code := gate.code(rows, fail_on or ()):
            raise typer.Exit(code)

    return _told(command, name)


def _run(
    name: str,
    config: Path | None,
    overrides: list[tuple[str, Any]],
    out: Path | None,
    *,
    fresh: bool,
    quiet: bool,
) -> Path:
    """Run a study; returns the report's path."""
    from conceptseg.study.command import verbs

    # What a network prints is none of ours: the output stream carries the answer alone.
    with contextlib.redirect_stdout(sys.stderr):
        return verbs.run(name, file_of(name, config), overrides, out, fresh=fresh, quiet=quiet)


def _told(command: Callable[..., None], name: str) -> Callable[..., None]:
    summary = catalogue.entry("study", name).summary
    command.__doc__ = f"{summary}\n\n{RESUME}\n\n{CODES}"
    return command


@app.command(name="list")
def list_techniques(
    kind: Annotated[
        str | None, typer.Argument(help="One of: " + ", ".join(catalogue.KINDS) + ".")
    ] = None,
) -> None:
    """List the studies and the techniques, with their families and sources."""
    from conceptseg.study.command import verbs

    if kind is not None:
        catalogue.names(kind)  # an unknown kind is refused here
    verbs.show_table((kind,) if kind else catalogue.KINDS)


@app.command()
def check(
    config: Config = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; by default the file's name begins so.")
    ] = None,
    sets: Sets = None,
    device: Device = None,
    batch_size: BatchSize = None,
    data_root: DataRoot = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="Also compare LRP's rules on an image: some 200 passes.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Open every image; of more than 20000 some are drawn.")
    ] = False,
) -> None:
    """Try everything without running: files, network, layer; estimate passes, time and memory."""
    from conceptseg.study.command import verbs

    name = study_of(config, study)
    overrides = _overrides(sets, device, batch_size, data_root, None)
    errors = verbs.check(name, file_of(name, config), overrides, compare_rules=rules, every=every)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if errors:
        raise typer.Exit(EXIT_INPUT)


@app.command()
def layers(
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
    from conceptseg.study.command import verbs

    overrides = _overrides(sets, device, None, data_root, None)
    if model is None:
        verbs.show_layers(file_of("ace", config), overrides)
        return
    if config is not None:
        raise InputError("give --config or --model, not both")
    source, sign, name = model.partition(":")
    if not (source and sign and name):
        raise InputError(f"--model {model}: write it as SOURCE:NAME")
    verbs.show_model_layers(source, name, parse_size(size), channels, classes, overrides)


@app.command()
def schema(study: Annotated[str, typer.Argument(help="Name of the study.")] = "ace") -> None:
    """Print the JSON schema of a study's YAML file, for editors."""
    import json

    loaded = catalogue.load("study", study)
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    content |= loaded.model_json_schema()
    print(json.dumps(content, indent=2))


@app.command()
def doctor() -> None:
    """Print what a bug report needs: versions, extras, devices, threads; nothing private."""
    from conceptseg.study.command import doctor as about

    print(about.page())


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
) -> None:
    """Render the report of a saved result again; needs neither the network nor the data."""
    from conceptseg.study.command import verbs

    print(verbs.render_again(folder))


@app.command()
def card(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished runs of a network.")],
    form: Annotated[str, typer.Option("--format", help="html, md or json.")] = "html",
    out: Annotated[Path | None, typer.Option(help="File to write; printed if absent.")] = None,
) -> None:
    """Make an evidence card of finished runs: a model card's questions, each number with its place.

    Needs neither the network nor the data.
    """
    from conceptseg.study.command import verbs

    text = verbs.evidence_card(folders, form, out)
    print(out if out is not None else text.rstrip("\n"))


@app.command(name="predict-quality")
def predict_quality(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished bottleneck run.")],
    config: Config = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write; printed if absent.")] = None,
    sets: Sets = None,
    device: Device = None,
    batch_size: BatchSize = None,
    data_root: DataRoot = None,
) -> None:
    """Score new images without labels, by the predictor that a bottleneck run has saved."""
    from conceptseg.study.command import verbs

    overrides = _overrides(sets, device, batch_size, data_root, None)
    text = verbs.predict_quality(folder, file_of("bottleneck", config), overrides, out)
    print(out if out is not None else text.rstrip("\n"))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"conceptseg {__version__}")
        raise typer.Exit


@app.callback(epilog=CODES)
def conceptseg(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Which visual concepts a segmentation network uses, for which class, and how sure that is."""


for _name in catalogue.names("study"):
    app.command(name=_name)((audit_command if _name == "audit" else study_command)(_name))


def _overrides(
    sets: Sequence[str] | None,
    device: str | None,
    batch_size: int | None,
    data_root: Path | None,
    shards: int | None,
) -> list[tuple[str, Any]]:
    """All overrides as (dotted key, value), the options of their own after `--set`."""
    from conceptseg.settings import parse_override

    own = {
        "run.device": device,
        "run.batch_size": batch_size,
        "data.root": None if data_root is None else str(data_root),
        "run.shards": shards,
    }
    overrides = [parse_override(text) for text in sets or ()]
    return overrides + [(key, value) for key, value in own.items() if value is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. Every failure is told once, on the error stream."""
    asked = Asked()
    try:
        with ours_alone(), stoppable(asked):
            code = app(
                list(sys.argv[1:] if arguments is None else arguments),
                prog_name="conceptseg",
                standalone_mode=False,
            )
        if code == EXIT_INTERRUPTED:  # how newer versions of typer tell of Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BaseException as error:  # every end of the program is given its exit code here
        return report_failure(error, asked.stop)
    return code if isinstance(code, int) else EXIT_DONE


def console() -> None:
    """Entry point of the console command."""
    sys.exit(main())


if __name__ == "__main__":
    console()
