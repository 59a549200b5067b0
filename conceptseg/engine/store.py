"""Keeps on disk what a run has finished, so that a killed one goes on where it stopped.

A shard's state is one safetensors file whose header holds, as JSON, which statistic each array
belongs to and a checksum of all of them. Beside it stands what was read to make it, so that files
which have changed since are noticed. Files appear by an atomic rename: one that is there is whole,
and one that was damaged later is recognised by its checksum and computed again.
"""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from conceptseg.data.reads import Reads
from conceptseg.engine.carry import UnkeptError, read_back, written
from conceptseg.engine.classes import class_of, name_of
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.result.folder import replace_file
from conceptseg.result.saved import STATE
from conceptseg.stats.contract import Statistic

FOLDER = STATE
ENTRY = "state"
READS = "/reads"  # no statistic is called so
Groups = dict[str, dict[str, np.ndarray]]


class DamagedError(Exception):
    """A saved state that cannot be trusted; the reason is the message."""


@dataclass(frozen=True)
class Made:
    """The state of a part of a pass, or what a step found out, and what was read to make it."""

    known: Known
    reads: Reads


class ShardStore:
    """The saved shards of one pass, under `<out>/.state/<pass>-<key>/`.

    `packages` are the top-level packages whose statistics may be rebuilt; a file that names a class
    from anywhere else is refused.
    """

    def __init__(self, out: Path, name: str, key: str, packages: frozenset[str]) -> None:
        self.folder = out / FOLDER / f"{name}-{key[:16]}"
        self.packages = packages | {"conceptseg"}

    def path(self, start: int, stop: int) -> Path:
        """File of the shard that covers samples `start` to `stop` (exclusive) of the pass."""
        return self.folder / f"{start:07d}-{stop:07d}.safetensors"

    def saved(self) -> list[tuple[int, int]]:
        """The ranges of samples of which there is a file, whatever it is worth."""
        names = (path.stem.partition("-") for path in self.folder.glob("[0-9]*-*.safetensors"))
        return [(int(start), int(stop)) for start, _, stop in names if (start + stop).isdecimal()]

    def load(self, start: int, stop: int) -> Made | None:
        """The shard, or None when it was never saved.

        Raises :class:`DamagedError` when the file is there but not what was written.
        """
        return _loaded(self.path(start, stop), self._state)

    def _state(self, arrays: Groups, index: dict[str, Any]) -> Known:
        statistics = index["statistics"].items()
        return Known(
            {k: self._statistic(kind).from_arrays(arrays.get(k, {})) for k, kind in statistics}
        )

    def save(self, start: int, stop: int, made: Made) -> None:
        """Write the shard; either the whole file appears or nothing does.

        Raises :class:`~conceptseg.errors.InputError` when the disk is full or not writable.
        """
        state = made.known.items()
        arrays = {key: dict(statistic.to_arrays()) for key, statistic in state}
        statistics = {key: name_of(type(value)) for key, value in state}
        arrays[READS] = made.reads.to_arrays()
        content = _encode(arrays, {"statistics": statistics})
        _make(self.folder)
        replace_file(self.path(start, stop), content)

    def _statistic(self, kind: str) -> type[Statistic]:
        try:
            found: type[Statistic] = class_of(kind, self.packages)
        except ValueError:
            raise DamagedError(f"the class {kind} is not a statistic of this study") from None
        return found


@dataclass(frozen=True)
class CarryStore:
    """What the steps of a run found out, a file for each, under `<out>/.state/carry/`.

    `packages` as of :class:`ShardStore`.
    """

    out: Path
    packages: frozenset[str]

    def _path(self, name: str, key: str) -> Path:
        return self.out / FOLDER / "carry" / f"{name}-{key[:16]}.safetensors"

    def load(self, name: str, key: str) -> Made | None:
        """What a step found out, or None when it was not kept.

        Raises :class:`DamagedError` when the file is there but not what was written.
        """
        return _loaded(self._path(name, key), self._carry)

    def _carry(self, arrays: Groups, index: dict[str, Any]) -> Known:
        return read_back(index["carry"], arrays.get(ENTRY, {}), self.packages | {"conceptseg"})

    def save(self, name: str, key: str, made: Made) -> None:
        """Keep it, if it can be written as plain values.

        Raises :class:`~conceptseg.errors.InputError` when the disk is full or not writable.
        """
        try:
            content, arrays = written(made.known)
        except UnkeptError:
            return
        path = self._path(name, key)
        _make(path.parent)
        both = {ENTRY: arrays, READS: made.reads.to_arrays()}
        replace_file(path, _encode(both, {"carry": content}))


def clear(out: Path) -> None:
    """Remove all saved shards of an output folder."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _loaded(path: Path, build: Callable[[Groups, dict[str, Any]], Known]) -> Made | None:
    """What a file holds, or None where there is none; raises :class:`DamagedError`."""
    if not path.is_file():
        return None
    arrays, index = _read(path)
    try:
        return Made(build(arrays, index), Reads.from_arrays(arrays.get(READS, {})))
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise DamagedError(f"{path.name}: {error}") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror}; choose another folder with --out"
        ) from error


def _encode(arrays: Mapping[str, Mapping[str, np.ndarray]], index: dict[str, Any]) -> bytes:
    """All arrays as raw bytes in one safetensors file; dtypes and shapes are in the index.

    Raw bytes rather than typed tensors: safetensors has no text and no complex numbers.
    """
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    layout: list[tuple[str, str, str, list[int], Literal["C", "F"]]] = []
    for key, group in arrays.items():
        for name, value in group.items():
            array = np.asarray(value)
            if array.dtype.hasobject:
                raise TypeError(f"statistic {key!r}: array {name!r} holds Python objects")
            # Sums over what lies otherwise in memory differ in their last bits.
            by_columns = array.flags.f_contiguous and not array.flags.c_contiguous
            order: Literal["C", "F"] = "F" if by_columns else "C"
            layout.append((key, name, array.dtype.str, list(array.shape), order))
            raw = np.frombuffer(array.tobytes(order), dtype=np.uint8)
            tensors[f"{len(layout) - 1:05d}"] = raw
    whole = {**index, "layout": layout}
    whole["checksum"] = _checksum(whole, tensors)
    return save(tensors, metadata={ENTRY: json.dumps(whole)})


def _read(path: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Arrays by statistic and name, and the index; raises :class:`DamagedError`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            index = json.loads((file.metadata() or {})[ENTRY])
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}  # noqa: SIM118
        given = index.pop("checksum")
        if given != _checksum(index, tensors):
            raise DamagedError(f"{path.name}: its checksum does not fit")
        arrays: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        for place, (key, name, dtype, shape, order) in enumerate(index["layout"]):
            raw = tensors[f"{place:05d}"].tobytes()
            flat = np.frombuffer(raw, dtype=np.dtype(dtype))
            arrays[key][name] = flat.reshape(shape, order=order).copy(order="K")
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise DamagedError(f"{path.name}: {error}") from error
    return arrays, index


def _checksum(index: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    hasher = hashlib.sha256(json.dumps(index, sort_keys=True).encode())
    for name in sorted(tensors):
        hasher.update(name.encode())
        hasher.update(tensors[name].tobytes())
    return hasher.hexdigest()
