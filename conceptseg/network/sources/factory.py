"""Any network that a callable of yours returns: `name: "package.module:callable"`.

The callable gets `arguments` and returns a `torch.nn.Module`. An argument that names a class of
`torch.nn` (`torch.nn.Conv2d`) stands for the class, unless the callable asks for a string.
This imports and runs that package's code with your rights, found as Python finds it or in the
working folder: a study's file that names a factory is a program. What makes no networks is refused:
Python's own library, classes that are no modules, functions of torch itself and of installed
packages that do not use it.

mmsegmentation's networks come so too: `name: "mmseg.apis:init_model"` with `arguments` `config`
(their file) and `device: cpu`; the checkpoint goes to `weights`. What their `data_preprocessor`
does to images is done here, for their forward leaves it to its caller.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError, nearest
from conceptseg.network.blame import PACKAGES, Others, missing_module
from conceptseg.network.model import SegmentationModel
from conceptseg.network.sources._common import (
    build,
    class_names,
    finish,
    pretrained,
    quiet,
    with_classes,
)


def load(config: ModelConfig, classes: Sequence[str]) -> SegmentationModel:
    """The network that the callable `config.name` returns.

    Raises :class:`~conceptseg.errors.InputError` for a name without a colon, a module that cannot
    be imported, an attribute that it lacks (with the nearest), what cannot be a network's, a
    callable that fails or returns something else.
    """
    if pretrained(config) is not None:
        raise InputError("model.weights: a factory has no named weights; give a checkpoint file")
    make = _find(config.name)
    names = class_names(config, classes)
    with _working_folder():
        module = build(make, config.name, with_classes(make, config.arguments))
    if not isinstance(module, nn.Module):
        raise InputError(
            f"model.name: {config.name} returned a {type(module).__name__}; it must return a "
            "torch.nn.Module"
        )
    return finish(config, module, names, own=_preprocessing(module))


def _preprocessing(module: nn.Module) -> Preprocessing | None:
    """That of mmsegmentation's `data_preprocessor`, for RGB images where it reads BGR; else None.

    Its mean and standard deviation are on a scale to 255.
    """
    own = getattr(module, "data_preprocessor", None)
    if not isinstance(own, nn.Module) or not hasattr(own, "channel_conversion"):
        return None
    given = {
        name: tuple(getattr(own, name).flatten().tolist())
        for name in ("mean", "std")
        if hasattr(own, name)
    }
    channels = None if own.channel_conversion else (2, 1, 0)
    return Preprocessing(range=(0.0, 255.0), channels=channels, **given)


def _find(name: str) -> Callable[..., Any]:
    path, colon, attribute = name.partition(":")
    if not colon or not path or not attribute:
        raise InputError(f"model.name: {name!r} must read 'package.module:callable'")
    if path.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(
            f"model.name: {path} is of Python's own library and makes no network (call a file of "
            "yours otherwise)"
        )
    with _working_folder():
        found: Any = _import(path)
        for part in attribute.split("."):
            if not hasattr(found, part):
                public = [n for n in vars(found) if not n.startswith("_")]
                raise InputError(f"model.name: {path} has no {part!r}; {nearest(part, public)}")
            found = getattr(found, part)
    if not callable(found):
        raise InputError(f"model.name: {name} is a {type(found).__name__} and cannot be called")
    _check_maker(found, name)
    return found


def _check_maker(found: Any, name: str) -> None:
    """Refuse what returns no network, whatever it is given, and could do anything else."""
    made = found
    while isinstance(made, partial):
        made = made.func
    if isinstance(made, type) and issubclass(made, nn.Module):
        return
    home = getattr(made, "__module__", None) or type(getattr(made, "__self__", made)).__module__
    package = str(home).partition(".")[0]
    if package in sys.stdlib_module_names:
        raise InputError(f"model.name: {name} is of Python's own library and makes no network")
    if isinstance(made, type):
        raise InputError(f"model.name: {name} is a class, but no torch.nn.Module")
    if package == "torch" or (_installed(package) and not _uses_torch(package)):
        raise InputError(
            f"model.name: {name} is of {package}, which makes no networks; name a class, or a "
            "function of yours that returns one"
        )


def _installed(package: str) -> bool:
    """Whether a package is none of the user's own."""
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return bool(PACKAGES.intersection(Path(file).parts))


def _uses_torch(package: str) -> bool:
    """Whether any module of a package that was imported has imported torch or its modules."""
    within = f"{package}."
    loaded = [one for name, one in sys.modules.items() if f"{name}.".startswith(within)]
    return any(
        value is torch or value is nn or value is nn.Module
        for module in loaded
        for value in list(vars(module).values())
    )


def _import(path: str) -> Any:
    try:
        with Others(f"model.name: importing {path} failed"), quiet():
            return importlib.import_module(path)
    except InputError as error:
        missing = missing_module(error)
        if missing is not None and (path == missing or path.startswith(missing + ".")):
            raise InputError(
                f"model.name: no module {missing!r}; start in the folder that holds it or install "
                "its package"
            ) from error
        raise


@contextmanager
def _working_folder() -> Iterator[None]:
    """The working folder on Python's path, as `python -m` has it and an installed command not."""
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
