"""torchvision's segmentation networks, such as `deeplabv3_resnet50`, and its Mask R-CNNs.

`weights: pretrained:DEFAULT` (or another name of the network's weights enum) downloads weights;
their normalisation and class names come with them. They were trained on images of about 520 px,
but run here at the image's own size unless `preprocessing.size` says otherwise.

A Mask R-CNN is seen as a semantic network: its instances are folded to class maps
(:func:`conceptseg.network.instances.fold_instances`), the first class being the background. It
resizes (`arguments.min_size`, 800 px) and normalises images itself. Detectors of boxes or keypoints
have no class maps and are refused.
"""

from collections.abc import Sequence
from typing import Any

import torchvision

from conceptseg.config import ModelConfig, Preprocessing
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
    """The network `config.name` of `torchvision.models.segmentation`."""
    if loader := {"weights", "progress"}.intersection(config.arguments):
        raise InputError(
            f"model.arguments: {loader.pop()!r} is not the network's; weights go to model.weights"
        )
    known = torchvision.models.list_models(module=torchvision.models.segmentation)
    detectors = torchvision.models.list_models(module=torchvision.models.detection)
    known += [name for name in detectors if name.startswith("maskrcnn")]
    if config.name in detectors and config.name not in known:
        raise InputError(
            f"model.name: torchvision's {config.name} finds boxes or keypoints and no masks, so it "
            "has no class maps; networks with masks are " + ", ".join(known)
        )
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
        "num_classes": len(names) if config.name in detectors else outputs(config, names),
        **config.arguments,
    }
    module = _built(make, f"torchvision's {config.name}", arguments)
    return finish(config, module, names, channels=3)


def _built(make: Any, what: str, arguments: dict[str, Any]) -> Any:
    """The network; arguments that only a catch-all would swallow are refused.

    A detector's builder hands what it does not name to its class, which names all it takes.
    """
    known = parameters_of(make, named_only=True) or []
    inner = [name for name in arguments if name not in known]
    if not inner or not make.__name__.startswith("maskrcnn"):
        return build(make, what, arguments, named_only=True)
    known += parameters_of(torchvision.models.detection.MaskRCNN, named_only=True) or []
    unknown = next((name for name in inner if name not in known), None)
    if unknown is not None:
        raise InputError(f"model.arguments: {what} takes no {unknown!r}; {nearest(unknown, known)}")
    return build(make, what, arguments)


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
    # Those of detectors only convert: the network normalises by itself.
    inside = not hasattr(transforms, "mean")
    own = None if inside else Preprocessing(mean=tuple(transforms.mean), std=tuple(transforms.std))
    arguments = {"weights": weights, **config.arguments}
    what = f"torchvision's {config.name} with {weights}"
    module = _built(make, what, arguments)
    return finish(config, module, names, own=own, channels=3, origin=str(weights))
