"""Why a network cannot take images, or a layer cannot be read, in words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.network.blame import is_theirs, out_of_memory, told, where
from conceptseg.network.contract import Network

_ABOUT_SHAPES = re.compile(
    r"\b(sizes?|shapes?|channels?|dimensions?|expected input|divisible|match)\b", re.IGNORECASE
)
_OF_VOLUMES = (nn.Conv3d, nn.ConvTranspose3d)
_ABOUT_TYPES = re.compile(r"\b(dtype|cuda|nvidia|type \()", re.IGNORECASE)


def forward_failed(model: Network, error: BaseException, images: Tensor) -> BaseException:
    """What the user can do about an error inside the network; the error itself if nothing."""
    if isinstance(error, InputError) or out_of_memory(error):
        return error
    text = str(error)
    shapes = isinstance(error, (RuntimeError, ValueError, AssertionError))
    if shapes and _ABOUT_SHAPES.search(text) and not _ABOUT_TYPES.search(text):
        if model.preprocessing.channels is None and images.shape[1] != model.channels:
            return wrong_channels(model, images.shape[1])
        return InputError(
            f"model {model.name!r} cannot take images {list(images.shape)} "
            f"({text.strip().splitlines()[0][:160]}){where(error)}; set "
            "model.preprocessing.multiple or .size"
        )
    if not is_theirs(error, error.__traceback__):
        return error
    return told(error, f"model {model.name!r} fails in its forward pass")


@contextmanager
def without_volumes(model: Network) -> Iterator[None]:
    """A network that takes an image for a volume is refused while this is open.

    A three-dimensional convolution takes a batch of images [n, c, h, w] for one volume of n
    channels and c slices, where these numbers allow it. Raises
    :class:`~conceptseg.errors.InputError` for that.
    """
    kinds = (nn.Conv2d, nn.ConvTranspose2d, *_OF_VOLUMES)
    convolutions = ((n, m) for n, m in model.module.named_modules() if isinstance(m, kinds))
    name, first = next(convolutions, ("", None))
    if not isinstance(first, _OF_VOLUMES):
        yield
        return

    def begin(module: nn.Module, args: Any) -> None:
        if args and isinstance(args[0], Tensor) and args[0].dim() < 5:
            raise InputError(
                f"model {model.name!r} takes volumes: its first convolution, {name!r}, is "
                "three-dimensional; build it for images (MONAI: model.arguments.spatial_dims: 2), "
                "with weights that were trained so"
            )

    handle = first.register_forward_pre_hook(begin)
    try:
        yield
    finally:
        handle.remove()


def wrong_channels(model: Network, count: int) -> InputError:
    """Images have another number of channels than the network takes."""
    example = [min(i, count - 1) for i in range(model.channels)]
    return InputError(
        f"model {model.name!r} takes images with {model.channels} channels, these have {count}; "
        f"pick channels by model.preprocessing.channels, e.g. {example}"
    )


def did_not_run(layer: str, calls: int | None) -> InputError:
    """A pass did not reach the layer, or not the call of it that was asked for."""
    if calls:
        return InputError(f"layer {layer!r}: that module ran only {calls} times in the pass")
    return InputError(
        f"layer {layer!r} did not run in the forward pass (or runs inside TorchScript or a "
        "compiled graph, where it cannot be reached); choose another"
    )


def without_gradients(layer: str) -> InputError:
    """A gradient was asked for that would be zero, whatever the layer does."""
    return InputError(
        f"layer {layer!r}: the network's code runs it without gradients (torch.no_grad, or an "
        "activation checkpointing of its own): switch that off, in model.arguments if it can be, "
        "or choose another layer"
    )
