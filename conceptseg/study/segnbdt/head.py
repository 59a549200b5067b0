"""The last layer of a network: the module whose output is the logits, and its weight rows."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptseg.data.batch import batches
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
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


@dataclass(frozen=True)
class Last:
    """The network's last layer, None where none is linear and none is needed."""

    head: Head | None


LAST = Key("last layer", Last)


def find_last_layer(study: Segnbdt, context: Context, known: Known) -> Known:
    """The last layer; InputError for a network without one where the study needs it."""
    first = context.manifest.samples[:1]
    batch = next(iter(batches(context.manifest, first, 1, context.run.device, False)))
    head = find_head(context.model, batch.images, study.head)
    if head is None and (study.hierarchy in ("weights", "features") or study.tune == "head"):
        with torch.no_grad():  # logits that are no numbers are nobody's output
            context.model.check_finite(context.model(batch.images), batch.ids)
        key = "tune: head" if study.tune == "head" else "hierarchy"
        raise InputError(
            f"{key}: no layer of {context.model.name!r} puts out its logits (a query or "
            "multi-branch head?); take hierarchy: confusion or given, or name a layer by head"
        )
    return LAST(Last(head))


def find_head(model: SegmentationModel, images: Tensor, name: str = "auto") -> Head | None:
    """The convolution or linear layer whose output, resized to the image, is the logits.

    It is found behind a softmax too.

    None where there is none (several heads that are added, queries, a transposed convolution).
    A layer that is named is not checked but for its number of outputs; InputError if that is not
    the number of classes.
    """
    modules = dict(model.module.named_modules())
    if name != "auto":
        module = modules.get(name)
        if module is None or not _linear(module, len(model.classes)):
            raise InputError(
                f"head: {name!r} is no convolution or linear layer of {len(model.classes)} outputs"
            )
        return _head(name, module, _feeds(model, images, module))
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.no_grad())
        for key, module in modules.items():
            if _linear(module, len(model.classes)):
                hook = module.register_forward_hook(_keep(seen, key))
                stack.callback(hook.remove)
        logits = model(images[:1])
    for key in reversed(seen):
        if _same(seen[key], logits):
            return _head(key, modules[key], _feeds(model, images, modules[key]))
    return None


def _feeds(model: SegmentationModel, images: Tensor, head: nn.Module) -> tuple[str, ...]:
    """The layers, in the order of their running, that put out what enters the head."""
    held: dict[str, Tensor] = {}  # kept, so that no tensor's place in memory is another's later
    feeds: tuple[str, ...] = ()

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4:
                held[name] = output

        return hook

    def enter(module: nn.Module, args: Any) -> None:
        nonlocal feeds
        given = args[0]
        feeds = tuple(
            name
            for name, one in held.items()
            if one.data_ptr() == given.data_ptr() and one.shape == given.shape
        )

    with ExitStack() as stack:
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.no_grad())
        for name, module in model.module.named_modules():
            if name and module is not head:
                stack.callback(module.register_forward_hook(keep(name)).remove)
        stack.callback(head.register_forward_pre_hook(enter).remove)
        model(images[:1])
    return feeds


def _keep(seen: dict[str, Tensor], key: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        seen.pop(key, None)
        seen[key] = output.detach().clone()

    return hook


def _linear(module: nn.Module | None, classes: int) -> bool:
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


def _head(name: str, module: Any, feeds: tuple[str, ...]) -> Head:
    weight = module.weight.detach().float().cpu().flatten(1).numpy()
    return Head(name, weight, int(module.weight.shape[1]), feeds)
