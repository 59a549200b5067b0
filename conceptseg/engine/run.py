"""A study's run: what it may see, its steps, and the result that is put together of them.

A pass maps batches of samples to states, and states merge in an order fixed by the data; functions
conclude from them what later steps know. Samples are cut into parts of consecutive ones
(:mod:`conceptseg.engine.cut`), which an engine makes (:mod:`conceptseg.engine.base`). Each part's
state is saved under a key that hashes everything it depends on, so the same command started again
after a crash resumes with what was saved and ends with the same result. What the network returns
for the images of a pass has to be finite (:meth:`SegmentationModel.watching`); passes ask the same
of a layer's activation, or of another network, themselves (`model.check_finite`).

Of the data set the key hashes rows, which takes no reading (:mod:`conceptseg.data.stamps`). What is
read is hashed as it is read (:mod:`conceptseg.data.reads`): of two passes, processes, or halves of
a run that was resumed, which read other bytes of one sample, the later one ends the run.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from conceptseg.data.ledger import Ledger
from conceptseg.data.reads import IMAGE, LABELS, recording
from conceptseg.data.stamps import rows_digest
from conceptseg.engine import provenance
from conceptseg.engine.base import Engine
from conceptseg.engine.contract import LEFT_OUT, Context, Named, Pass, Step, Study
from conceptseg.engine.inputs import inputs, masks, stamps
from conceptseg.engine.job import Job
from conceptseg.engine.known import Known
from conceptseg.engine.lease import still_held
from conceptseg.engine.local import LocalEngine
from conceptseg.engine.pool import ProcessEngine, cores
from conceptseg.engine.progress import Progress, Quiet
from conceptseg.engine.reading import check_labels, first_images
from conceptseg.engine.shelf import Folder, Shelf, deliver, of_run
from conceptseg.engine.start import precision
from conceptseg.engine.steps import Steps, Taken
from conceptseg.engine.store import state_of
from conceptseg.result.wording import by_reason
from conceptseg.settings import digest, without_run

if TYPE_CHECKING:
    from conceptseg.config import RunConfig
    from conceptseg.result.saved import Result


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
    engine: Engine | None = None,
) -> Result:
    """Take all steps of a study and put together its result; nothing but shards is written.

    `recorded` is the configuration to keep with the result (by default the study's own), `examined`
    what the examination of the network found, `fresh` ignores saved shards. Shards stay under
    `<out>/.state`, or the same name in the run's store, until :func:`save` is called.

    Raises :class:`~conceptseg.errors.InputError` for data, a network or a folder that cannot be
    used, and for a file of the data set of which other bytes are read than before.
    """
    progress = progress or Quiet()
    context = refuse(study, context)
    for told in by_reason(
        (row.get("method", "images"), row["reason"]) for row in _skipped(context)
    ):
        progress.note(f"left out: {told}")
    started = time.monotonic()
    shelf = state_of(out, context.run.store)
    if fresh:
        shelf.remove("")
    recorded = dict(recorded if recorded is not None else study.model_dump(mode="json"))
    weights = context.model.fingerprint()
    # Asked before the passes: libraries that they load may set another number of threads.
    machine = provenance.machine(context.run.device)
    own = _own(study)
    further, beside = inputs(own), masks(own, context.manifest)
    files = further | stamps(beside, context.manifest)
    key = base_key(study, context, recorded, weights, files)
    with _steps(study, context, shelf, progress, engine, key, weights) as steps:
        result = steps.take()
    if steps.remarks:
        machine["repeatable"] = f"within rounding: {'; '.join(steps.remarks)}"
    return dataclasses.replace(
        result,
        skipped=(*_skipped(context), *_left_out(steps.known), *result.skipped),
        config=in_order(provenance.tidy_config(recorded)),
        provenance=in_order(
            {
                **result.provenance,
                **_provenance(context, weights, steps, command),
                "configuration": digest(without_run(recorded)),
                "inputs": further | {kind: steps.ledger.digest(kind) for kind in beside},
                **({"examination": examined} if examined else {}),
                "machine": machine,
            }
        ),
        timings=in_order({**result.timings, **_timings(context, steps.taken, started)}),
    )


def sweep(
    step: Pass,
    study: Study,
    context: Context,
    out: Path,
    further: Mapping[str, str],
    engine: Engine | None = None,
) -> Known:
    """What one pass gathers, which belongs to no study's plan, by the same engines.

    `further` are hashes of whatever it depends on besides the study's keys. Its parts are kept
    (:func:`conceptseg.engine.store.state_of`) where the same call finds them after a crash.
    """
    shelf = state_of(out, context.run.store)
    weights = context.model.fingerprint()
    recorded, labelled = study.model_dump(mode="json"), step.labels != "none"
    key = base_key(study, context, recorded, weights, further, labelled=labelled)
    with _steps(study, context, shelf, Quiet(), engine, key, weights) as steps:
        steps.sweep(step)
    return steps.gathered


def known_after(study: Study, context: Context, last: Named, but: Sequence[Named] = ()) -> Known:
    """What is known after a study's steps up to the `last`, made in this process and kept nowhere.

    All of them but for those that are named, which nothing that is asked for hangs on: a step that
    a study gets later is taken too. Raises ValueError where the plan has no such step.
    """
    plan = list(study.plan())
    for one in (last, *but):
        if not any(_is(step, one) for step in plan):
            raise ValueError(f"no step {one.__name__} in the plan of {type(study).__name__}")
    end = max(place for place, step in enumerate(plan) if _is(step, last))
    plan = [step for step in plan[: end + 1] if not any(_is(step, one) for one in but)]
    weights, recorded = context.model.fingerprint(), study.model_dump(mode="json")
    key = base_key(study, context, recorded, weights)
    with tempfile.TemporaryDirectory() as folder:
        local, shelf = LocalEngine(), Folder(Path(folder))
        with _steps(study, context, shelf, Quiet(), local, key, weights) as steps:
            steps.go(plan)
    return steps.gathered | steps.known


def _is(step: Step, named: Named) -> bool:
    return step is named or type(step) is named


@contextmanager
def _steps(
    study: Study,
    context: Context,
    shelf: Shelf,
    progress: Progress,
    engine: Engine | None,
    key: str,
    weights: str,
) -> Iterator[Steps]:
    """The steps as an engine takes them, if none is given that of the run's keys; what they read is
    recorded, and what makes their calls is ended, unless it was given."""
    context = dataclasses.replace(context, job=Job.of(study, context, weights))
    run, given = context.run, engine
    engine = engine or engine_of(run)
    fitting = engine
    if engine.here or (given is None and run.devices):
        count = run.processes or cores()
        fitting = ProcessEngine(count) if count > 1 else LocalEngine()
    beside = masks(_own(study), context.manifest)
    ledger = Ledger(context.manifest, {kind: pattern.file for kind, pattern in beside.items()})
    try:
        with recording(ledger):
            yield Steps(study, context, shelf, progress, engine, fitting, ledger, key)
    finally:
        for one in (engine, fitting):
            if one is not given:
                one.close()


def engine_of(run: RunConfig) -> Engine:
    """What makes parts, as the run's keys ask for it. Raises InputError where it is not there."""
    if run.engine == "ray":
        from conceptseg.engine.ray.engine import RayEngine

        return RayEngine.of(run)
    return ProcessEngine(devices=run.devices) if run.devices else LocalEngine()


def save(study: type[Study], result: Result, out: Path, store: str | None = None) -> Path:
    """Render the report, write it with the result in one step, drop the shards; the report's path.

    With a run's `store` the result is copied there before shards are dropped.

    Raises :class:`~conceptseg.errors.InputError`, with an earlier result untouched, when `out`
    cannot be written; and, with the result in `out` alone, when another run has the store's name.
    """
    from conceptseg.report.page import render

    result = dataclasses.replace(result, verdict=study.verdict(result))
    result.save(out, render(study.report(result), result))
    still_held(of_run(out, store))
    deliver(out, of_run(out, store))
    state_of(out, store).remove("")
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
    if any(isinstance(step, Pass) and step.labels != "none" for step in study.plan()):
        check_labels(context)
    return context


def _skipped(context: Context) -> list[dict[str, Any]]:
    """Entries of `Result.skipped` that are known before the first step."""
    manifest = context.manifest
    taken = len(manifest.samples)
    reason = f"{taken} images are drawn of {taken + manifest.left}; data.limit asks for more"
    drawn = [{"kind": "samples", "count": manifest.left, "reason": reason}] if manifest.left else []
    unsuited = [
        {"kind": "method", "method": one.label, "reason": one.reason} for one in context.unsuited
    ]
    return [*drawn, *unsuited]


def base_key(
    study: Study,
    context: Context,
    recorded: Mapping[str, Any],
    weights: str,
    further: Mapping[str, str] = MappingProxyType({}),
    *,
    labelled: bool = True,
) -> str:
    """Hash of all that every pass depends on: code, numerical libraries, parameters, layer,
    weights, arithmetic, the rows of the data set (:func:`conceptseg.data.stamps.rows_digest`), and
    `further` files (:mod:`conceptseg.engine.inputs`). Files of labels only if they are read.

    How the run is cut (batch size, shards, threads) is left out: it changes rounding only.
    """
    import torch

    config = without_run(recorded)
    config["data"] = {**config.get("data", {}), "root": None}  # rows are hashed, not places
    return digest(
        {
            "code": [provenance.code_digest(), provenance.source_digest(type(study))],
            "libraries": provenance.installed(provenance.DECISIVE) | {"torch": torch.__version__},
            "arithmetic": [context.run.device.partition(":")[0], context.run.dtype],
            "study": [type(study).__module__, type(study).__qualname__],
            "config": config,
            "layer": context.layer,
            "factors": context.levels.factors,
            "weights": weights,
            "rows": rows_digest(context.manifest, labelled),
            "unsuited": [one.entry for one in context.unsuited],
            "inputs": dict(further),
        }
    )


def _own(study: Study) -> dict[str, Any]:
    """The configuration without its network, its data set and how it is run."""
    return study.model_dump(mode="json", exclude={"data", "model", "run", "cover"})


def _left_out(known: Known) -> list[dict[str, Any]]:
    """What steps had to leave out, as entries of `Result.skipped`."""
    return [row for key, rows in known.items() if key.startswith(LEFT_OUT) for row in rows]


def in_order(content: Mapping[str, Any]) -> dict[str, Any]:
    """Keys in the order in which a saved result is read, so that it renders the same report."""
    from conceptseg.result.encoding import plain

    ordered: dict[str, Any] = json.loads(json.dumps(plain(content), sort_keys=True))
    return ordered


def _provenance(context: Context, weights: str, steps: Steps, command: str) -> dict[str, Any]:
    """What the result was made with.

    `data` covers the bytes of the image and mask files that steps decoded (what was drawn, where
    there are none) of each sample that they read, and the samples' ids, in the manifest's order. It
    does not cover files' names, places and times, headers that were looked at alone, and what was
    read before the first step, to choose a layer or a batch size. How passes are cut, who makes
    their parts, and whether parts were resumed does not matter. Of masks that lie beside the
    images, `inputs` tells the same. `repeated` counts the images that hold the bytes of one of
    another group, where there are any.
    """
    same = steps.ledger.repeated(IMAGE)
    return {
        "command": command,
        "versions": provenance.versions(),
        "code": provenance.code_digest(),
        "seed": context.seed,
        "layer": context.layer,
        "worth": context.choice and context.choice.recorded(),
        "weights": weights,
        "data": steps.ledger.digest(IMAGE, LABELS),
        "manifest": context.manifest.name,
        "samples": len(context.manifest.samples),
        **({"repeated": {"images": same[0], "first": same[1]}} if same else {}),
        "passes": [
            {"name": one.name, "images": one.swept.images, "shards": one.swept.shards}
            for one in steps.taken
            if one.swept is not None
        ],
    }


def _timings(context: Context, taken: Sequence[Taken], started: float) -> dict[str, Any]:
    return {
        "seconds": {one.name: round(one.seconds, 3) for one in taken},
        "total_seconds": round(time.monotonic() - started, 3),
        "resumed_shards": {one.name: one.swept.resumed for one in taken if one.swept is not None},
        "resumed_steps": [one.name for one in taken if one.resumed],
        "fits": {one.name: one.fits[0] for one in taken if one.fits[0]},
        "resumed_fits": {one.name: one.fits[1] for one in taken if one.fits[1]},
        "peak_memory_bytes": provenance.peak_memory_bytes(),
        "peak_device_memory_bytes": provenance.peak_device_bytes(context.run.device),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
