"""Samples of one size, stacked into tensors; one batch is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, device

    from conceptseg.data.manifest import Manifest, Sample


@dataclass(frozen=True)
class Batch:
    """Samples of one image size. `images` [n, c, h, w] float32 in [0, 1]; `labels` [n, h, w]."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)


def batches(
    manifest: Manifest,
    samples: Iterable[Sample],
    batch_size: int,
    device: str | device = "cpu",
    need_labels: bool = False,
) -> Iterator[Batch]:
    """Batches of at most `batch_size` samples in the order given; a new size starts a new batch.

    One batch is in memory at a time. Masks are read only with `need_labels`.

    Raises :class:`~conceptseg.errors.InputError` for what cannot be read, and with `need_labels`
    for a sample without a mask.
    """
    pending: list[tuple[Sample, np.ndarray, np.ndarray | None]] = []
    for sample in samples:
        image, labels = manifest.pair(sample) if need_labels else (manifest.image(sample), None)
        if need_labels and labels is None:
            raise InputError(
                f"{manifest.where}: sample {sample.id!r} has no mask, which this study needs; "
                "give it one or leave the sample out"
            )
        if pending and pending[0][1].shape != image.shape:
            yield _take(pending, device)
        pending.append((sample, image, labels))
        if len(pending) >= batch_size:
            yield _take(pending, device)
    if pending:
        yield _take(pending, device)


def _take(
    pending: list[tuple[Sample, np.ndarray, np.ndarray | None]], device: str | device
) -> Batch:
    """A batch of what is pending, which is emptied so that pixels are not held twice."""
    import torch

    images = torch.from_numpy(np.stack([image for _, image, _ in pending]))
    masks = [labels for _, _, labels in pending if labels is not None]
    labels = torch.from_numpy(np.stack(masks)).to(device) if masks else None
    ids, groups = zip(*((sample.id, sample.group) for sample, _, _ in pending), strict=True)
    pending.clear()
    return Batch(ids, groups, images.to(device), labels)
