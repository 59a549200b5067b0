"""MONAI's two-dimensional networks, such as `UNet`, from `monai.networks.nets`."""

from collections.abc import Sequence

import monai.networks.nets as nets
from torch import nn

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError, nearest
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import (
    build,
    class_names,
    finish,
    outputs,
    parameters_of,
    pretrained,
)


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The network `config.name` of `monai.networks.nets` with the given `arguments`.

    `spatial_dims: 2`, `out_channels` (the number of classes) and, unless given, `in_channels: 3`
    are filled in where the network has them.
    """
    if pretrained(config) is not None:
        raise InputError("model.weights: MONAI nets have no named weights; give a checkpoint file")
    known = [
        name
        for name, value in vars(nets).items()
        if isinstance(value, type) and issubclass(value, nn.Module)
    ]
    if config.name not in known:
        raise InputError(
            f"model.name: MONAI has no network {config.name!r}; {nearest(config.name, known)}"
        )
    make = getattr(nets, config.name)
    names = class_names(config, classes)
    usual = {"spatial_dims": 2, "in_channels": 3, "out_channels": outputs(config, names)}
    taken = parameters_of(make, named_only=True)
    arguments = {key: value for key, value in usual.items() if taken is None or key in taken}
    arguments |= config.arguments
    module = build(make, f"MONAI's {config.name}", arguments, named_only=True)
    channels = arguments.get("in_channels")
    return finish(config, module, names, channels=channels)
