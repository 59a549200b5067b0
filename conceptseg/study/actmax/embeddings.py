"""Where likeness of a picture to real images is measured: not in the layer that it was made for.

A picture that was optimised for a unit excites that unit whatever it looks like. So likeness is
taken in an earlier layer, and in the same layer of the network with its weights shuffled, which
knows of pixels and their texture but not of what was learnt.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import first_images
from conceptseg.network.record import encode
from conceptseg.network.shuffle import shuffled
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.objectives import Objective, source_of


@dataclass(frozen=True)
class Spaces:
    """`earlier`: name of the layer before, None where there is none; `forgot`: shuffled network."""

    earlier: str | None
    forgot: Any


SPACES = Key("spaces", Spaces)


def open_spaces(study: Actmax, context: Context, known: Known) -> Known:
    """The earlier layer and the shuffled network; InputError for a layer that cannot be had."""
    images = first_images(context.manifest, context.run)
    if study.earlier == "auto":
        earlier = layer_before(context, images)
    else:
        earlier = context.model.layer_name(study.earlier, images)
    return SPACES(Spaces(earlier, shuffled(context.model, context.seed)))


def layer_before(context: Context, images: Tensor) -> str | None:
    """The last layer on a finer grid that had finished before the studied one began."""
    infos = context.model.layers(images)
    names = [info.name for info in infos]
    layer = context.layer.partition("#")[0]
    if layer not in names:
        return None
    own = infos[names.index(layer)]
    found = None
    for info in infos[: names.index(layer)]:
        if layer.startswith(f"{info.name}.") or info.through > own.through:
            continue
        if info.stride is None or own.stride is None or info.stride >= own.stride:
            continue
        if found is None or not info.name.startswith(f"{found}."):
            found = info.name
    return found


def observe(
    spaces: Spaces, context: Context, objective: Objective, images: Tensor
) -> dict[str, Tensor]:
    """What the objective reads (key ""), and activations in the spaces: `earlier`, `forgot`."""
    others = [] if spaces.earlier is None else [spaces.earlier]
    with source_of(context.model, objective, *others) as run:
        outputs = run(images)
    seen = {"": outputs[""].float()}
    seen["forgot"] = encode(spaces.forgot, images, context.layer).float()
    if spaces.earlier is not None:
        seen["earlier"] = outputs[spaces.earlier].float()
    return seen


def pooled(activation: Tensor, maps: Tensor) -> np.ndarray:
    """Means of activations [n or 1, d, y, x] over where maps [n, y', x'] respond, float32 [n, d].

    Weights are a map's positive part, or even where nothing responds.
    """
    weight = F.interpolate(
        maps[:, None].clamp(min=0), activation.shape[-2:], mode="bilinear", align_corners=False
    )
    total = weight.sum((2, 3), keepdim=True)
    even = torch.full_like(weight, 1.0 / weight[0].numel())
    weight = torch.where(total > 0, weight / total.clamp(min=1e-30), even)[:, 0]
    sums = torch.einsum("ndyx,nyx->nd", activation.expand(len(weight), -1, -1, -1), weight)
    return np.asarray(sums.cpu().numpy(), np.float32)
