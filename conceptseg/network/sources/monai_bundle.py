"""A MONAI bundle: `name` is its folder, with configs/inference.json and models/model.pt.

The configuration is read as data: `network_def` must name a class of `monai.networks.nets`, its
arguments must be values or references (`@channels`) to values. Expressions (`$...`) are never
evaluated; give what they stand for in `arguments`, which go before the bundle's. Class names come
from configs/metadata.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai.networks.nets as nets
from torch import nn

from conceptseg.config import ModelConfig
from conceptseg.errors import InputError, check_regular, nearest
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import build, class_names, finish, pretrained
from conceptseg.plain import plain_json
from conceptseg.settings import read_yaml

CONFIGS = ("inference", "train")
NETWORKS = ("network_def", "net_def", "network", "net", "model")
WEIGHTS = "models/model.pt"
INTENSITIES = (
    "Normalize",
    "ScaleIntensity",
    "HistogramNormalize",
    "AdjustContrast",
    "ClipIntensity",
)
"""What names of transforms begin with that change intensities."""
DEEPEST = 20


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The network of the bundle `config.name`, with its weights unless `config.weights` is given.

    Raises :class:`~conceptseg.errors.InputError` for a folder that is no bundle, a network that is
    not MONAI's or not two-dimensional, arguments that are expressions, and intensities that the
    bundle changes while `model.preprocessing` says nothing of them.
    """
    if pretrained(config) is not None:
        raise InputError("model.weights: a bundle has no named weights; leave the key out")
    folder = Path(config.name)
    path, content = _read_config(folder)
    told = next((content[key] for key in NETWORKS if isinstance(content.get(key), dict)), None)
    if told is None:
        raise InputError(f"{path}: has no network_def; load the network by source monai")
    make = _class(told, path)
    given = {
        key: value
        for key, value in told.items()
        if key not in config.arguments and key not in ("_target_", "_disabled_", "_desc_", "name")
    }
    arguments = {**{key: _value(value, content, path, key) for key, value in given.items()},
                 **config.arguments}  # fmt: skip
    if arguments.get("spatial_dims", 2) != 2:
        raise InputError(f"{path}: the network has {arguments['spatial_dims']} dimensions, not two")
    _check_intensities(config, content, path)
    names = class_names(config, classes, _names(folder / "configs" / "metadata.json"))
    module: nn.Module = build(make, f"MONAI's {make.__name__}", arguments, named_only=True)
    weights = config.weights or str(folder / WEIGHTS)
    return finish(
        config.model_copy(update={"weights": weights}),
        module,
        names,
        channels=arguments.get("in_channels"),
    )


def _read_config(folder: Path) -> tuple[Path, dict[str, Any]]:
    for name in CONFIGS:
        for suffix in (".json", ".yaml", ".yml"):
            path = folder / "configs" / f"{name}{suffix}"
            if path.is_file():
                return path, _read(path)
    raise InputError(
        f"model.name: {folder}: no MONAI bundle, which holds configs/inference.json or .yaml"
    )


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".json":
        return read_yaml(path)
    check_regular(path)
    try:
        content = plain_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold an object")
    return content


def _class(told: Mapping[str, Any], path: Path) -> Any:
    """The class that `_target_` names, among those of `monai.networks.nets` alone."""
    name = str(told.get("_target_", told.get("name", "")))
    known = {
        key: value
        for key, value in vars(nets).items()
        if isinstance(value, type) and issubclass(value, nn.Module)
    }
    module, _, short = name.rpartition(".")
    if short not in known or not (module == "" or f"{module}.".startswith("monai.networks.nets.")):
        raise InputError(
            f"{path}: its network is {name!r}, which is not one of monai.networks.nets; "
            f"{nearest(short, known)} (else load it by source factory)"
        )
    return known[short]


def _value(value: Any, content: Mapping[str, Any], path: Path, key: str, depth: int = 0) -> Any:
    """A value with its references followed; expressions and objects are refused."""
    if depth > DEEPEST:
        raise InputError(f"{path}: network_def.{key}: its references lead in a circle")
    if isinstance(value, list):
        return [_value(one, content, path, key, depth + 1) for one in value]
    if isinstance(value, dict) and "_target_" not in value:
        return {name: _value(one, content, path, key, depth + 1) for name, one in value.items()}
    if isinstance(value, str) and value.startswith("@"):
        found: Any = content
        for part in value[1:].replace("::", "#").split("#"):
            if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            elif isinstance(found, dict) and part in found:
                found = found[part]
            else:
                raise InputError(f"{path}: network_def.{key}: {value!r} leads nowhere")
        return _value(found, content, path, key, depth + 1)
    if isinstance(value, dict) or (isinstance(value, str) and value[:1] in "$%" and value):
        told = value if isinstance(value, str) else f"a {value.get('_target_')}"
        raise InputError(
            f"{path}: network_def.{key} is {told!r}, which would have to be run; give its value in "
            f"model.arguments.{key}"
        )
    return value


def _check_intensities(config: ModelConfig, content: Mapping[str, Any], path: Path) -> None:
    """Refuse a bundle that changes intensities while nobody says how; nothing is guessed."""
    steps = content.get("preprocessing") or {}
    listed = steps.get("transforms", ()) if isinstance(steps, dict) else steps
    kinds = [
        str(step.get("_target_", "")).rpartition(".")[2]
        for step in (listed if isinstance(listed, list) else ())
        if isinstance(step, dict) and not step.get("_disabled_")
    ]
    found = [kind for kind in kinds if kind.startswith(INTENSITIES)]
    if found and config.preprocessing is None:
        raise InputError(
            f"{path}: its preprocessing changes intensities ({', '.join(found)}); say it in "
            "model.preprocessing ({} if images in [0, 1] are right as they are)"
        )


def _names(path: Path) -> tuple[str, ...] | None:
    """Class names in a bundle's metadata: the channels of its one output, by number."""
    if not path.is_file():
        return None
    outputs: Any = _read(path)
    for key in ("network_data_format", "outputs"):
        outputs = outputs.get(key) if isinstance(outputs, dict) else None
    first = next(iter(outputs.values()), None) if isinstance(outputs, dict) else None
    told = first.get("channel_def") if isinstance(first, dict) else None
    if not isinstance(told, dict) or sorted(told) != sorted(map(str, range(len(told)))):
        return None
    names = tuple(str(told[str(index)]) for index in range(len(told)))
    return names if len(set(names)) == len(names) > 1 else None
