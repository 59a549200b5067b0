"""nnU-Net v2 from its folder: plans.json, dataset.json and fold_N/checkpoint_final.pth in `name`.

`arguments`: `fold` (0, or "all", or a list of several), `checkpoint` (`checkpoint_best.pth`) and
`configuration` (`2d`) choose among several. Of several folds the mean of the logits counts, as
nnU-Net takes it. Labels that are regions are independent classes: one is studied, named by
`model.positive_class`, and covers the regions that lie within it. Two-dimensional configurations
only; the whole image at once, without mirroring, and on the images' own pixels: `check` says where
those are of another size in mm than the plans'. The architecture is built by
`dynamic_network_architectures` as the plans describe it; nothing in the folder is run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dynamic_network_architectures.architectures.unet as unets
import torch
from torch import Tensor, nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError, check_regular, nearest
from conceptseg.network.blame import Others
from conceptseg.network.fit import load_weights
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import (
    build,
    class_names,
    finish,
    no_weights,
    with_classes,
)
from conceptseg.plain import plain_json

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
    configuration of three dimensions, several folds to choose from, regions of which none is
    chosen, and intensities that nnU-Net changes in a way that only `model.preprocessing` can say.
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
    own_names, regions = _labels(dataset, folder / "dataset.json")
    names = class_names(config, () if regions else classes, own_names)
    if regions:
        config = _independent(config, names, regions)
    channels = len(dataset.get("channel_names") or dataset.get("modality") or {}) or 1
    make, arguments = _architecture(plan, folder / "plans.json")
    arguments |= {
        "input_channels": channels, "num_classes": len(own_names), "deep_supervision": False,
    }  # fmt: skip
    files = _checkpoints(folder, config.arguments)
    modules = [build(make, f"nnU-Net's {make.__name__}", arguments) for _ in files]
    own = Preprocessing(multiple=_stride(arguments))
    if config.preprocessing is None:
        own = own.model_copy(update={"normalise": _normalise(plan, folder / "plans.json")})
    for module, file in zip(modules, files, strict=True):
        with Others(f"model {config.name!r} cannot take weights"):
            load_weights(module, file, config.weights_key)
    folds = ", ".join(file.parent.name for file in files)
    together = "alone" if len(files) == 1 else "together, the mean of their logits"
    model = finish(
        config,
        modules[0] if len(files) == 1 else Folds(modules),
        names,
        own=own,
        channels=channels,
        origin=files[0].name,
        remarks=[f"{folds} {together}, without mirroring"],
    )
    model.spacing = _spacing(plan, folder / "plans.json")
    return model


class Folds(nn.Module):
    """Networks that were trained on different parts of the data: the mean of their logits."""

    def __init__(self, folds: Sequence[nn.Module]):
        super().__init__()
        self.folds = nn.ModuleList(folds)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([fold(x) for fold in self.folds]).mean(0)


def _independent(
    config: ModelConfig, names: Sequence[str], regions: Sequence[frozenset[int]]
) -> ModelConfig:
    """The configuration for regions: a sigmoid each, a region covering those that lie within it."""
    if config.values not in (None, "independent"):
        raise InputError(
            f"model.values is {config.values}, but the labels of {config.name} are regions, each "
            "with a logit of its own: leave the key out"
        )
    within = {
        name: tuple(n for n, other in zip(names, regions, strict=True) if other < region)
        for name, region in zip(names, regions, strict=True)
    }
    covers = config.covers or {name: inner for name, inner in within.items() if inner}
    return config.model_copy(update={"values": "independent", "covers": covers})


def _spacing(plan: Mapping[str, Any], path: Path) -> tuple[float, float] | None:
    """Height and width of a pixel in mm, as the network was trained; None where no unit is told."""
    told = plan.get("spacing")
    if told is None:
        return None
    try:
        height, width = (float(one) for one in told[-2:])
    except (TypeError, ValueError):
        raise InputError(f"{path}: spacing must be numbers, got {told!r}") from None
    return None if height == width == 1 else (height, width)  # as plain pictures have it


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
    check_regular(path)
    try:
        content = plain_json(path.read_text(encoding="utf-8"))
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


def _labels(
    dataset: Mapping[str, Any], path: Path
) -> tuple[tuple[str, ...], tuple[frozenset[int], ...]]:
    """Names of the outputs, and of regions the labels that each is made of, else none."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise InputError(f"{path}: names no labels")
    if any(isinstance(value, list) and len(value) > 1 for value in labels.values()):
        parts = {
            str(name): frozenset(value if isinstance(value, list) else [value])
            for name, value in labels.items()
            if name != "ignore"
        }
        if not all(type(one) is int and one >= 0 for part in parts.values() for one in part):
            raise InputError(f"{path}: labels must be whole numbers, or lists of them")
        regions = {name: part for name, part in parts.items() if part != {0}}
        return tuple(regions), tuple(regions.values())
    labels = {k: v[0] if isinstance(v, list) and v else v for k, v in labels.items()}
    try:
        numbers = {int(value): str(name) for name, value in labels.items() if name != "ignore"}
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: labels must be whole numbers") from error
    if sorted(numbers) != list(range(len(numbers))):
        raise InputError(f"{path}: labels must be 0, 1, 2, ..., got {sorted(numbers)}")
    return tuple(numbers[number] for number in range(len(numbers))), ()


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


def _checkpoints(folder: Path, choice: Mapping[str, Any]) -> list[Path]:
    there = sorted(path.name.removeprefix("fold_") for path in folder.glob("fold_*"))
    wanted = choice.get("fold", there[0] if len(there) == 1 else "")
    folds = [str(fold) for fold in (wanted if isinstance(wanted, list | tuple) else [wanted])]
    if not folds or len(set(folds)) < len(folds) or not set(folds) <= set(there):
        listed = ", ".join(there) or "none"
        raise InputError(
            f"{folder}: name the fold to study by model.arguments.fold, or several as a list; "
            f"there are: {listed}"
        )
    name = Path(str(choice.get("checkpoint", "checkpoint_final.pth"))).name
    return [folder / f"fold_{fold}" / name for fold in folds]


def _stride(arguments: Mapping[str, Any]) -> int:
    """What sides must be multiples of: the product of all strides."""
    total = torch.ones(2, dtype=torch.int64)
    for stride in arguments["strides"]:
        total *= torch.as_tensor(stride, dtype=torch.int64)
    return int(total.max())
