"""The networks that are compared: the study's own, the other one, and those of other seeds."""

from dataclasses import dataclass

import torch
from torch import Tensor

from conceptseg.config import ModelConfig
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import first_images
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel, load_model
from conceptseg.network.record import Tail, encode
from conceptseg.study.diff.config import Diff


@dataclass(frozen=True)
class Member:
    """A network with its layer, and the key of the study's file that names it."""

    key: str
    model: SegmentationModel
    layer: str

    def tail(self, images: Tensor) -> Tail:
        return Tail.of(self.model, images, self.layer)


MEMBERS: Key[tuple[Member, ...]] = Key("members", tuple)
"""The network, the other one, then those of other seeds."""


def open_members(study: Diff, context: Context, known: Known) -> Known:
    """All networks. InputError for one that cannot be compared: other classes, another grid."""
    first = first_images(context.manifest, context.run)
    own = Member("model", context.model, context.layer)
    grid = encode(own.model, first, own.layer).shape[2:]
    layer = study.other_layer or context.layer
    given = [("other", study.other, layer)]
    given += [(f"seeds[{i}]", one, context.layer) for i, one in enumerate(study.seeds)]
    members = [own]
    for key, config, name in given:
        members.append(_opened(context, key, config, name, first, grid))
    return MEMBERS(tuple(members))


def _opened(
    context: Context,
    key: str,
    config: ModelConfig,
    layer: str,
    first: Tensor,
    grid: torch.Size,
) -> Member:
    model = load_model(config, context.manifest.classes, context.run.device, key)
    if model.classes != context.model.classes:
        mine, theirs = (", ".join(one.classes) for one in (context.model, model))
        raise InputError(
            f"{key}: its classes ({theirs}) are not those of model ({mine}); two networks are "
            f"compared class by class: give {key}.classes, or another checkpoint"
        )
    try:
        name = model.layer_name(layer, first)
    except InputError as error:
        cure = "name the other network's by other_layer"
        if key != "other":
            cure = "of other seeds it has to have model's name"
        raise InputError(f"{key}: {error}; {cure}") from None
    theirs_grid = encode(model, first, name).shape[2:]
    if theirs_grid != grid:
        raise InputError(
            f"{key}: its layer {name!r} is a map of {' x '.join(map(str, theirs_grid))}, that of "
            f"model of {' x '.join(map(str, grid))}; name a layer on the same grid by other_layer"
        )
    return Member(key, model, name)
