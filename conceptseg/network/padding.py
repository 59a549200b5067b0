"""Other padding of a network's convolutions: what it makes up beyond the border of an image."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from torch import nn

from conceptseg.network.contract import Network

Mode = Literal["replicate", "reflect"]
MODES: tuple[Mode, ...] = ("replicate", "reflect")
"""In place of what the convolutions pad with, mostly zeros."""


@contextmanager
def padded(model: Network, mode: Mode) -> Iterator[int]:
    """A network whose convolutions pad their input by `mode` while this is open; how many do.

    Of two dimensions, and not those that pad all around (`circular`), for which an image has no
    border. Where a map is no larger than its padding, which cannot be reflected, it is replicated.
    """
    found = [
        one
        for one in model.module.modules()
        if isinstance(one, nn.Conv2d)
        and one.padding_mode != "circular"
        and (isinstance(one.padding, str) or any(one.padding))
    ]
    before = [one.padding_mode for one in found]
    forwards = [_replicated(one) if mode == "reflect" else None for one in found]
    try:
        for one in found:
            one.padding_mode = mode
        yield len(found)
    finally:
        for one, own, handle in zip(found, before, forwards, strict=True):
            one.padding_mode = own
            if handle is not None:
                handle.remove()


def _replicated(convolution: nn.Conv2d) -> Any:
    """A hook that has a convolution replicate where its input is too small to be reflected."""

    def before(module: nn.Module, args: Any) -> None:
        own = cast(nn.Conv2d, module)
        most = max(own._reversed_padding_repeated_twice)
        small = min(args[0].shape[-2:]) <= most
        own.padding_mode = "replicate" if small else "reflect"

    return convolution.register_forward_pre_hook(before)
