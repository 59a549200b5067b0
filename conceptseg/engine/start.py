"""Everything before the first pass: device, data, network, layer, and a folder to write to."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.config import RunConfig, StudyKeys
from conceptseg.engine.contract import Context
from conceptseg.errors import InputError, nearest
from conceptseg.result.folder import check_elsewhere

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Manifest, Sample
    from conceptseg.network.model import SegmentationModel

RESULT_FILES = ("report.html", "arrays.npz", "images")


def prepare(study: StudyKeys) -> Context:
    """Read the manifest, load the network onto its device and find the layer.

    The study's paths must be absolute or relative to the working folder (see
    :func:`conceptseg.settings.read_settings`). Sets torch's seed, threads and exact arithmetic.

    Raises :class:`~conceptseg.errors.InputError` for anything the user can cure.
    """
    import torch

    device = resolve_device(study.run.device)
    set_arithmetic(study.run)
    manifest = read_manifest(study)
    torch.manual_seed(study.seed)  # a network without weights is initialised at random
    model = _load_model(study, manifest, device)
    for name in study.data.classes:
        model.class_id(name)
    manifest = _with_model_background(manifest, model)
    if any(manifest.labelled(sample) for sample in manifest.samples):
        outputs_of_labels(manifest, model)
    run = study.run.model_copy(update={"device": device})
    layer = model.layer_name(study.layer, first_images(manifest, run))
    return Context(model=model, manifest=manifest, run=run, layer=layer, seed=study.seed)


def read_manifest(study: StudyKeys) -> Manifest:
    """The samples that a study is about: its manifest's, by split and limit.

    Raises :class:`~conceptseg.errors.InputError` for a manifest that cannot be read.
    """
    from conceptseg.data.manifest import load_manifest

    data = study.data
    manifest = load_manifest(data.manifest, Path(data.root) if data.root else None)
    return manifest.select(split=data.split, limit=data.limit, seed=study.seed)


def resolve_device(device: str) -> str:
    """`auto` -> the first of cuda, mps, cpu that is there; anything else is checked to be there."""
    import torch

    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there[:0] = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device == "auto":
        return there[0]
    if device not in there:
        raise InputError(
            f"run.device is {device!r}, which this machine does not have; {nearest(device, there)}"
        )
    return device


def set_arithmetic(run: RunConfig) -> None:
    """Threads, and exact float32: no TensorFloat, no algorithm chosen by timing."""
    import torch

    if run.threads is not None:
        torch.set_num_threads(run.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@contextlib.contextmanager
def precision(run: RunConfig) -> Iterator[None]:
    """Autocast to the run's dtype unless that is float32."""
    import torch

    if run.dtype == "float32":
        yield
        return
    with torch.autocast(run.device.partition(":")[0], dtype=getattr(torch, run.dtype)):
        yield


def first_images(manifest: Manifest, run: RunConfig) -> Tensor:
    """The first sample's image as a batch of one [1, c, h, w], laid out as the run lays it out."""
    from conceptseg.data.batch import batches

    batch = next(iter(batches(manifest, manifest.samples[:1], 1, run.device, False)))
    return _laid_out(batch, run).images


def check_out(out: Path) -> None:
    """Make sure that the output folder can be written, before anything is computed.

    Raises :class:`~conceptseg.errors.InputError` otherwise, and leaves no folder behind.
    """
    check_elsewhere(out)
    made: list[Path] = []
    try:
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: a file has this name; choose another folder with --out")
        for folder in (*reversed(out.absolute().parents), out):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        # The result is written beside the folder and then takes its name: both must be writable.
        for folder in (out, out.absolute().parent):
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or error
        cure = "choose another folder with --out"
        raise InputError(f"{out}: cannot be written ({reason}); {cure}") from None
    finally:
        for folder in reversed(made):
            folder.rmdir()
    if os.path.ismount(out):
        raise InputError(f"{out}: a mount point; give a folder inside it")
    others = [name for name in RESULT_FILES if (out / name).exists()]
    if others and not (out / "result.json").is_file():
        raise InputError(
            f"{out}: holds {others[0]!r} but no result.json, so it is not an earlier result; "
            "choose another folder with --out"
        )


def read(context: Context, samples: Sequence[Sample], labels: str) -> Iterator[Batch]:
    """Batches of samples on the run's device, with labels as a pass wants them.

    `labels` is "none", "optional" or "required" (see :class:`~conceptseg.engine.contract.Pass`).
    """
    from conceptseg.data.batch import batches

    run, manifest = context.run, context.manifest
    there = {manifest.labelled(sample) for sample in samples} if labels == "optional" else set()
    wanted = labels == "required" or there == {True}
    for batch in batches(manifest, samples, run.batch_size, run.device, wanted):
        if len(there) > 1:
            batch = _with_what_labels_there_are(batch, manifest)
        yield _laid_out(_as_outputs(batch, context), run)


def outputs_of_labels(manifest: Manifest, model: SegmentationModel) -> tuple[int, ...]:
    """For each class of the manifest, the index of the network's output of that name.

    Names are compared without case and marks. -1 for a class that no mask can hold.

    Raises :class:`~conceptseg.errors.InputError` for a class of the masks that the network lacks.
    """
    from conceptseg.data.labels import IGNORE, places

    found = places(manifest.classes, model.classes)
    for index in manifest.block.used:
        if found[index] is None:
            name = manifest.classes[index]
            raise InputError(
                f"{manifest.where}: masks hold the class {name!r}, which model {model.name!r} "
                f"lacks ({nearest(name, model.classes)}); name the network's outputs in "
                "model.classes, or merge or ignore the class by labels.remap or labels.ignore"
            )
    return tuple(IGNORE if place is None else place for place in found)


def _as_outputs(batch: Batch, context: Context) -> Batch:
    """The batch with labels that are indices of the network's outputs, not of the manifest."""
    import torch

    from conceptseg.data.labels import IGNORE

    if batch.labels is None:
        return batch
    table = outputs_of_labels(context.manifest, context.model)
    if table == tuple(range(len(table))):
        return batch
    # The entry for -1 is the last, where an index of -1 finds it.
    lookup = torch.tensor([*table, IGNORE], device=batch.labels.device)
    return dataclasses.replace(batch, labels=lookup[batch.labels])


def _with_model_background(manifest: Manifest, model: SegmentationModel) -> Manifest:
    """The manifest with its background called as the network calls it."""
    from conceptseg.data.labels import places

    if manifest.background is None:
        return manifest
    place = places([manifest.background], model.classes)[0]
    name = None if place is None else model.classes[place]
    if name == manifest.background:
        return manifest
    return dataclasses.replace(manifest, block=dataclasses.replace(manifest.block, background=name))


def _load_model(study: StudyKeys, manifest: Manifest, device: str) -> SegmentationModel:
    import torch

    from conceptseg.network.model import load_model

    model = load_model(study.model, manifest.classes, device)
    if study.run.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model


def _with_what_labels_there_are(batch: Batch, manifest: Manifest) -> Batch:
    """The batch with labels, -1 for samples without a mask; unchanged when none has one."""
    import torch

    from conceptseg.data.labels import IGNORE

    found = [manifest.labels(manifest.sample(name)) for name in batch.ids]
    if all(one is None for one in found):
        return batch
    n, _, height, width = batch.images.shape
    labels = torch.full((n, height, width), IGNORE, dtype=torch.int64)
    for row, one in enumerate(found):
        if one is not None:
            labels[row] = torch.from_numpy(one)
    return dataclasses.replace(batch, labels=labels.to(batch.images.device))


def _laid_out(batch: Batch, run: RunConfig) -> Batch:
    import torch

    if not run.channels_last:
        return batch
    images = batch.images.contiguous(memory_format=torch.channels_last)
    return dataclasses.replace(batch, images=images)
