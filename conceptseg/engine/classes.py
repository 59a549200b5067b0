"""Classes by their names, as files and other processes are told them: `module:qualified.name`."""

from collections.abc import Container
from importlib import import_module
from typing import Any


def name_of(kind: type) -> str:
    """The name by which :func:`class_of` finds a class."""
    return f"{kind.__module__}:{kind.__qualname__}"


def class_of(name: str, packages: Container[str] | None = None) -> Any:
    """The class of a name; of one of these top-level packages, if they are given.

    Raises ValueError for one of another, ImportError or AttributeError where there is none.
    """
    module, _, path = name.partition(":")
    if packages is not None and module.partition(".")[0] not in packages:
        raise ValueError(f"the class {name} is not of this study")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found
