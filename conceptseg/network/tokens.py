"""Whether tokens that are no part of the image stand where a layer's map leaves them out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.network.contract import Enough
from conceptseg.network.layout import leaves, token_grid
from conceptseg.network.record import find, undisturbed
from conceptseg.network.replay import called_with

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

CLEARLY = 2.0
"""How much more two corners have to move other rows than those that are read as theirs."""


def check_tokens(model: Network, image: Tensor, layer: str) -> None:
    """Refuse a layer whose rows of tokens begin with the image, and end with what is none of it.

    A map of tokens leaves out what comes before the image's own (:mod:`conceptseg.network.layout`).
    Where more rows are there than the grid has, the image [1, c, h, w] is changed in its first and
    in its last cell, and the rows that move most are found. One pass of three images, for such
    layers alone; one of one image for others; each ends at the layer. Raises
    :class:`~conceptseg.errors.InputError`.
    """
    rows, size = _rows(model, image[:1], layer)
    if rows is None:
        return
    y, x = token_grid(rows.shape[1], size)
    extra = rows.shape[1] - y * x
    if not extra:
        return
    down, across = -(-image.shape[2] // y), -(-image.shape[3] // x)
    changed = image[:1].repeat(3, 1, 1, 1)
    changed[1, :, :down, :across] = 1 - changed[1, :, :down, :across]
    changed[2, :, -down:, -across:] = 1 - changed[2, :, -down:, -across:]
    rows, _ = _rows(model, changed, layer)
    assert rows is not None
    first, last = ((rows[i] - rows[0]).float().norm(dim=1) for i in (1, 2))
    moved = first[: extra + 1] + last[y * x - 1 :]  # by how many rows stand before the image's
    place = int(moved.argmax())
    if place != extra and bool(moved[place] > CLEARLY * moved[extra]):
        raise InputError(
            f"layer {layer!r} puts out {rows.shape[1]} tokens, {y} x {x} of the image and {extra} "
            f"more, of which {place} come before the image's and {extra - place} after: only those "
            "before can be left out; choose the layer before these are added"
        )


def _rows(model: Network, images: Tensor, layer: str) -> tuple[Tensor | None, tuple[int, int]]:
    """The tokens [n, t, d] that a layer puts out, None if it puts out something else; and the
    size of the network's input."""
    model.settle(images)  # what is tried out first is not to be seen
    module, call = find(model, layer)
    seen: list[Any] = []
    sizes: list[tuple[int, int]] = []
    begin = model.module.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(called_with(args, kwargs)[0]), with_kwargs=True
    )

    def look(_: nn.Module, args: Any, output: Any) -> None:
        seen.append(output)
        if len(seen) > call:
            raise Enough

    hook = module.register_forward_hook(look)
    try:
        with undisturbed(model), torch.no_grad(), suppress(Enough):
            model(images)
    finally:
        begin.remove()
        hook.remove()
    output = seen[call] if call < len(seen) else None
    parts = [output] if isinstance(output, Tensor) else [part for _, part in leaves(output)]
    tokens = next((part for part in parts if part.dim() == 3 and len(part) == len(images)), None)
    return (None if parts and parts[0].dim() == 4 else tokens), sizes[-1]
