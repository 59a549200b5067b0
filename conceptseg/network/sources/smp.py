"""segmentation_models_pytorch's networks, such as `Unet` with `encoder_name: resnet34`.

Weights: a checkpoint of the whole network; `pretrained:imagenet` (or another of the encoder's
weights) for the encoder alone, with its normalisation; `pretrained:OWNER/NAME` for a whole network
from the hub.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError, nearest
from conceptseg.network.model import SegmentationModel
from conceptseg.network.recognised import without_prefix
from conceptseg.network.sources._common import (
    build,
    class_names,
    finish,
    outputs,
    parameters_of,
    pretrained,
)

ARCHITECTURES: dict[str, Any] = {
    name.lower(): getattr(smp, name)
    for name in dir(smp)
    if isinstance(getattr(smp, name), type)
    and issubclass(getattr(smp, name), smp.base.SegmentationModel)
}


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The architecture `config.name` around the encoder `arguments.encoder_name`."""
    names = class_names(config, classes)
    chosen = pretrained(config)
    if chosen is not None and "/" in chosen:
        _check_arguments(config.arguments, *ARCHITECTURES.values())
        module = build(smp.from_pretrained, f"smp's {chosen}", {
            "pretrained_model_name_or_path": chosen, **config.arguments,
        })  # fmt: skip
        return finish(config, module, names, own=_sides(module), origin=chosen)
    make = ARCHITECTURES.get(config.name.lower())
    if make is None:
        known = [value.__name__ for value in ARCHITECTURES.values()]
        raise InputError(
            f"model.name: smp has no architecture {config.name!r}; {nearest(config.name, known)}"
        )
    _check_arguments(config.arguments, make)
    encoder = config.arguments.get("encoder_name", "resnet34")
    _check_encoder(encoder, chosen)
    arguments = {
        "encoder_weights": chosen, "classes": outputs(config, names), **config.arguments,
    }  # fmt: skip
    module = build(make, f"smp's {make.__name__}", arguments)
    own = _sides(module)
    if chosen is not None and config.preprocessing is None:
        own = _normalised(module, encoder, chosen)
    origin = None if chosen is None else f"encoder {encoder} of {chosen}, decoder random"
    channels = int(config.arguments.get("in_channels", 3))
    return finish(config, module, names, own=own, channels=channels, origin=origin)


def _check_arguments(given: Mapping[str, Any], *makes: Any) -> None:
    """Refuse what no constructor names, unless it is numbers: those are the encoder's, and it may
    be given files and addresses as well."""
    known = {name for make in makes for name in parameters_of(make, named_only=True) or ()}
    for name, value in given.items():
        if name not in known and not _numbers(value):
            raise InputError(
                f"model.arguments: smp takes no {name!r} that is not a number; "
                f"{nearest(name, known)}"
            )


def _numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_numbers, value))
    return isinstance(value, (bool, int, float))


def _check_encoder(encoder: Any, chosen: str | None) -> None:
    known = smp.encoders.get_encoder_names()
    if isinstance(encoder, str) and encoder not in known and not encoder.startswith("tu-"):
        raise InputError(
            f"model.arguments.encoder_name: smp has no encoder {encoder!r}; "
            f"{nearest(encoder, known)}"
        )
    settings = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings")
    if chosen is not None and settings is not None and chosen not in settings:
        raise InputError(
            f"model.weights: encoder {encoder!r} has no weights {chosen!r}; "
            f"{nearest(chosen, settings)}"
        )


def _sides(module: nn.Module) -> Preprocessing:
    """Sides of images must be multiples of the encoder's stride."""
    if not getattr(module, "requires_divisible_input_shape", True):
        return Preprocessing()
    return Preprocessing(multiple=int(getattr(module.encoder, "output_stride", 1)))


def _normalised(module: nn.Module, encoder: str, chosen: str) -> Preprocessing:
    try:
        known = smp.encoders.get_preprocessing_params(encoder, chosen)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"model.weights: the normalisation of {encoder}'s {chosen!r} could not be fetched; "
            "give model.preprocessing"
        ) from error
    flipped = known.get("input_space") == "BGR"
    low, high = known.get("input_range") or (0, 1)
    return Preprocessing(
        mean=tuple(known["mean"]) if known.get("mean") is not None else None,
        std=tuple(known["std"]) if known.get("std") is not None else None,
        range=(float(low), float(high)),
        channels=(2, 1, 0) if flipped else None,
        multiple=_sides(module).multiple,
    )


USUAL = ("resnet34", "resnet18", "resnet50", "resnet101", "efficientnet-b0", "mobilenet_v2")
"""Encoders that are tried first."""


def recognise(name: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of the architecture `name` that weights were made with; {} if none fits.

    Each encoder is built without memory for its weights, and its keys and shapes are compared.
    Raises InputError for an unknown architecture.
    """
    make = ARCHITECTURES.get(name.lower())
    if make is None:
        known = [value.__name__ for value in ARCHITECTURES.values()]
        raise InputError(f"smp has no architecture {name!r}; {nearest(name, known)}")
    own = without_prefix(state, "encoder.")
    shapes = {key: tuple(one.shape) for key, one in own.items()}
    inner = {key.removeprefix("encoder."): s for key, s in shapes.items() if "encoder." in key}
    if not inner or not any(key.startswith("segmentation_head.") for key in shapes):
        return {}
    channels = next((s[1] for s in inner.values() if len(s) == 4), 3)
    encoders = [one for one in smp.encoders.encoders if one not in USUAL]
    for encoder in (*USUAL, *encoders):
        if _shapes(smp.encoders.get_encoder, encoder, in_channels=channels, weights=None) == inner:
            given = {"encoder_name": encoder, "in_channels": channels}
            return given | _decoder(make, given, shapes)
    return {}


def _shapes(make: Any, *words: Any, **options: Any) -> dict[str, tuple[int, ...]]:
    """Key -> shape of what a constructor makes; {} where it refuses."""
    try:
        with torch.device("meta"):
            module = make(*words, **options)
    except Exception:  # whatever an encoder's own code raises of arguments that do not suit it
        return {}
    return {key: tuple(one.shape) for key, one in module.state_dict().items()}


def _decoder(
    make: Any, given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """What else the constructor was given, of a U-Net's widths, depth and attention."""
    head = [s[0] for key, s in shapes.items() if key.startswith("segmentation_head.")]
    base = {"encoder_weights": None, "classes": head[0], **given}
    widths: list[int] = []
    while (key := f"decoder.blocks.{len(widths)}.conv1.0.weight") in shapes:
        widths.append(shapes[key][0])
    wide = {"decoder_channels": widths, "encoder_depth": len(widths)} if widths else {}
    scse = {"decoder_attention_type": "scse"}
    known = parameters_of(make, named_only=True) or ()
    for further in ({}, wide, scse, wide | scse):
        if further.keys() <= set(known) and _shapes(make, **base, **further) == dict(shapes):
            return further
    return {}
