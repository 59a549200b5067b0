"""torchvision's segmentation networks, such as `deeplabv3_resnet50`.

`weights: pretrained:DEFAULT` (or another name of the network's weights enum) downloads weights;
their normalisation and class names come with them. They were trained on images of about 520 px,
but run here at the image's own size unless `preprocessing.size` says otherwise.
"""

from collections.abc import Sequence
from typing import Any

import torchvision

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError, nearest
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import build, class_names, finish, outputs, pretrained


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The network `config.name` of `torchvision.models.segmentation`."""
    known = torchvision.models.list_models(module=torchvision.models.segmentation)
    if config.name not in known:
        raise InputError(
            f"model.name: torchvision has no segmentation network {config.name!r}; "
            f"{nearest(config.name, known)}"
        )
    make = torchvision.models.get_model_builder(config.name)
    chosen = pretrained(config)
    if chosen is not None:
        return _trained(config, classes, make, chosen)
    names = class_names(config, classes)
    arguments = {
        "weights": None,
        "weights_backbone": None,
        "num_classes": outputs(config, names),
        **config.arguments,
    }
    module = build(make, f"torchvision's {config.name}", arguments, named_only=True)
    return finish(config, module, names, channels=3)


def _trained(
    config: ModelConfig, classes: Sequence[str], make: Any, chosen: str
) -> SegmentationModel:
    enum = torchvision.models.get_model_weights(config.name)
    if chosen not in enum.__members__:
        raise InputError(
            f"model.weights: {config.name} has no weights {chosen!r}; "
            f"{nearest(chosen, enum.__members__)}"
        )
    weights = enum[chosen]
    names = class_names(config, classes, weights.meta.get("categories"))
    transforms = weights.transforms()
    own = Preprocessing(mean=tuple(transforms.mean), std=tuple(transforms.std))
    arguments = {"weights": weights, **config.arguments}
    what = f"torchvision's {config.name} with {weights}"
    module = build(make, what, arguments, named_only=True)
    return finish(config, module, names, own=own, channels=3, origin=str(weights))
