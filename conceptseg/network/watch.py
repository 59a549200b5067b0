"""What a network returns for the images of a batch, looked at once when all is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from conceptseg.errors import InputError


def not_finite(source: str, sample: str) -> InputError:
    """The error that `source` puts out what is no number, for a sample."""
    return InputError(
        f"{source} NaN or infinity for sample {sample!r}; check its weights and "
        "model.preprocessing, and run.dtype if it is not float32"
    )


class Watch:
    """Refuses, on leaving, what is not finite of a network's logits for a batch's images.

    These very images [n, c, h, w] count, or consecutive ones of them. Copies are others, as of
    images that were changed, or are run with something else in a layer's place.
    Nothing is waited for before the end, so that a device is never held up in between. Of whatever
    fails within for that reason, the reason is told.

    Raises :class:`~conceptseg.errors.InputError` naming the first such sample of `ids`.
    """

    def __init__(self, images: Tensor, ids: Sequence[str], source: str):
        self._images, self._ids, self._source = images, ids, source
        self._bad: Tensor | None = None

    def see(self, images: Tensor, logits: Tensor) -> None:
        """Logits [m, k, h, w] that the network returns for some images."""
        own = self._images
        if images.shape[1:] != own.shape[1:] or images.stride() != own.stride():
            return
        apart = images.data_ptr() - own.data_ptr()
        place, rest = divmod(apart, max(1, own.stride(0) * own.element_size()))
        if rest or images.dtype != own.dtype or not 0 <= place <= len(own) - len(images):
            return
        if self._bad is None:
            self._bad = torch.zeros(len(own), dtype=torch.bool, device=logits.device)
        bad = ~torch.isfinite(logits.detach()).flatten(1).all(1)
        self._bad[place : place + len(images)] |= bad

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        failed = kind is None or (isinstance(kind, type) and issubclass(kind, Exception))
        if failed and self._bad is not None and bool(self._bad.any()):
            raise not_finite(self._source, self._ids[int(self._bad.nonzero()[0])]) from None
