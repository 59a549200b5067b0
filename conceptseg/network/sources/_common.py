"""What the sources share: class names, weights, and clear words when a constructor refuses."""

import contextlib
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.data.labels import plain_name
from conceptseg.errors import InputError, few, nearest
from conceptseg.network.blame import Others
from conceptseg.network.fit import load_weights
from conceptseg.network.leftover import listed
from conceptseg.network.model import SegmentationModel
from conceptseg.network.plain import in_float32, plain

PRETRAINED = "pretrained:"


def class_names(
    config: ModelConfig, manifest_classes: Sequence[str], own: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Names of a network's outputs: the configuration's, else its own, else the manifest's.

    `own` are names that come with trained weights; one that is given to several outputs (COCO's
    "N/A") gets their numbers. They are taken where the masks' classes are among them. A manifest
    that names others would be read under wrong names, so it is refused unless the configuration
    settles it.

    Raises :class:`~conceptseg.errors.InputError` for that, and when nobody names any.
    """
    if config.classes:
        return config.classes
    own = _told_apart(own or ())
    if own and manifest_classes and _plain(own) != _plain(manifest_classes):
        if len(own) > len(manifest_classes) and {*_plain(manifest_classes)} <= {*_plain(own)}:
            return own
        raise InputError(
            f"model {config.name!r}: its weights know {len(own)} classes ({few(own, 3)}), the "
            f"manifest has {len(manifest_classes)} ({few(manifest_classes, 3)}); list the "
            "network's in model.classes"
        )
    names = tuple(manifest_classes) or own
    if not names:
        raise InputError(
            f"model {config.name!r}: no class names; list the network's in model.classes"
        )
    return names


def _told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that several outputs share with the output's index behind."""
    counts = Counter(names)
    return tuple(n if counts[n] == 1 else f"{n} ({index})" for index, n in enumerate(names))


def _plain(names: Sequence[str]) -> list[str]:
    return list(map(plain_name, names))


def outputs(config: ModelConfig, names: Sequence[str]) -> int:
    """Output maps to build: one for a sigmoid head, which `positive_class` asks for, else all."""
    independent = (config.values or "").startswith("independent")
    return 1 if config.positive_class is not None and not independent else len(names)


def pretrained(config: ModelConfig) -> str | None:
    """NAME of `weights: pretrained:NAME`, else None."""
    if config.weights is None or not config.weights.startswith(PRETRAINED):
        return None
    name = config.weights.removeprefix(PRETRAINED)
    if not name:
        raise InputError("model.weights: give a name after 'pretrained:', such as DEFAULT")
    return name


def build(
    make: Callable[..., Any], what: str, arguments: Mapping[str, Any], *, named_only: bool = False
) -> Any:
    """`make(**arguments)`; arguments it does not know or take become an input error.

    Errors from inside are told by :mod:`conceptseg.network.blame`.
    `named_only` refuses arguments that only a catch-all `**kwargs` would swallow.
    """
    known = parameters_of(make, named_only)
    unknown = [name for name in arguments if known is not None and name not in known]
    if unknown:
        raise InputError(
            f"model.arguments: {what} takes no {unknown[0]!r}; {nearest(unknown[0], known or ())}"
        )
    with Others(f"{what} could not be built", cure="check model.arguments"), quiet():
        return make(**arguments)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a network's code prints goes to the error stream: the output stream is the command's."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def finish(
    config: ModelConfig,
    module: nn.Module,
    names: Sequence[str],
    *,
    own: Preprocessing | None = None,
    channels: int | None = None,
    origin: str | None = None,
    remarks: Sequence[str] = (),
) -> SegmentationModel:
    """Fill a network with the configured checkpoint, if one is, and wrap it.

    `own` is the preprocessing that the source knows; the configuration's goes first. `origin`
    says where weights come from that are in the network already, `remarks` what else is to be known
    of them. A network in a file is called by the file's name, for reports tell no folders.
    """
    if origin is None and config.weights is not None:
        with Others(f"model {config.name!r} cannot take weights"):
            module = plain(module)
            left = load_weights(module, config.weights, config.weights_key)
        origin = Path(config.weights).name
        if left:
            remarks = (*remarks, f"left out of the checkpoint: {listed(left)}")
    with Others(f"model {config.name!r} cannot be turned to float32"):
        remarks = (*remarks, *in_float32(module))
    return SegmentationModel(
        module,
        names,
        config.preprocessing or own,
        name=Path(config.name).name if Path(config.name).is_absolute() else config.name,
        channels=None if (config.preprocessing and config.preprocessing.channels) else channels,
        positive_class=config.positive_class,
        origin=origin or "random",
        reading=config.reading,
        remarks=remarks,
    )


def no_weights(config: ModelConfig, kind: str) -> None:
    """Refuse `weights` for a source whose file holds them already."""
    if config.weights is not None:
        raise InputError(f"model.weights: {kind} carries its weights itself; leave the key out")


def no_arguments(config: ModelConfig, kind: str) -> None:
    """Refuse `arguments` for a source that constructs nothing."""
    if config.arguments:
        raise InputError(f"model.arguments: {kind} takes none; leave the key out")


def existing(name: str, kind: str) -> Path:
    """The file `name`.

    Raises :class:`~conceptseg.errors.InputError` when there is none.
    """
    path = Path(name)
    if not path.is_file():
        raise InputError(f"model.name: {path}: no such {kind} file")
    return path


def parameters_of(make: Callable[..., Any], named_only: bool = False) -> list[str] | None:
    """Names of keyword arguments; None when any name may be taken, unless `named_only`.

    Of a class whose constructor has a catch-all those of the classes that it is made from as well.
    """
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return None
    rest = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if not named_only and rest:
        return None
    passed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [p.name for p in parameters if p.kind in passed]
    if rest and isinstance(make, type):
        for base in make.__bases__:
            names += parameters_of(base, named_only) or []
    return names


def with_classes(make: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in which names of `torch.nn`'s modules are these classes.

    YAML and JSON have no classes, so `torch.nn.modules.conv.Conv2d` stands for one, unless the
    parameter is annotated as a string.
    """
    try:
        known = dict(inspect.signature(make).parameters)
    except (TypeError, ValueError):
        known = {}
    strings = {name for name, one in known.items() if one.annotation in (str, "str")}
    return {
        key: value if key in strings else torch_class(value) or value
        for key, value in arguments.items()
    }


def torch_class(name: Any) -> type[nn.Module] | None:
    """The class of `torch.nn` that a dotted name such as `torch.nn.Conv2d` stands for, else None.

    Nothing is imported for it.
    """
    if not isinstance(name, str) or not name.startswith("torch.nn."):
        return None
    found: Any = nn
    for part in name.split(".")[2:]:
        found = vars(found).get(part) if inspect.ismodule(found) else None
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None
