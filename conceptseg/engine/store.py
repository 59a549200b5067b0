"""Keeps what a run has finished, so that a killed one goes on where it stopped.

A shard's state is one safetensors file whose header holds, as JSON, which statistic each array
belongs to and a checksum of all of them. Beside it stands what was read to make it, so that files
which have changed since are noticed. Files lie on a shelf (:mod:`conceptseg.engine.shelf`), where
one that is there is whole; one that was damaged later is recognised by its checksum and computed
again.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from conceptseg.data.reads import Reads
from conceptseg.engine.carry import UnkeptError, read_back, written
from conceptseg.engine.classes import class_of, name_of
from conceptseg.engine.known import Known
from conceptseg.engine.shelf import Shelf, of_run
from conceptseg.result.saved import STATE
from conceptseg.stats.contract import Statistic

FOLDER = STATE
ENTRY, SUFFIX = "state", ".safetensors"
READS, STAMPS = "/reads", "/stamps"  # no statistic is called so
Groups = dict[str, dict[str, np.ndarray]]


def state_of(out: Path, store: str | None) -> Shelf:
    """Where the run that writes to `out` keeps what is finished until its result is saved: there,
    or under its name in a store."""
    return of_run(out, store).at(FOLDER)


class DamagedError(Exception):
    """A saved state that cannot be trusted; the reason is the message."""


@dataclass(frozen=True)
class Made:
    """The state of a part of a pass, or what a step found out, and what was read to make it.

    Where a machine with files of its own has made it, `host` is its name, and `stamps` what its
    rows say of each sample (SHA-256): to be held against this machine's before it counts.
    """

    known: Known
    reads: Reads
    host: str = ""
    stamps: Mapping[str, str] = field(default_factory=dict)


class ShardStore:
    """The saved shards of one pass, below `<pass>-<key>/` of a shelf.

    `packages` are the top-level packages whose statistics may be rebuilt; a file that names a class
    from anywhere else is refused. Goes to other processes, which save there too.
    """

    def __init__(self, shelf: Shelf, name: str, key: str, packages: frozenset[str]) -> None:
        self.shelf, self.folder = shelf, f"{name}-{key[:16]}"
        self.packages = packages | {"conceptseg"}

    def name(self, start: int, stop: int) -> str:
        """File of the shard that covers samples `start` to `stop` (exclusive) of the pass."""
        return f"{self.folder}/{start:07d}-{stop:07d}{SUFFIX}"

    def saved(self) -> list[tuple[int, int]]:
        """The ranges of samples of which there is a file, whatever it is worth."""
        stems = [one.removesuffix(SUFFIX) for one in self.shelf.names(self.folder)]
        ends = [stem.partition("-") for stem in stems]
        return [(int(start), int(stop)) for start, _, stop in ends if (start + stop).isdecimal()]

    def load(self, start: int, stop: int, written: str = "") -> Made | None:
        """The shard, or None when it was never saved.

        Raises :class:`DamagedError` when the file is there but not what was written: of that its
        SHA-256, if it is known.
        """
        return _loaded(self.shelf, self.name(start, stop), self._state, written)

    def _state(self, arrays: Groups, index: dict[str, Any]) -> Known:
        statistics = index["statistics"].items()
        return Known(
            {k: self._statistic(kind).from_arrays(arrays.get(k, {})) for k, kind in statistics}
        )

    def save(self, start: int, stop: int, made: Made) -> str:
        """Write the shard; either the whole file appears or nothing does. Its SHA-256.

        Raises :class:`~conceptseg.errors.InputError` when it cannot be written.
        """
        state = made.known.items()
        arrays = {key: dict(statistic.to_arrays()) for key, statistic in state}
        statistics = {key: name_of(type(value)) for key, value in state}
        content = _encode(arrays | _read_for(made), {"statistics": statistics, "host": made.host})
        self.shelf.write(self.name(start, stop), content)
        return hashlib.sha256(content).hexdigest()

    def _statistic(self, kind: str) -> type[Statistic]:
        try:
            found: type[Statistic] = class_of(kind, self.packages)
        except ValueError:
            raise DamagedError(f"the class {kind} is not a statistic of this study") from None
        return found


@dataclass(frozen=True)
class CarryStore:
    """What the steps of a run found out, a file for each, below `carry/` of a shelf.

    `packages` as of :class:`ShardStore`.
    """

    shelf: Shelf
    packages: frozenset[str]

    def load(self, name: str, key: str) -> Made | None:
        """What a step found out, or None when it was not kept.

        Raises :class:`DamagedError` when the file is there but not what was written.
        """
        return _loaded(self.shelf, _of_step(name, key), self._carry)

    def _carry(self, arrays: Groups, index: dict[str, Any]) -> Known:
        return read_back(index["carry"], arrays.get(ENTRY, {}), self.packages | {"conceptseg"})

    def save(self, name: str, key: str, made: Made) -> None:
        """Keep it, if it can be written as plain values.

        Raises :class:`~conceptseg.errors.InputError` when the file cannot be written.
        """
        try:
            content, arrays = written(made.known)
        except UnkeptError:
            return
        both = {ENTRY: arrays} | _read_for(made)
        self.shelf.write(_of_step(name, key), _encode(both, {"carry": content}))


def _of_step(name: str, key: str) -> str:
    return f"carry/{name}-{key[:16]}{SUFFIX}"


def _read_for(made: Made) -> Groups:
    """What was read, and what the rows of another machine say of it, as arrays."""
    stamps = {name: bytes.fromhex(stamp) for name, stamp in made.stamps.items()}
    told = {STAMPS: Reads({STAMPS: stamps}).to_arrays()} if stamps else {}
    return {READS: made.reads.to_arrays()} | told


def _loaded(
    shelf: Shelf, name: str, build: Callable[[Groups, dict[str, Any]], Known], sha256: str = ""
) -> Made | None:
    """What a file holds, or None where there is none; raises :class:`DamagedError`."""
    content = shelf.read(name)
    if content is None:
        return None
    file = name.rpartition("/")[2]
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedError(f"{file}: it holds other bytes than were written")
    arrays, index = _read(file, content)
    try:
        stamps = Reads.from_arrays(arrays.get(STAMPS, {})).digests.get(STAMPS, {})
        return Made(
            build(arrays, index),
            Reads.from_arrays(arrays.get(READS, {})),
            str(index.get("host", "")),
            {one: stamp.hex() for one, stamp in stamps.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise DamagedError(f"{file}: {error}") from error


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


def _read(file: str, content: bytes) -> tuple[Groups, dict[str, Any]]:
    """Arrays by statistic and name, and the index; raises :class:`DamagedError`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
        # As the format has it: eight bytes say how long its header is.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        index = json.loads(header["__metadata__"][ENTRY])
        given = index.pop("checksum")
        if given != _checksum(index, tensors):
            raise DamagedError(f"{file}: its checksum does not fit")
        arrays: Groups = defaultdict(dict)
        for place, (key, name, dtype, shape, order) in enumerate(index["layout"]):
            raw = tensors[f"{place:05d}"].tobytes()
            flat = np.frombuffer(raw, dtype=np.dtype(dtype))
            arrays[key][name] = flat.reshape(shape, order=order).copy(order="K")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{file}: {error}") from error
    return arrays, index


def _checksum(index: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    hasher = hashlib.sha256(json.dumps(index, sort_keys=True).encode())
    for name in sorted(tensors):
        hasher.update(name.encode())
        hasher.update(tensors[name].tobytes())
    return hasher.hexdigest()
