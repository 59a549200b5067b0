"""The last layer of a network: the module whose output is the logits, and its weight rows."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import first_images
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import undisturbed
from conceptseg.study.segnbdt.config import Segnbdt

TOLERANCE = 1e-3


@dataclass(frozen=True)
class Head:
    """A linear last layer: `name`, `weight` [k, d] (places of a kernel, and those of a block of
    pixels that it puts out at once, count as features).

    `feeds` are the layers whose output is what enters it; none where something else does.
    """

    name: str
    weight: np.ndarray
    inputs: int
    feeds: tuple[str, ...] = ()


LAST = Key("last layer", Head)
"""Not known for a network where none is linear and none is needed."""


def find_last_layer(study: Segnbdt, context: Context, known: Known) -> Known:
    """The last layer; InputError for a network without one where the study needs it."""
    images = first_images(context.manifest, context.run)
    head = find_head(context.model, images, study.head)
    if head is not None:
        return LAST(head)
    if study.hierarchy in ("weights", "features") or study.tune == "head":
        with torch.no_grad():  # logits that are no numbers are nobody's output
            context.model.check_finite(context.model(images), [context.manifest.samples[0].id])
        key = "tune: head" if study.tune == "head" else "hierarchy"
        raise InputError(
            f"{key}: no layer of {context.model.name!r} puts out its logits (a query or "
            "multi-branch head?); take hierarchy: confusion or given, or name a layer by head"
        )
    return Known()


def find_head(model: SegmentationModel, images: Tensor, name: str = "auto") -> Head | None:
    """The linear layer whose output, laid out as a map and resized to the image, is the logits.

    A convolution, a transposed one, a layer of tokens or places (`Linear`, `Conv1d`), or one of
    which a pixel shuffle makes the map. It is found behind a softmax too, and where outputs of the
    network are dropped.

    None where there is none (several heads that are added, queries, outputs that are merged). A
    layer that is named is not checked but for its number of outputs; InputError if that does not
    fit the number of the network's outputs.
    """
    modules = dict(model.module.named_modules())
    with torch.no_grad():
        model(images[:1])  # which outputs there are is known after a pass
    places = _places(model)
    k = len(model.interpretation.outputs)
    able: dict[str, Any] = {key: one for key, one in modules.items() if _linear(one, k)}
    if name != "auto" and name not in able:
        raise InputError(f"head: {name!r} is no convolution or linear layer of {k} outputs")
    if places is None:
        return None
    held: dict[str, Tensor] = {}  # kept, so that no tensor's place in memory is another's later
    outputs: dict[str, Tensor] = {}
    feeds: dict[str, tuple[str, ...]] = {}

    def enter(key: str, module: nn.Module, args: Any) -> None:
        given = [(one.data_ptr(), one.shape) for one in args[:1]]
        feeds[key] = tuple(n for n, one in held.items() if (one.data_ptr(), one.shape) in given)

    def leave(key: str, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4:
            held[key] = output
        if key in able and isinstance(output, Tensor):
            outputs.pop(key, None)  # in the order of their last runs
            outputs[key] = output.detach().clone()

    with ExitStack() as stack:
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.no_grad())
        for key, module in modules.items():
            stack.callback(module.register_forward_hook(partial(leave, key)).remove)
            if key in able:
                stack.callback(module.register_forward_pre_hook(partial(enter, key)).remove)
        logits = model(images[:1])
    fitting = (
        key
        for key in reversed(outputs)
        if any(_same(one[:, places], logits) for one in _maps(able[key], outputs[key], k, logits))
    )
    found = name if name != "auto" else next(fitting, None)
    if found is None:
        return None
    rows = _rows(able[found], k)[places]
    return Head(found, rows.flatten(1).numpy(), rows.shape[1], feeds.get(found, ()))


def _places(model: SegmentationModel) -> list[int] | None:
    """Of each class, which of the network's outputs it is; None where outputs are merged."""
    groups = model.interpretation.groups
    found = [groups.get(name, ()) for name in model.classes]
    return [one[0] for one in found] if all(len(one) == 1 for one in found) else None


def _outputs(module: nn.Module) -> int:
    """How many outputs a linear layer has; 0 of anything else."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
        return module.out_channels if module.groups == 1 else 0
    return module.out_features if isinstance(module, nn.Linear) else 0


def _linear(module: nn.Module, classes: int) -> bool:
    """Whether a layer puts out a number for each class, or a square block of them."""
    blocks, rest = divmod(_outputs(module), classes)
    return blocks >= 1 and not rest and isqrt(blocks) ** 2 == blocks


def _rows(module: Any, classes: int) -> Tensor:
    """A layer's weights of each class, [k, inputs, places]."""
    weight: Tensor = module.weight.detach().float().cpu()
    if isinstance(module, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)
    # A pixel shuffle lays the outputs of one class beside each other.
    return weight.reshape(classes, -1, weight.shape[1], weight[0, 0].numel()).transpose(1, 2)


def _maps(module: nn.Module, output: Tensor, classes: int, logits: Tensor) -> Iterator[Tensor]:
    """A layer's output as maps [n, k, y, x], in every way in which it may be laid out."""
    last = isinstance(module, nn.Linear)
    if output.dim() == 3:
        places = output if not last else output.transpose(1, 2)
        high, wide = logits.shape[2:]
        rows = round((places.shape[2] * high / wide) ** 0.5)
        if rows and places.shape[2] % rows == 0:
            output = places.unflatten(2, (rows, -1))
    elif output.dim() == 4 and last:
        output = output.permute(0, 3, 1, 2)
    if output.dim() == 4 and output.shape[1] % classes == 0:
        yield functional.pixel_shuffle(output, isqrt(output.shape[1] // classes))


def _same(output: Tensor, logits: Tensor) -> bool:
    """Whether a layer's output is the logits, perhaps before they were resized bilinearly.

    Up to one number at each pixel that all classes share: a softmax takes it off, and no decision
    between classes depends on it.
    """
    if output.dim() != 4 or output.shape[1] != logits.shape[1]:
        return False
    output, logits = (one - one.mean(1, keepdim=True) for one in (output, logits))
    scale = float(logits.abs().max()) or 1.0
    outputs = [output]
    if output.shape != logits.shape:
        outputs = [
            functional.interpolate(output, logits.shape[2:], mode="bilinear", align_corners=corners)
            for corners in (False, True)
        ]
    return any(float((one - logits).abs().max()) <= TOLERANCE * scale for one in outputs)
