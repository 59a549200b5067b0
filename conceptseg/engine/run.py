"""The one loop over a study's steps: passes with their shards, and functions of what is known.

A pass maps batches of samples to states, and states merge in order; functions conclude from them
what later steps know. Samples are cut into shards of consecutive ones; each shard's state is
saved under a key that hashes everything it depends on, so the same command started again after a
crash resumes after the last whole shard and ends with the same result. Passes check the network's
output themselves (`model.check_finite`), where they know which samples it belongs to.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptseg.config import RunConfig
from conceptseg.engine import provenance
from conceptseg.engine.contract import LEFT_OUT, Context, Pass, Study
from conceptseg.engine.known import Known
from conceptseg.engine.progress import Progress, Quiet
from conceptseg.engine.reading import first_images, read
from conceptseg.engine.start import precision
from conceptseg.engine.store import DamagedError, ShardStore, clear
from conceptseg.settings import digest, without_run

if TYPE_CHECKING:
    from conceptseg.data.manifest import Sample
    from conceptseg.result.saved import Result

BATCHES_PER_SHARD = 16


@dataclasses.dataclass(frozen=True)
class Swept:
    """What one pass did: images seen, shards in all and shards found saved."""

    name: str
    images: int
    shards: int
    resumed: int


def run_study(
    study: Study,
    context: Context,
    out: Path,
    progress: Progress | None = None,
    *,
    recorded: Mapping[str, Any] | None = None,
    examined: Mapping[str, Any] | None = None,
    command: str = "",
    fresh: bool = False,
) -> Result:
    """Take all steps of a study and put together its result; nothing but shards is written.

    `recorded` is the configuration to keep with the result (by default the study's own), `examined`
    what the examination of the network found, `fresh` ignores saved shards. Shards stay under
    `<out>/.state` until :func:`save` is called.

    Raises :class:`~conceptseg.errors.InputError` for data, a network or a folder that cannot be
    used.
    """
    progress = progress or Quiet()
    context = refuse(study, context)
    for row in unsuited_methods(context):
        progress.note(f"left out: {row['method']}: {row['reason']}")
    started = time.monotonic()
    if fresh:
        clear(out)
    recorded = dict(recorded if recorded is not None else study.model_dump(mode="json"))
    weights = context.model.fingerprint()
    # Asked before the passes: libraries that they load may set another number of threads.
    machine = provenance.machine(context.run.device)
    key = base_key(study, context, recorded, weights)
    known, swept, seconds = take(study, context, key, out, progress)
    progress.note("all steps are done; drawing conclusions")
    finishing = time.monotonic()
    result = study.finish(context, known)
    seconds["finish"] = time.monotonic() - finishing
    return dataclasses.replace(
        result,
        skipped=(*unsuited_methods(context), *_left_out(known), *result.skipped),
        config=in_order(provenance.tidy_config(recorded)),
        provenance=in_order(
            {
                **result.provenance,
                **_provenance(context, weights, swept, command),
                **({"examination": examined} if examined else {}),
                "machine": machine,
            }
        ),
        timings=in_order({**result.timings, **_timings(context, seconds, swept, started)}),
    )


def save(study: type[Study], result: Result, out: Path) -> Path:
    """Render the report, write it with the result in one step, drop the shards; the report's path.

    Raises :class:`~conceptseg.errors.InputError`, with an earlier result untouched, when `out`
    cannot be written.
    """
    from conceptseg.report.page import render

    result.save(out, render(study.report(result), result))
    clear(out)
    return out / "report.html"


def refuse(study: Study, context: Context) -> Context:
    """The context, with the local methods that do not suit the first image left out.

    Raises InputError for whatever else can be known to fail before the first step. Asked by a run
    and by the command's `check`, so that nothing passes the one that the other refuses at once.
    """
    from conceptseg.explain.methods import unsuited

    image = first_images(context.manifest, context.run)
    with precision(context.run):
        found = unsuited(study.local_methods(), context.model, image, context.single)
    context = dataclasses.replace(context, unsuited=found)
    study.check(context)
    return context


def unsuited_methods(context: Context) -> list[dict[str, Any]]:
    """Entries of `Result.skipped` for the local methods that do not suit the first image."""
    return [
        {"kind": "method", "method": one.label, "reason": one.reason} for one in context.unsuited
    ]


def take(
    study: Study, context: Context, key: str, out: Path, progress: Progress
) -> tuple[Known, list[Swept], dict[str, float]]:
    """Take all steps: what is known then, what each pass did, and seconds by step."""
    known = gathered = Known()
    swept: list[Swept] = []
    seconds: dict[str, float] = {}
    for step in study.plan():
        started = time.monotonic()
        if isinstance(step, Pass):
            gathered = Known()  # freed before the next pass gathers
            known, gathered, key, done = sweep(step, context, known, key, out, progress)
            swept.append(done)
        else:
            progress.begin(step.__name__, None, 0)
            known |= step(study, context, gathered | known)
            progress.end()
        seconds[step.name if isinstance(step, Pass) else step.__name__] = time.monotonic() - started
    return gathered | known, swept, seconds


def sweep(
    step: Pass, context: Context, known: Known, key: str, out: Path, progress: Progress
) -> tuple[Known, Known, str, Swept]:
    """Make one pass: what is known after it, its merged state, its key, and its count.

    `key` is that of the passes before, so a pass is never resumed on another past.
    """
    samples = step.samples(context, known)
    key = digest([key, step.name, context.manifest.fingerprint(samples) if samples else ""])
    parts = split(len(samples), context.run)
    store = ShardStore(out, step.name, key, frozenset({type(step).__module__.partition(".")[0]}))
    progress.begin(step.name, len(samples), len(parts))
    state = Known()
    resumed = 0
    with step.open(context, known) as opened:
        inside = known | opened
        for number, (start, stop) in enumerate(parts, start=1):
            shard = _saved(store, start, stop, progress)
            resumed += shard is not None
            progress.shard(number, shard is not None)
            if shard is None:
                shard = map_shard(step, context, samples[start:stop], inside, progress.advance)
                store.save(start, stop, shard)
            else:
                progress.advance(stop - start)
            state = state.merge(shard)
        known |= step.finish(context, state, inside)
    progress.end()
    return known, state, key, Swept(step.name, len(samples), len(parts), resumed)


def map_shard(
    step: Pass,
    context: Context,
    samples: Sequence[Sample],
    known: Known,
    advance: Callable[[int], None] = lambda images: None,
) -> Known:
    """The merged state of consecutive samples, batch by batch."""
    state = Known()
    for batch in read(context, samples, step.labels):
        with precision(context.run):
            state = state.merge(step.map(context, batch, known))
        advance(len(batch))
    return state


def split(count: int, run: RunConfig) -> list[tuple[int, int]]:
    """Shards as half-open ranges of consecutive samples, none empty, at most one sample uneven."""
    if not count:
        return []
    wanted = run.shards or math.ceil(count / (BATCHES_PER_SHARD * min(run.batch_size, 8)))
    shards = min(wanted, count)
    edges = [count * part // shards for part in range(shards + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def base_key(study: Study, context: Context, recorded: Mapping[str, Any], weights: str) -> str:
    """Hash of all that every pass depends on: code, parameters, layer, weights, arithmetic.

    How the run is cut (batch size, shards, threads) is left out: it changes rounding only.
    """
    import torch

    config = without_run(recorded)
    config["data"] = {**config.get("data", {}), "root": None}  # contents are hashed, not places
    return digest(
        {
            "code": [provenance.code_digest(), provenance.source_digest(type(study))],
            "torch": torch.__version__,
            "arithmetic": [context.run.device.partition(":")[0], context.run.dtype],
            "study": [type(study).__module__, type(study).__qualname__],
            "config": config,
            "layer": context.layer,
            "factors": context.levels.factors,
            "weights": weights,
            "unsuited": [one.entry for one in context.unsuited],
        }
    )


def _left_out(known: Known) -> list[dict[str, Any]]:
    """What steps had to leave out, as entries of `Result.skipped`."""
    return [row for key, rows in known.items() if key.startswith(LEFT_OUT) for row in rows]


def _saved(store: ShardStore, start: int, stop: int, progress: Progress) -> Known | None:
    try:
        return store.load(start, stop)
    except DamagedError as error:
        progress.note(f"saved shard {error}; it is computed again")
        return None


def in_order(content: Mapping[str, Any]) -> dict[str, Any]:
    """Keys in the order in which a saved result is read, so that it renders the same report."""
    from conceptseg.result.encoding import plain

    ordered: dict[str, Any] = json.loads(json.dumps(plain(content), sort_keys=True))
    return ordered


def _provenance(
    context: Context, weights: str, swept: Sequence[Swept], command: str
) -> dict[str, Any]:
    return {
        "command": command,
        "versions": provenance.versions(),
        "code": provenance.code_digest(),
        "seed": context.seed,
        "layer": context.layer,
        "worth": context.choice and context.choice.recorded(),
        "weights": weights,
        "data": context.manifest.fingerprint(),
        "manifest": context.manifest.name,
        "samples": len(context.manifest.samples),
        "passes": [
            {"name": done.name, "images": done.images, "shards": done.shards} for done in swept
        ],
    }


def _timings(
    context: Context, seconds: dict[str, float], swept: Sequence[Swept], started: float
) -> dict[str, Any]:
    return {
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "total_seconds": round(time.monotonic() - started, 3),
        "resumed_shards": {done.name: done.resumed for done in swept},
        "peak_memory_bytes": provenance.peak_memory_bytes(),
        "peak_device_memory_bytes": provenance.peak_device_bytes(context.run.device),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
