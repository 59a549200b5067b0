"""Batches as passes take them: on the run's device, labels as the network's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from conceptseg.config import RunConfig
from conceptseg.engine.contract import Context
from conceptseg.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Manifest, Sample
    from conceptseg.network.model import SegmentationModel


def first_images(manifest: Manifest, run: RunConfig) -> Tensor:
    """The first sample's image as a batch of one [1, c, h, w], laid out as the run lays it out."""
    from conceptseg.data.batch import batches

    batch = next(iter(batches(manifest, manifest.samples[:1], 1, run.device, False)))
    return laid_out(batch.images, run)


def read(
    context: Context, samples: Sequence[Sample], labels: str, batch_size: int = 0
) -> Iterator[Batch]:
    """Batches of samples on the run's device, with labels as a pass wants them.

    `labels` is "none", "optional" or "required" (see :class:`~conceptseg.engine.contract.Pass`);
    `batch_size` is the run's, unless another is given.
    """
    from conceptseg.data.batch import batches

    run, manifest = context.run, context.manifest
    there = {manifest.labelled(sample) for sample in samples} if labels == "optional" else set()
    wanted = labels == "required" or there == {True}
    size = batch_size or run.batch_size
    for batch in batches(manifest, samples, size, run.device, wanted, run.workers):
        if len(there) > 1:
            batch = _with_what_labels_there_are(batch, manifest)
        batch = _as_outputs(batch, context)
        yield dataclasses.replace(batch, images=laid_out(batch.images, run))


def some(context: Context, count: int) -> list[Sample]:
    """So many samples, spread evenly over the manifest; with masks, if some have one."""
    manifest = context.manifest
    able = manifest.labelled_samples() or manifest.samples
    count = min(count, len(able))
    return [able[(2 * i + 1) * len(able) // (2 * count)] for i in range(count)]


def outputs_of_labels(manifest: Manifest, model: SegmentationModel) -> tuple[int, ...]:
    """For each class of the manifest, the index of the network's class of that name.

    Names are compared without case and marks; a class that is merged of several outputs goes by
    their names too. -1 for a class that no mask can hold. Of independent classes all but the one
    that is studied belong to the rest.

    Raises :class:`~conceptseg.errors.InputError` for a class of the masks that the network lacks.
    """
    from conceptseg.data.labels import IGNORE, places

    rest = model.rest
    names = [(name, c) for c in range(len(model.classes)) for name in model.names_of(c)]
    found = [
        None if place is None else names[place][1]
        for place in places(manifest.classes, [name for name, _ in names])
    ]
    if rest is not None:
        if not any(found[index] is not None for index in manifest.block.used):
            raise InputError(
                f"{manifest.where}: no mask can hold the class {model.classes[1]!r}, which is "
                f"studied (they hold {', '.join(manifest.classes)}); name the classes of the masks "
                "in labels.names, or choose another by model.positive_class"
            )
        inside = model.interpretation.covered
        found = [
            1 if name in inside else place or 0
            for name, place in zip(manifest.classes, found, strict=True)
        ]
    for index in manifest.block.used:
        if found[index] is None:
            name = manifest.classes[index]
            raise InputError(
                f"{manifest.where}: masks hold the class {name!r}, which model {model.name!r} "
                f"lacks ({nearest(name, model.classes)}); name the network's outputs in "
                "model.classes, or merge or ignore the class by labels.remap or labels.ignore"
            )
    return tuple(IGNORE if place is None else place for place in found)


def check_labels(context: Context) -> None:
    """Refuse masks of which every pixel is ignored, by looking until one is found that is not.

    Raises :class:`~conceptseg.errors.InputError`.
    """
    import numpy as np

    manifest = context.manifest
    samples = manifest.labelled_samples() if manifest.any_labelled else ()
    if not samples:
        return
    counted = np.array([*outputs_of_labels(manifest, context.model), -1]) >= 0
    for sample in samples:
        labels = manifest.labels(sample)
        if labels is not None and counted[labels].any():
            return
    raise InputError(
        f"{manifest.where}: every pixel of its {len(samples)} masks is ignored; see labels.ignore, "
        "labels.remap and the values that the masks hold, or leave the masks out"
    )


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


def laid_out(images: Tensor, run: RunConfig) -> Tensor:
    """Images in memory as the run wants them."""
    import torch

    return images.contiguous(memory_format=torch.channels_last) if run.channels_last else images


def lay_out(model: SegmentationModel) -> None:
    """The network's weights in memory as images are laid out, in place; those of four dimensions.

    There is no such format for others, as of a network of volumes, which is refused elsewhere.
    """
    import torch

    for weights in (*model.parameters(), *model.buffers()):
        if weights.ndim == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
