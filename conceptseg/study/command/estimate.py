"""What `check` finds out before a run: that everything can be read, and about what it will cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conceptseg.engine import provenance, reading, run, start
from conceptseg.engine.contract import Context, Pass, Study, Work
from conceptseg.engine.job import Job
from conceptseg.engine.known import Known
from conceptseg.engine.pool import cores
from conceptseg.engine.shelf import shelf_of
from conceptseg.engine.work import Task, map_part, opened
from conceptseg.result.wording import by_reason, repeated_images
from conceptseg.settings import Settings
from conceptseg.study.command.rules import rules

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.engine.examine import Examination

Lines = list[tuple[str, str]]
LONG = 1.0
"""Seconds from which on work is timed once."""
MOST = 20_000
"""Images that are opened unless all are asked for."""


@dataclass
class Estimate:
    """Facts about a run as (what, value), one line for each file that cannot be used, and, where
    all files can, what the examination of the network found."""

    lines: Lines
    errors: list[str]
    examination: Examination | None = None


def estimate(
    settings: Settings[Study], *, compare_rules: bool = False, every: bool = False
) -> Estimate:
    """Try what a run needs, and estimate what it costs; also which rules of LRP suit, if asked.

    Of more images than `MOST` so many are opened, those that a `limit` would keep, unless `every`
    one is to be.

    Raises :class:`~conceptseg.errors.InputError` for the network, the layer, or the first batch.
    """
    from conceptseg.data.ledger import Ledger
    from conceptseg.data.manifest import check_files
    from conceptseg.data.problems import remarks
    from conceptseg.data.reads import IMAGE, recording
    from conceptseg.engine.examine import examine

    study = settings.study
    manifest = start.read_manifest(study)
    tried = manifest if every else manifest.select(limit=MOST, seed=study.seed)
    ledger = Ledger(tried)
    with recording(ledger):
        errors = check_files(start.overlapping(study, tried))
    lines: Lines = [
        (
            "data",
            f"{manifest.name}: {len(manifest.samples)} images, {len(manifest.classes)} classes"
            + (f", drawn of {len(manifest.samples) + manifest.left}" if manifest.left else "")
            + (f"; {len(errors)} images cannot be read" if errors else ""),
        ),
    ]
    if len(tried.samples) < len(manifest.samples):
        some = f"{len(tried.samples)} of {len(manifest.samples)} images"
        lines.append(("files", f"{some} were opened, the same each time; --all opens every one"))
    if errors:
        return Estimate(lines, errors)
    lines += [("files", remark) for remark in remarks(tried)]
    if same := ledger.repeated(IMAGE):
        lines.append(("files", repeated_images(same[0], *same[1])))
    studies = start.prepare_each(study)
    context, *others = (one for _, one in studies)
    parameters = sum(weights.numel() for weights in context.model.parameters())
    lines.append(("network", f"{context.model.name}: {parameters / 1e6:.2f} M parameters"))
    lines.append(("weights", context.model.origin))
    examination = examine(context, others)
    studies = [(one, run.refuse(one, of_class)) for one, of_class in studies]
    (study, context), *_ = studies
    unsuited = by_reason((one.label, one.reason) for one in context.unsuited)
    lines += [("left out", told) for told in unsuited]
    lines += study.remarks(context)
    costs, forward = _costs(
        context, study, [one.model.classes[1] for _, one in studies] if others else ()
    )
    lines += rules(study, context, forward, compare=compare_rules)
    lines += costs
    lines.append(("result", str(settings.default_out())))
    errors += _hosts(study, context, lines)
    return Estimate(lines, errors, examination)


def _hosts(study: Study, context: Context, lines: Lines) -> list[str]:
    """What is wrong with the machines of a cluster, each of which has to answer; how many there
    are goes to the lines. Raises InputError for a store that is no good."""
    if context.run.store is not None:
        shelf_of(context.run.store).tried()
    if context.run.engine == "local":
        return []
    engine = run.engine_of(context.run)
    hosts = engine.prove(Job.of(study, context, context.model.fingerprint()))
    engine.close()
    rooms = sum(one.rooms for one in hosts if not one.wrong)
    kinds = sorted({one.kind for one in hosts} - {""})
    what = f"{len(hosts)} machines, {rooms} workers at once ({', '.join(kinds)})"
    if len(kinds) > 1:
        what += "; those of several kinds give the same within rounding only"
    lines.append(("cluster", what))
    return [one.wrong for one in hosts if one.wrong]


def _costs(context: Context, study: Study, classes: Sequence[str]) -> tuple[Lines, float]:
    """The layer, seconds of one forward and one encoder pass, and what all passes come to; then
    the seconds of one forward pass alone.

    Several `classes` are independent and studied one after the other; the first stands for all.
    """
    import torch

    from conceptseg.network.record import encode

    count = min(context.run.batch_size, len(context.manifest.samples))
    batch = next(iter(reading.read(context, context.manifest.samples[:count], "none")))
    with torch.no_grad(), start.precision(context.run):
        logits = context.model(batch.images)
        context.model.check_finite(logits, batch.ids)
        forward = _seconds(lambda: context.model(batch.images), context) / len(batch)
        encoder = _seconds(lambda: encode(context.model, batch.images, context.levels), context)
        shape = encode(context.model, batch.images, context.levels).shape
    images = " x ".join(map(str, batch.images.shape[1:]))
    lines: Lines = [
        ("layer", f"{context.layer}: {shape[1]} channels on {shape[2]} x {shape[3]}"),
        (
            "one image",
            f"{images} on {context.run.device}: forward {forward * 1e3:.1f} ms, encoder "
            f"{encoder / len(batch) * 1e3:.1f} ms in batches of {len(batch)}",
        ),
    ]
    passes = [step for step in study.plan() if isinstance(step, Pass)]
    total = 0.0
    for place, step in enumerate(passes):
        # Only the first needs nothing that another pass finds out.
        seconds = _later(step, context, forward, logits) if place else _first(step, study, context)
        total += seconds
        lines.append((f"pass {step.name}", f"{step.cost}: about {_duration(seconds)}"))
    turns = f" for each of {', '.join(classes)}" if len(classes) > 1 else ""
    whole = f": {_duration(total * len(classes))}" if turns else ""
    lines.append(("all passes", f"about {_duration(total)}{turns}{whole}"))
    lines += _work(study.work(context, shape[1:]), context, max(len(classes), 1), total)
    lines.append(("memory", _memory(context)))
    return lines, forward


def _work(every: Sequence[Work], context: Context, turns: int, passes: float) -> Lines:
    """What is computed without the network, by timing one of each, and all of it with the passes.

    Seconds of one are those on one core; all of them are shared among the run's processes.
    """
    from threadpoolctl import threadpool_limits

    lines: Lines = []
    total = 0.0
    for one in every:
        with threadpool_limits(1):
            one.one()  # imports what it needs
            seconds = _seconds(one.one, context, 1)
        slots = min(context.run.processes or cores(), max(one.count, 1)) if one.fits else 1
        whole = seconds * one.count / slots
        total += whole
        times = f"{one.count:.0f} x {seconds * 1e3:.0f} ms" + f", {slots:.0f} at once" * one.fits
        lines.append((one.what, f"{times}: about {_duration(whole)}"))
    if lines:
        both = f"passes and what is computed of them: about {_duration((passes + total) * turns)}"
        lines.append(("all", f"{both} for all of the classes" if turns > 1 else both))
    return lines


def _later(step: Pass, context: Context, forward: float, logits: Tensor) -> float:
    """Seconds of a pass, as its passes of the network and what is made of each tell."""
    import torch

    with torch.no_grad():
        beside = _seconds(lambda: step.beside(context, logits[:1]), context)
    return step.forwards(context) * (forward + beside)


def _first(step: Pass, study: Study, context: Context) -> float:
    """Seconds of the first pass and of the functions before it, estimated from its first batch."""
    known, started = Known(), time.perf_counter()
    for earlier in study.plan():
        if isinstance(earlier, Pass):
            break
        known |= earlier(study, context, known)
    samples = step.samples(context, known)
    some = samples[: context.run.batch_size]
    task = Task("estimate", step, context, known, context.run.batch_size)
    with opened(task):
        opening = time.perf_counter() - started
        seconds = _seconds(lambda: map_part(task, some), context, 1)
    return opening + seconds * len(samples) / max(len(some), 1)


def _seconds(work: Callable[[], object], context: Context, repeats: int = 3) -> float:
    """The shortest of some times, in seconds, with the device's queue emptied.

    What takes long is timed once: there is little that noise could add.
    """
    import torch

    def wait() -> None:
        if context.run.device.startswith("cuda"):
            torch.cuda.synchronize(context.run.device)

    shortest = float("inf")
    for _ in range(repeats):
        wait()
        started = time.perf_counter()
        work()
        wait()
        shortest = min(shortest, time.perf_counter() - started)
        if shortest > LONG:
            break
    return shortest


def _memory(context: Context) -> str:
    peak = provenance.peak_memory_bytes()
    on_device = provenance.peak_device_bytes(context.run.device)
    parts = [] if peak is None else [f"{peak / 2**30:.2f} GiB of main memory so far"]
    if on_device is not None:
        parts.append(f"{on_device / 2**30:.2f} GiB on {context.run.device}")
    return ", ".join(parts) + f", in batches of {context.run.batch_size}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0.1):.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
