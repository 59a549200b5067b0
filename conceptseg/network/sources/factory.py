"""Any network that a callable of yours returns: `name: "package.module:callable"`.

The callable gets `arguments` and returns a `torch.nn.Module`. An argument that names a class of
`torch.nn` (`torch.nn.Conv2d`) stands for the class, unless the callable asks for a string.
This imports and runs your own code, found as Python finds it or in the working folder.

mmsegmentation's networks come so too: `name: "mmseg.apis:init_model"` with `arguments` `config`
(their file) and `device: cpu`; the checkpoint goes to `weights`. What their `data_preprocessor`
does to images is done here, for their forward leaves it to its caller.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from conceptseg.config import ModelConfig, Preprocessing
from conceptseg.errors import InputError, nearest
from conceptseg.network.blame import Others, missing_module
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
    be imported, an attribute that it lacks (with the nearest), a callable that fails or returns
    something else.
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
    with _working_folder():
        found: Any = _import(path)
        for part in attribute.split("."):
            if not hasattr(found, part):
                public = [n for n in vars(found) if not n.startswith("_")]
                raise InputError(f"model.name: {path} has no {part!r}; {nearest(part, public)}")
            found = getattr(found, part)
    if not callable(found):
        raise InputError(f"model.name: {name} is a {type(found).__name__} and cannot be called")
    return found


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
