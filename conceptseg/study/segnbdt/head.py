"""The last layer of a network: the module whose output is the logits, and its weight rows."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
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
    """A linear last layer: `name`, `weight` [k, d] (a kernel's places count as features).

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
    """The convolution or linear layer whose output, resized to the image, is the logits.

    It is found behind a softmax too.

    None where there is none (several heads that are added, queries, a transposed convolution).
    A layer that is named is not checked but for its number of outputs; InputError if that is not
    the number of classes.
    """
    k, modules = len(model.classes), dict(model.module.named_modules())
    able: dict[str, Any] = {key: one for key, one in modules.items() if _linear(one, k)}
    if name != "auto" and name not in able:
        raise InputError(f"head: {name!r} is no convolution or linear layer of {k} outputs")
    held: dict[str, Tensor] = {}  # kept, so that no tensor's place in memory is another's later
    outputs: dict[str, Tensor] = {}
    feeds: dict[str, tuple[str, ...]] = {}

    def enter(key: str, module: nn.Module, args: Any) -> None:
        given = [(one.data_ptr(), one.shape) for one in args[:1]]
        feeds[key] = tuple(n for n, one in held.items() if (one.data_ptr(), one.shape) in given)

    def leave(key: str, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4:
            held[key] = output
        if key in able:
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
    fitting = (key for key in reversed(outputs) if _same(outputs[key], logits))
    found = name if name != "auto" else next(fitting, None)
    if found is None:
        return None
    rows = able[found].weight.detach().float().cpu()
    return Head(found, rows.flatten(1).numpy(), rows.shape[1], feeds.get(found, ()))


def _linear(module: nn.Module, classes: int) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.out_channels == classes and module.groups == 1
    return isinstance(module, nn.Linear) and module.out_features == classes


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
