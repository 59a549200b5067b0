"""What the verbs of the command do. Imported when one is called, so that help stays fast."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from conceptseg import catalogue
from conceptseg.config import StudyKeys
from conceptseg.errors import InputError, nearest
from conceptseg.settings import assign, read_parts, read_settings, validate

if TYPE_CHECKING:
    from conceptseg.engine.examine import Examination
    from conceptseg.network.layers import LayerInfo

Overrides = Sequence[tuple[str, Any]]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt in malloc.h


def run(
    name: str, path: Path, overrides: Overrides, out: Path | None, *, fresh: bool, quiet: bool
) -> Path:
    """Run a study from its file and save result and report; returns the report's path."""
    from conceptseg.engine import provenance, start
    from conceptseg.engine import run as runner
    from conceptseg.engine.each import run_each
    from conceptseg.engine.examine import examine
    from conceptseg.engine.out import taken
    from conceptseg.engine.progress import choose

    settings = read_settings(name, catalogue.load("study", name), path, overrides)
    named = out or settings.default_out()  # as the user knows it, for what is printed
    out = named.absolute()
    start_here()
    with taken(named, name, settings.recorded, fresh=fresh) as said, choose(quiet) as progress:
        for line in said:
            progress.note(line)
        studies = start.prepare_each(settings.study)
        context, *others = (one for _, one in studies)
        samples = len(context.manifest.samples)
        progress.note(
            f"{name}: {samples} images of {context.manifest.name}, layer {context.layer} of "
            f"{settings.study.model.name}, on {context.run.device}; writing to {named}"
        )
        examined = examine(context, others)
        for doubt in examined.doubts:
            progress.note(f"doubt about {doubt.what}: {doubt.found}")
        result = run_each(
            studies,
            out,
            progress,
            recorded=settings.recorded,
            examined=examined.recorded(),
            command=provenance.tidy_command(sys.argv[1:]),
            fresh=fresh,
        )
        return named / runner.save(type(settings.study), result, out).name


def check(
    name: str,
    path: Path,
    overrides: Overrides,
    *,
    compare_rules: bool = False,
    every: bool = False,
) -> list[str]:
    """Try everything that a run needs and print what it will cost; returns the files' errors.

    With `compare_rules` the composites of LRP are compared on an image, and one is recommended.
    With `every` all images are opened, however many there are.

    Raises :class:`~conceptseg.errors.InputError` for the configuration, the manifest, the network
    or the layer, and for whatever a run would refuse before its first pass.
    """
    from conceptseg.data.problems import sum_up
    from conceptseg.study.command.estimate import estimate

    settings = read_settings(name, catalogue.load("study", name), path, overrides)
    start_here()
    estimated = estimate(settings, compare_rules=compare_rules, every=every)
    table = Table(title=f"{name} on {path.name}", show_header=False, title_justify="left")
    for what, value in estimated.lines:
        table.add_row(what, value)
    console = _console()
    console.print(table)
    if estimated.examination is not None:
        _print_examination(estimated.examination, console)
    return sum_up(estimated.errors)


def show_table(kinds: Sequence[str]) -> None:
    """Print the catalogue: a table per kind that has techniques."""
    console = _console()
    for kind in kinds:
        rows = catalogue.table((kind,))
        if not rows:
            continue
        table = Table(title=kind, title_justify="left")
        for heading in ("name", "what", "family", "source"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "name")
        for row in rows:
            table.add_row(row.name, row.summary, row.family, row.source)
        console.print(table)


def show_layers(path: Path, overrides: Overrides) -> None:
    """Print the layers of the network in a study's file, for its first image."""
    from conceptseg.engine import reading, start
    from conceptseg.network.choice import with_worth

    study = shared_parts(path, overrides)
    _, context = start.prepare_each(study.model_copy(update={"layer": "auto", "layers": None}))[0]
    infos = context.model.layers(reading.first_images(context.manifest, context.run))
    _print_layers(with_worth(infos, context.choice))
    choice = context.choice
    if choice is not None and len(choice.levels) > 1:
        worth = choice.worth(choice.joint)
        print(f"layers: auto takes {choice.joint}, worth {worth:.2f} together")


def show_model_layers(
    source: str,
    name: str,
    size: tuple[int, int],
    channels: int,
    classes: int,
    overrides: Overrides,
) -> None:
    """Print the layers of a network that no study's file names, for an image of noise.

    What they are worth is not measured: it would be that of noise.
    """
    import torch

    from conceptseg.engine import start
    from conceptseg.network.model import load_model

    names = [f"class {index}" for index in range(classes)]
    given = {"source": source, "name": name, "classes": names}
    study = blank_study(given, overrides)
    device = start.resolve_device(study.run.device)
    torch.manual_seed(study.seed)
    model = load_model(study.model, names, device)
    # Not zeros: on these, layers without biases are dead.
    _print_layers(model.layers(torch.rand(1, channels, *size).to(device)))


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


def evidence_card(folders: Sequence[Path], form: str, out: Path | None) -> str:
    """The evidence card of finished runs as text, which is also written to `out` if given.

    Raises :class:`~conceptseg.errors.InputError` for an unknown format, a folder without a result
    or with one that was edited, and runs of several networks.
    """
    from conceptseg.report import card
    from conceptseg.result.folder import check_file, tidy_file, write_out
    from conceptseg.result.saved import Result

    if form not in card.FORMATS:
        raise InputError(f"--format {form}: {nearest(form, card.FORMATS)}")
    if out is not None:
        check_file(out)
    runs = [card.Run(str(folder), Result.load(folder)) for folder in folders]
    text = card.FORMATS[form](card.compose(runs))
    if out is not None:
        for line in tidy_file(Path(os.path.realpath(out))):
            print(line, file=sys.stderr)
        write_out(out, text.encode())
    return text


def predict_quality(folder: Path, path: Path, overrides: Overrides, out: Path | None) -> str:
    """Score the images of a study's file by the predictor in a bottleneck study's result.

    Returns CSV text, which is also written to `out` if that is given. Labels are not read.
    """
    from conceptseg.engine import start
    from conceptseg.engine.run import sweep
    from conceptseg.engine.store import clear
    from conceptseg.result.encoding import pack
    from conceptseg.result.folder import check_file, is_regular, tidy_file, write_out
    from conceptseg.result.joined import part_of
    from conceptseg.result.lock import locked
    from conceptseg.result.saved import Result
    from conceptseg.study.bottleneck import apply
    from conceptseg.study.bottleneck.predictor import Predictor

    if out is not None:
        check_file(out)
    shared = shared_parts(path, overrides)
    result = part_of(Result.load(folder), shared.model.positive_class, str(folder))
    predictor = Predictor.from_arrays(result.arrays, str(folder))
    facts = predictor.facts
    study = apply.Scoring(
        data=shared.data.model_copy(update={"classes": tuple(facts["classes"])}),
        model=shared.model,
        run=shared.run,
        seed=shared.seed,
        layer=facts["layer"],
        flip=facts["flip"],
        masks={},
    )
    start_here()
    context = start.prepare(study, weigh=False)
    apply.check(predictor, context, str(folder))
    known = {"predictor": hashlib.sha256(pack(predictor.to_arrays())).hexdigest()}
    with contextlib.ExitStack() as stack:
        state: Path | None = None
        if out is not None and is_regular(out):
            stack.enter_context(locked(out))
            for line in tidy_file(Path(os.path.realpath(out))):
                print(line, file=sys.stderr)
            # Beside the file that is asked for, what is done is found again after a crash.
            state = out.absolute().with_name(f"{out.name}.parts")
        place = state or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = sweep(apply.Score(study, predictor), study, context, place, known)
        text = apply.as_csv(apply.ranked(found[apply.SCORES]))
        if out is not None:
            write_out(out, text.encode())
        if state is not None:
            clear(state)
            with contextlib.suppress(OSError):  # there is something else in it
                state.rmdir()
    return text


def shared_parts(path: Path, overrides: Overrides) -> StudyKeys:
    """The keys that all studies share, from any study's file; its own keys are left out."""
    content = read_parts(path, overrides)
    known = {key: value for key, value in content.items() if key in StudyKeys.model_fields}
    return validate(StudyKeys, known, str(path))


def blank_study(model: Mapping[str, Any], overrides: Overrides) -> StudyKeys:
    """A study of a network alone; `--set` reaches its `model` and `run` keys."""
    content: dict[str, Any] = {"data": {"manifest": "none"}, "model": dict(model)}
    for key, value in overrides:
        assign(content, key, value)
    return validate(StudyKeys, content, "--model")


def start_here() -> None:
    """Make this process fit for heavy work: freed memory is kept, not handed back each time.

    Otherwise almost half of the CPU time of a batch can go to page faults. Linux with glibc only;
    elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, 1 << 30)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _print_examination(examination: Examination, console: Console) -> None:
    """What the network puts out and how it is read; its outputs beside the masks' classes."""
    title = f"how the network is read, tried on {examination.images} images"
    table = Table(title=title, show_header=False, title_justify="left")
    for one in examination.verdicts:
        style = "bold" if one.doubt else None
        table.add_row("DOUBT" if one.doubt else "", one.what, escape(one.found), style=style)
    console.print(table)
    table = Table(title="classes", title_justify="left")
    for head in ("output", "counts as", "in the masks", "IoU"):
        table.add_column(head, justify="right" if head == "IoU" else "left")
    for row in examination.classes:
        iou = "" if row["iou"] is None else f"{row['iou']:.2f}"
        table.add_row(*(escape(str(row[key])) for key in ("output", "class", "masks")), iou)
    console.print(table)


def _print_layers(infos: Sequence[LayerInfo]) -> None:
    table = Table()
    table.add_column("layer", overflow="fold")
    table.add_column("kind", overflow="fold")
    weighed = any(info.worth is not None for info in infos)
    headings = ["channels", "grid (y x x)", "stride", "own parameters", "run so far"]
    headings += ["worth"] if weighed else []
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
            *(["" if info.worth is None else f"{info.worth:.2f}"] if weighed else []),
            "recommended" if info.recommended else "",
            style="bold" if info.recommended else None,
        )
    _console(width=240).print(table)


def _console(width: int = 160) -> Console:
    """A console on the output stream; of this width, in characters, if that is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=width)
