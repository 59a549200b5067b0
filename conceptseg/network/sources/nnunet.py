"""nnU-Net v2 from its folder: plans.json, dataset.json and fold_N/checkpoint_final.pth in `name`.

`arguments`: `fold` (0, or "all"), `checkpoint` (`checkpoint_best.pth`) and `configuration` (`2d`)
choose among several. Two-dimensional configurations only; one fold, the whole image at once,
without mirroring. The architecture is built by `dynamic_network_architectures` as the plans
describe it; nothing in the folder is run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dynamic_network_architectures.architectures.unet as unets
import torch
from torch import nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError, nearest
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import (
    build,
    class_names,
    finish,
    no_weights,
    with_classes,
)

ARCHITECTURES: dict[str, Any] = {
    name: value
    for name, value in vars(unets).items()
    if isinstance(value, type) and issubclass(value, nn.Module) and "UNet" in name
}
HOME = "dynamic_network_architectures.architectures.unet."
CHOICES = {"fold", "checkpoint", "configuration"}


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The network of the folder `config.name`, with the weights of one fold.

    Raises :class:`~conceptseg.errors.InputError` for a folder that is none of nnU-Net's, a
    configuration of three dimensions, regions that overlap, several folds to choose from, and
    intensities that nnU-Net changes in a way that only `model.preprocessing` can say.
    """
    no_weights(config, "nnU-Net's folder")
    unknown = sorted(config.arguments.keys() - CHOICES)
    if unknown:
        raise InputError(
            f"model.arguments: nnunet takes no {unknown[0]!r}; {nearest(unknown[0], CHOICES)}"
        )
    folder = Path(config.name)
    plans, dataset = _read(folder / "plans.json"), _read(folder / "dataset.json")
    plan = _configuration(plans, config.arguments.get("configuration", "2d"), folder)
    own_names = _labels(dataset, folder / "dataset.json")
    names = class_names(config, classes, own_names)
    channels = len(dataset.get("channel_names") or dataset.get("modality") or {}) or 1
    make, arguments = _architecture(plan, folder / "plans.json")
    arguments |= {
        "input_channels": channels, "num_classes": len(own_names), "deep_supervision": False,
    }  # fmt: skip
    module: nn.Module = build(make, f"nnU-Net's {make.__name__}", arguments)
    weights = _checkpoint(folder, config.arguments)
    own = Preprocessing(multiple=_stride(arguments))
    if config.preprocessing is None:
        own = own.model_copy(update={"normalise": _normalise(plan, folder / "plans.json")})
    return finish(
        config.model_copy(update={"weights": str(weights)}),
        module,
        names,
        own=own,
        channels=channels,
        remarks=[f"{weights.parent.name} alone, without mirroring"],
    )


def _normalise(plan: Mapping[str, Any], path: Path) -> str:
    """What the plans do to intensities, as `preprocessing.normalise` has it, or refused."""
    schemes = set(plan.get("normalization_schemes") or ["ZScoreNormalization"])
    if schemes == {"RGBTo01Normalization"}:
        return "none"  # images come in [0, 1]
    if schemes == {"ZScoreNormalization"} and not any(plan.get("use_mask_for_norm") or ()):
        return "image"
    kind = "ZScoreNormalization within a mask" if len(schemes) == 1 and any(
        plan.get("use_mask_for_norm") or ()
    ) else ", ".join(sorted(schemes))  # fmt: skip
    raise InputError(
        f"{path}: it changes intensities by {kind}, which cannot be read from the folder; say it "
        "in model.preprocessing ({} if the images are so already)"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"model.name: {path}: cannot be read ({error.strerror}); name nnU-Net's folder of a "
            "trained configuration, which holds plans.json, dataset.json and fold_N"
        ) from error
    except ValueError as error:
        raise InputError(f"model.name: {path}: no JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"model.name: {path}: must hold an object")
    return content


def _configuration(plans: Mapping[str, Any], name: Any, folder: Path) -> dict[str, Any]:
    """A configuration of the plans, with what it inherits from others."""
    known = plans.get("configurations")
    if not isinstance(known, dict) or name not in known:
        raise InputError(
            f"{folder / 'plans.json'}: no configuration {name!r}; {nearest(str(name), known or ())}"
        )
    found: dict[str, Any] = {}
    seen: set[str] = set()
    while name is not None:
        if name in seen or not isinstance(known.get(name), dict):
            raise InputError(f"{folder / 'plans.json'}: configuration {name!r} cannot be followed")
        seen.add(name)
        found = {**known[name], **found}
        name = known[name].get("inherits_from")
    return found


def _labels(dataset: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise InputError(f"{path}: names no labels")
    if any(isinstance(value, list) for value in labels.values()):
        raise InputError(
            f"{path}: its labels are regions that overlap, each with a sigmoid of its own; load "
            "the network by source factory and say so there"
        )
    try:
        numbers = {int(value): str(name) for name, value in labels.items() if name != "ignore"}
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: labels must be whole numbers") from error
    if sorted(numbers) != list(range(len(numbers))):
        raise InputError(f"{path}: labels must be 0, 1, 2, ..., got {sorted(numbers)}")
    return tuple(numbers[number] for number in range(len(numbers)))


def _architecture(plan: Mapping[str, Any], path: Path) -> tuple[Any, dict[str, Any]]:
    """The class and its arguments, of new plans (`architecture`) or old ones."""
    told = plan.get("architecture")
    if isinstance(told, dict):
        name, given = str(told.get("network_class_name")), dict(told.get("arch_kwargs") or {})
    else:
        name, given = _before_architectures(plan, path)
    short = name.removeprefix(HOME)
    if short not in ARCHITECTURES:
        raise InputError(
            f"{path}: network_class_name {name!r} is not one of nnU-Net's; "
            f"{nearest(short, ARCHITECTURES)} (else load it by source factory)"
        )
    make = ARCHITECTURES[short]
    given = with_classes(make, given)
    if given.get("conv_op") is not nn.Conv2d:
        raise InputError(f"{path}: the configuration is not two-dimensional; choose a 2d one")
    return make, given


def _before_architectures(plan: Mapping[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """What plans said until nnU-Net 2.3, in the terms of later ones."""
    try:
        kernels = plan["conv_kernel_sizes"]
        base, most = plan["UNet_base_num_features"], plan["unet_max_num_features"]
        name = str(plan["UNet_class_name"])
        given = {
            "n_stages": len(kernels),
            "features_per_stage": [min(base * 2**i, most) for i in range(len(kernels))],
            "conv_op": f"torch.nn.Conv{len(kernels[0])}d",
            "kernel_sizes": kernels,
            "strides": plan["pool_op_kernel_sizes"],
            "n_conv_per_stage_decoder": plan["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.InstanceNorm{len(kernels[0])}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }
        residual = "Residual" in name
        given["n_blocks_per_stage" if residual else "n_conv_per_stage"] = plan[
            "n_conv_per_stage_encoder"
        ]
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: describes no architecture ({error} is missing)") from error
    return name, given


def _checkpoint(folder: Path, choice: Mapping[str, Any]) -> Path:
    folds = sorted(path.name.removeprefix("fold_") for path in folder.glob("fold_*"))
    fold = str(choice.get("fold", folds[0] if len(folds) == 1 else ""))
    if fold not in folds:
        listed = ", ".join(folds) or "none"
        raise InputError(
            f"{folder}: name the fold to study by model.arguments.fold; there are: {listed}"
        )
    name = Path(str(choice.get("checkpoint", "checkpoint_final.pth"))).name
    return folder / f"fold_{fold}" / name


def _stride(arguments: Mapping[str, Any]) -> int:
    """What sides must be multiples of: the product of all strides."""
    total = torch.ones(2, dtype=torch.int64)
    for stride in arguments["strides"]:
        total *= torch.as_tensor(stride, dtype=torch.int64)
    return int(total.max())
