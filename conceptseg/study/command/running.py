"""What verbs share that read studies' files, run networks or print tables.

Imported when a verb is called, so that help stays fast.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from conceptseg import catalogue
from conceptseg.config import StudyKeys
from conceptseg.settings import assign, read_parts, read_settings, validate
from conceptseg.study.command.watch import watch

Overrides = Sequence[tuple[str, Any]]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt in malloc.h


def run(
    name: str, path: Path, overrides: Overrides, out: Path | None, *, fresh: bool, quiet: bool
) -> Path:
    """Run a study from its file and save result and report; returns the report's path."""
    settings = read_settings(name, catalogue.load("study", name), path, overrides)
    watch(settings.study.run)
    from conceptseg.engine import provenance, start
    from conceptseg.engine import run as runner
    from conceptseg.engine.each import run_each
    from conceptseg.engine.examine import examine
    from conceptseg.engine.out import taken
    from conceptseg.engine.progress import choose

    named = out or settings.default_out()  # as the user knows it, for what is printed
    out = named.absolute()
    start_here()
    store = settings.study.run.store
    with (
        taken(named, name, settings.recorded, fresh=fresh, store=store) as said,
        choose(quiet) as progress,
    ):
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
        return named / runner.save(type(settings.study), result, out, store).name


def shared_parts(path: Path, overrides: Overrides) -> StudyKeys:
    """The keys that all studies share, from any study's file; its own keys are left out."""
    content = read_parts(path, overrides)
    known = {key: value for key, value in content.items() if key in StudyKeys.model_fields}
    shared = validate(StudyKeys, known, str(path))
    watch(shared.run)
    return shared


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


def console(width: int = 160) -> Console:
    """A console on the output stream; of this width, in characters, if that is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=width)
