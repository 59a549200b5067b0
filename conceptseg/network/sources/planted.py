"""The nets of the planted benchmark: `biased`, `weak`, `clean` and `constructed`.

`constructed` is wired by hand and takes `arguments: {w: 0.5}`, its reliance on context in [0, 1].
`unet` is the trained ones' network with weights of your own, `weights: FILE.safetensors`, as
`python -m conceptseg.planted train` writes them.
"""

from collections.abc import Sequence

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import (
    class_names,
    finish,
    no_arguments,
    no_weights,
    pretrained,
)
from conceptseg.planted.generator import CLASSES
from conceptseg.planted.nets import TRAINED, PlantedUNet, load_net

UNET = "unet"


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The net `config.name`, for grey images of the benchmark."""
    if config.name == UNET:
        return _own(config, classes)
    no_weights(config, f"a planted net other than {UNET}")
    unknown = sorted(set(config.arguments) - {"w"})
    if unknown:
        raise InputError(f"model.arguments: planted nets take no {unknown[0]!r}, only w")
    try:
        module = load_net(config.name, **config.arguments)
    except (ValueError, TypeError) as error:
        raise InputError(f"model.name: {error}") from error
    names = class_names(config, classes, CLASSES)
    return finish(config, module, names, channels=1, origin=f"planted {config.name}")


def _own(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The trained nets' network with the weights of a file."""
    no_arguments(config, f"planted {UNET}")
    if config.weights is None or pretrained(config) is not None:
        raise InputError(
            f"model.weights: planted {UNET} takes a file, as 'python -m conceptseg.planted train' "
            f"writes it; shipped with their weights are {', '.join(TRAINED)} (model.name)"
        )
    return finish(config, PlantedUNet(), class_names(config, classes, CLASSES), channels=1)
