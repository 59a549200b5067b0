"""What steps found out, as bytes and back: plain values, arrays, and the package's own dataclasses
and configured techniques.

Nothing is pickled. A file that names a class from elsewhere is refused, and what cannot be written,
as a process or a network, is not kept: the step that made it is taken again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel

from conceptseg.engine.classes import class_of, name_of
from conceptseg.engine.known import Known

Arrays = dict[str, np.ndarray]


class UnkeptError(Exception):
    """A value that cannot be written; the message says which."""


def written(known: Known) -> tuple[dict[str, Any], Arrays]:
    """What is known, as JSON and the arrays that it refers to by name.

    Raises :class:`UnkeptError`.
    """
    writer = _Writer()
    return {name: writer.node(value, name) for name, value in known.items()}, writer.arrays


def read_back(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray], packages: Any) -> Known:
    """What :func:`written` wrote; dataclasses are of `packages` (names of top-level packages).

    Raises ValueError, KeyError, TypeError, AttributeError or ImportError for what it did not write.
    """
    reader = _Reader(arrays, frozenset(packages))
    return Known({name: reader.value(node) for name, node in content.items()})


class _Writer:
    def __init__(self) -> None:
        self.arrays: Arrays = {}
        self._seen: dict[int, tuple[Any, str]] = {}

    def node(self, value: Any, where: str) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        kind: Any = type(value)
        if kind in (tuple, list):
            return {kind.__name__: [self.node(v, f"{where}[{n}]") for n, v in enumerate(value)]}
        if kind in (dict, Counter):
            pairs = [
                [self.node(k, where), self.node(v, f"{where}[{k!r}]")] for k, v in value.items()
            ]
            return {kind.__name__: pairs}
        if kind in (frozenset, set):
            return {kind.__name__: [self.node(one, where) for one in sorted(value, key=repr)]}
        return self._other(value, where)

    def _other(self, value: Any, where: str) -> Any:
        import torch

        if isinstance(value, bytes):
            return {"bytes": self._array(np.frombuffer(value, np.uint8), value)}
        if isinstance(value, np.generic):
            return {"number": self._array(np.asarray(value), value)}
        if type(value) is np.ndarray and not value.dtype.hasobject:
            return {"array": self._array(value, value)}
        if type(value) is torch.Tensor and value.dtype != torch.bfloat16 and not value.is_sparse:
            name = self._array(value.detach().cpu().numpy(), value)
            return {"tensor": name, "device": str(value.device)}
        if isinstance(value, PurePath):
            return {"path": str(value), "pure": type(value).__name__}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kind = type(value)
            fields = {
                one.name: self.node(getattr(value, one.name), f"{where}.{one.name}")
                for one in dataclasses.fields(value)
            }
            return {"class": name_of(kind), "fields": fields}
        if isinstance(value, BaseModel) and not value.__private_attributes__:
            return {"keys": value.model_dump_json(), "class": name_of(type(value))}
        raise UnkeptError(f"{where} is of type {type(value).__qualname__}")

    def _array(self, array: np.ndarray, value: Any) -> str:
        """Its name; one that several refer to is written once."""
        if id(value) not in self._seen:
            name = f"{len(self.arrays)}"
            self.arrays[name] = array
            self._seen[id(value)] = value, name  # kept, so that no other value has its id
        return self._seen[id(value)][1]


class _Reader:
    def __init__(self, arrays: Mapping[str, np.ndarray], packages: frozenset[str]) -> None:
        self.arrays, self.packages = arrays, packages
        self._made: dict[str, Any] = {}

    def value(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        tag = next(iter(node))
        return _READERS[tag](self, node)

    def several(self, node: Any) -> list[Any]:
        return [self.value(one) for one in next(iter(node.values()))]

    def pairs(self, node: Any) -> list[tuple[Any, Any]]:
        return [(self.value(k), self.value(v)) for k, v in next(iter(node.values()))]

    def array(self, node: Any) -> Any:
        return self.arrays[next(iter(node.values()))]

    def tensor(self, node: Any) -> Any:
        import torch

        name = node["tensor"]
        if name not in self._made:
            self._made[name] = torch.from_numpy(self.arrays[name]).to(node["device"])
        return self._made[name]

    def path(self, node: Any) -> Any:
        import pathlib

        kind = pathlib.Path if "Pure" not in node["pure"] else pathlib.PurePath
        return kind(node["path"])

    def model(self, node: Any) -> Any:
        kind = class_of(node["class"], self.packages)
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            raise ValueError(f"{node['class']} has no keys")
        return kind.model_validate_json(node["keys"])

    def instance(self, node: Any) -> Any:
        kind = class_of(node["class"], self.packages)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise ValueError(f"{node['class']} is no dataclass")
        # Made as it was, without what its making checks or derives: all fields are there.
        made: Any = object.__new__(kind)
        for field in dataclasses.fields(kind):
            object.__setattr__(made, field.name, self.value(node["fields"][field.name]))
        return made


_READERS: dict[str, Callable[[_Reader, Any], Any]] = {
    "tuple": lambda r, n: tuple(r.several(n)),
    "list": _Reader.several,
    "dict": lambda r, n: dict(r.pairs(n)),
    "Counter": lambda r, n: Counter(dict(r.pairs(n))),
    "frozenset": lambda r, n: frozenset(r.several(n)),
    "set": lambda r, n: set(r.several(n)),
    "bytes": lambda r, n: r.array(n).tobytes(),
    "number": lambda r, n: r.array(n)[()],
    "array": _Reader.array,
    "tensor": _Reader.tensor,
    "path": _Reader.path,
    "class": _Reader.instance,
    "keys": _Reader.model,
}
