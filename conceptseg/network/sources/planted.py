"""The nets of the planted benchmark: `biased`, `weak`, `clean` and `constructed`.

`constructed` is wired by hand and takes `arguments: {w: 0.5}`, its reliance on context in [0, 1].
"""

from collections.abc import Sequence

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import class_names, finish, no_weights
from conceptseg.planted.generator import CLASSES
from conceptseg.planted.nets import load_net


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The net `config.name`, for grey images of the benchmark."""
    no_weights(config, "a planted net")
    unknown = sorted(set(config.arguments) - {"w"})
    if unknown:
        raise InputError(f"model.arguments: planted nets take no {unknown[0]!r}, only w")
    try:
        module = load_net(config.name, **config.arguments)
    except (ValueError, TypeError) as error:
        raise InputError(f"model.name: {error}") from error
    names = class_names(config, classes, CLASSES)
    return finish(config, module, names, channels=1, origin=f"planted {config.name}")
