"""The convolutions of a network that methods on many layers at once read, in running order."""

from collections.abc import Sequence
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import nn

from conceptseg.errors import InputError
from conceptseg.explain.scene import Scene
from conceptseg.network.blame import Backward
from conceptseg.network.layers import LayerInfo
from conceptseg.network.record import Recorder, find

Part = Literal["decoder", "encoder and decoder"]

_FOUND: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], tuple[str, ...] | InputError]] = (
    WeakKeyDictionary()
)
"""Of each network, its convolutions by part and size of image, or why there are none: finding them
takes passes."""


def layers_of(scene: Scene, named: Sequence[str] | None, part: Part) -> tuple[str, ...]:
    """The layers that were named, or, where none were, the convolutions of a part of the network.

    These are convolutions and transposed convolutions with a map of more than one pixel, in the
    order in which they begin to run: those after the bottleneck by structure ("decoder"), or all
    outside it ("encoder and decoder"). Left out are convolutions within the bottleneck, those
    without a way to the logits (heads for training), and the last one where it puts out the class
    maps themselves, which would only say once more what was predicted. Of a module that runs
    several times, the first run counts.

    Raises InputError for a named layer that does not exist, and where there is nothing to find.
    """
    if named is not None:
        for name in named:
            find(scene.model, name)
        return tuple(named)
    known = _FOUND.setdefault(scene.model.module, {})
    key = (part, len(scene.model.classes), *scene.images.shape[1:])
    if key not in known:
        try:
            known[key] = _search(scene, part)
        except InputError as error:
            known[key] = type(error)(str(error))  # without the frames, which hold the network
    found = known[key]
    if isinstance(found, InputError):
        raise type(found)(str(found))
    return found


def _search(scene: Scene, part: Part) -> tuple[str, ...]:
    model = scene.model
    infos = model.layers(scene.images)
    bottleneck = next((info.name for info in infos if info.recommended), None)
    if bottleneck is None:
        raise InputError(
            f"model {model.name!r} has no layer where an encoder ends, so none that follows; name "
            "layers"
        )
    start = [info.name for info in infos].index(bottleneck) if part == "decoder" else 0
    modules = dict(model.module.named_modules())
    convolutions = [
        info
        for info in infos[start:]
        if isinstance(modules[info.name], (nn.Conv2d, nn.ConvTranspose2d))
        and info.spatial
        and not f"{info.name}.".startswith(f"{bottleneck}.")
    ]
    found = _without_head(scene, _with_influence(scene, convolutions))
    if not found:
        raise InputError(
            f"model {model.name!r} has no convolution between its bottleneck {bottleneck!r} and "
            "its class maps; name layers"
        )
    return tuple(info.name for info in found)


def _with_influence(scene: Scene, infos: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Those that the logits depend on, by one pass of one image."""
    if not infos:
        return []
    with Recorder(scene.model, [info.name for info in infos], gradients=True) as recorder:
        logits = recorder(scene.images[:1])
        if logits is None or not logits.requires_grad:
            return []
        with Backward(scene.model.name):
            slopes = torch.autograd.grad(
                logits.sum(), list(recorder.activations.values()), allow_unused=True
            )
    reached = dict(zip(recorder.activations, slopes, strict=True))
    return [info for info in infos if reached[info.name] is not None]


def _without_head(scene: Scene, infos: Sequence[LayerInfo]) -> Sequence[LayerInfo]:
    classes = len(scene.model.classes)
    maps = {classes, 1} if classes == 2 else {classes}
    return infos[:-1] if infos and infos[-1].channels in maps else infos
