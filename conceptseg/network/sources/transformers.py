"""Segmentation networks of transformers: SegFormer, UperNet, Mask2Former and their like.

`name` is a model type (`segformer`, `upernet`, `mask2former`, ...), its configuration's fields are
the `arguments`, and weights are random or a checkpoint's; or `name` is a hub id or a folder, and
`weights: pretrained:DEFAULT` (or `pretrained:ID`) loads the weights there with its class names and
its image processor's scale, normalisation, channel order and size. Code of a hub repository is
never run: `arguments` are fields of the configuration and nothing else that a loader takes.

Queries (MaskFormer and its heirs, EoMT, DETR with masks) are folded to class maps
(:func:`conceptseg.network.outputs.fold_queries`). OneFormer gets its task by `arguments.task`:
semantic (the default), instance or panoptic, turned into token ids by the processor that lies
beside its weights; without one by `arguments.task_inputs`, the ids themselves. With random weights
no id means anything, and ones are given.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import transformers

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError, few, nearest
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources import _inputs
from conceptseg.network.sources._common import build, class_names, finish, outputs, pretrained

HEADS = (
    transformers.AutoModelForSemanticSegmentation,
    transformers.AutoModelForUniversalSegmentation,
)


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The network of type, hub id or folder `config.name`."""
    chosen = pretrained(config)
    if chosen is not None:
        return _trained(config, classes, config.name if chosen == "DEFAULT" else chosen)
    known = {kind.model_type: head for head in HEADS for kind in head._model_mapping}
    if config.name not in known:
        raise InputError(
            f"model.name: transformers has no segmentation network of type {config.name!r}; "
            f"{nearest(config.name, known)} (for a hub id or folder set model.weights: "
            "pretrained:DEFAULT)"
        )
    names = class_names(config, classes)
    given, _, ids = _inputs.split_task(config.name, dict(config.arguments))
    _check_fields(transformers.CONFIG_MAPPING[config.name], given)
    arguments = {"num_labels": outputs(config, names), **given}
    what = f"transformers' {config.name}"
    settings = build(
        lambda **given: transformers.AutoConfig.for_model(config.name, **given), what, arguments
    )
    module = build(known[config.name].from_config, what, {"config": settings})
    if config.name == "oneformer":
        _inputs.give_task(module, _own_ids(config, settings, ids))
    _inputs.takes_images(module, what)
    return finish(config, module, names, channels=getattr(settings, "num_channels", None))


def _own_ids(config: ModelConfig, settings: Any, ids: Any) -> Any:
    """The token ids that are given, and for random weights any: ones."""
    if ids is None and config.weights is not None:
        raise InputError(
            "model.arguments.task_inputs: OneFormer is told its task by token ids, which a "
            "checkpoint does not hold; give those that its processor returns as task_inputs, or "
            "load a folder with its processor (model.name: the folder, model.weights: "
            "pretrained:DEFAULT, model.arguments.task: semantic)"
        )
    return [1] * settings.task_seq_len if ids is None else ids


def _trained(config: ModelConfig, classes: Sequence[str], source: str) -> SegmentationModel:
    settings = _fetch(transformers.AutoConfig, source)
    head = next((h for h in HEADS if type(settings) in h._model_mapping), None)
    if head is None:
        raise InputError(
            f"model.name: {source} is a {settings.model_type}, which transformers does not use for "
            "semantic segmentation"
        )
    given, task, ids = _inputs.split_task(settings.model_type, dict(config.arguments))
    _check_fields(type(settings), given)
    _check_attention(getattr(settings, "_attn_implementation", None), f"model.name: {source}")
    module, told = _fetch(head, source, output_loading_info=True, **given)
    _check_complete(source, told)
    if task is not None:
        _inputs.give_task(module, _inputs.task_tokens(source, task) if ids is None else ids)
    _inputs.takes_images(module, source)
    names = class_names(config, classes, _own_names(settings))
    own = _processing(source)
    return finish(config, module, names, own=own, origin=tidy(source))


def _check_fields(kind: Any, given: Mapping[str, Any]) -> None:
    """Refuse arguments that are no fields of a kind of configuration, such as those of a loader.

    What a folder's own configuration holds does not count: it may hold anything.
    """
    usual = kind()
    for name, value in given.items():
        if name == "attn_implementation":
            _check_attention(value, "model.arguments.attn_implementation")
            continue
        own = hasattr(usual, name) and not name.startswith("_")
        if not own or callable(getattr(usual, name)):
            fields = [key for key in usual.to_dict() if not key.startswith("_")]
            raise InputError(
                f"model.arguments: {kind.model_type} has no field {name!r}; {nearest(name, fields)}"
            )


def _check_attention(name: Any, where: str) -> None:
    """Refuse attention that is fetched from the hub, where it is code."""
    if "/" in str(name):
        raise InputError(f"{where}: attention by {name!r}, which is code of the hub; write eager")


def tidy(source: str) -> str:
    """A hub id as it is; of a folder its name, for reports tell no folders."""
    return Path(source).name if Path(source).is_absolute() else source


def _fetch(auto: Any, source: str, **options: Any) -> Any:
    try:
        return auto.from_pretrained(source, trust_remote_code=False, **options)
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"model.weights: {source} could not be loaded from a folder or the hub: {text[:200]}"
        ) from error


def _check_complete(source: str, told: dict[str, Any]) -> None:
    """A head that the weights lack would stay random with no more than a log line."""
    missing = sorted(told.get("missing_keys", ()))
    other = sorted(str(key[0]) for key in told.get("mismatched_keys", ()))
    lacking = missing + other
    if lacking:
        raise InputError(
            f"model.weights: {source} has no weights for {len(lacking)} tensors "
            f"({few(lacking, 3)}): it was not trained for segmentation with this head"
        )


def _own_names(settings: Any) -> tuple[str, ...] | None:
    labels = getattr(settings, "id2label", None) or {}
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    generic = all(name == f"LABEL_{index}" for index, name in enumerate(names))
    return None if generic else names


def _processing(source: str) -> Preprocessing | None:
    """What the image processor beside the weights does; None when there is none.

    A size by its shortest edge has no fixed height and width; such networks run at the image's
    own size.
    """
    try:
        processor: Any = transformers.AutoImageProcessor.from_pretrained(
            source, trust_remote_code=False
        )
    except (OSError, ValueError):
        return None
    scaled = getattr(processor, "do_rescale", True)
    top = 255.0 * float(getattr(processor, "rescale_factor", 1 / 255)) if scaled else 255.0
    normalised = getattr(processor, "do_normalize", False)
    return Preprocessing(
        mean=tuple(processor.image_mean) if normalised else None,
        std=tuple(processor.image_std) if normalised else None,
        range=(0.0, 1.0 if abs(top - 1) < 1e-6 else top),
        size=_fixed_size(processor),
        channels=(2, 1, 0) if getattr(processor, "do_flip_channel_order", False) else None,
    )


def _fixed_size(processor: Any) -> tuple[int, int] | None:
    size = getattr(processor, "size", None)
    if not getattr(processor, "do_resize", False) or size is None:
        return None
    # A dictionary in older releases, an object in newer ones.
    get = size.get if isinstance(size, dict) else lambda key: getattr(size, key, None)
    height, width = get("height"), get("width")
    return (int(height), int(width)) if height and width else None
