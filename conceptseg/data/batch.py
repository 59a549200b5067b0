"""Samples of one size, stacked into tensors; one batch is in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, device

    from conceptseg.data.manifest import Manifest, Sample

A = TypeVar("A")
B = TypeVar("B")


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
    workers: int = 0,
) -> Iterator[Batch]:
    """Batches of samples in the order given: `batch_size` each, parted where sizes differ.

    One batch is in memory at a time, and with `workers`, threads that read ahead, as many samples
    again as make two. Masks are read only with `need_labels`.

    Raises :class:`~conceptseg.errors.InputError` for what cannot be read, and with `need_labels`
    for a sample without a mask.
    """

    def load(sample: Sample) -> tuple[Sample, np.ndarray, np.ndarray | None]:
        image, labels = manifest.pair(sample) if need_labels else (manifest.image(sample), None)
        if need_labels and labels is None:
            raise InputError(
                f"{manifest.where}: sample {sample.id!r} has no mask, which this study needs; "
                "give it one or leave the sample out"
            )
        return sample, image, labels

    pending: list[tuple[Sample, np.ndarray, np.ndarray | None]] = []
    for number, loaded in enumerate(ahead(load, samples, workers, 2 * batch_size), start=1):
        if pending and pending[0][1].shape != loaded[1].shape:
            yield _take(pending, device)
        pending.append(loaded)
        if number % batch_size == 0:  # whatever sizes came before: what follows stays the same
            yield _take(pending, device)
    if pending:
        yield _take(pending, device)


def ahead(load: Callable[[A], B], items: Iterable[A], workers: int, window: int) -> Iterator[B]:
    """What `load` makes of items, in their order, by threads that are at most `window` ahead.

    Raises what it raises, at the item's turn. Threads know the context variables of the caller.
    """
    if workers < 1:
        yield from map(load, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="reading") as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(copy_context().run, load, item))
                if len(waiting) > window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _take(
    pending: list[tuple[Sample, np.ndarray, np.ndarray | None]], device: str | device
) -> Batch:
    """A batch of what is pending, which is emptied so that pixels are not held twice."""
    import torch

    images = torch.from_numpy(np.stack([image for _, image, _ in pending]))
    masks = [labels for _, _, labels in pending if labels is not None]
    labels = torch.from_numpy(np.stack(masks)) if masks else None
    ids, groups = zip(*((sample.id, sample.group) for sample, _, _ in pending), strict=True)
    pending.clear()
    placed = [None if one is None else _placed(one, device) for one in (images, labels)]
    assert placed[0] is not None
    return Batch(ids, groups, placed[0], placed[1])


def _placed(tensor: Tensor, device: str | device) -> Tensor:
    """On a device; to a GPU it goes while the network goes on."""
    if str(device).startswith("cuda"):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
