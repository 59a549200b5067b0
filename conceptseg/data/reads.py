"""What was read of each sample: SHA-256 of its files, or of what was drawn where there are none.

A :class:`Reads` holds what a part of a run has read, a :class:`~conceptseg.data.ledger.Ledger` what
all of it has. Whatever is read through a manifest is recorded by the one that is in force
(:func:`recording`), in threads that read ahead too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from conceptseg.data.hashed import changed

IMAGE, LABELS = "image", "labels"
"""What is read of a sample. Further kinds are files beside it, by the key that names them."""


class Filed(Protocol):
    """A sample (:class:`conceptseg.data.manifest.Sample`), by its files."""

    @property
    def id(self) -> str: ...
    @property
    def image(self) -> tuple[Path, ...]: ...
    @property
    def mask(self) -> Path | None: ...
    @property
    def masks(self) -> tuple[tuple[str, Path], ...]: ...


class Records(Protocol):
    """What keeps digests as they come, from any thread."""

    def record(self, kind: str, sample: Filed, digest: bytes, file: str) -> None:
        """SHA-256 of what was read of a sample, `file` naming it in messages.

        Raises :class:`~conceptseg.errors.InputError` where it had another one before.
        """


_IN_FORCE: ContextVar[Records | None] = ContextVar("records", default=None)


@contextmanager
def recording(records: Records) -> Iterator[None]:
    """What is read inside is recorded here, and nowhere else."""
    token = _IN_FORCE.set(records)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


@dataclass(frozen=True)
class Reads:
    """What was read for a part: {kind: {sample's id: SHA-256}}, 32 bytes each."""

    digests: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def record(self, kind: str, sample: Filed, digest: bytes, file: str) -> None:
        of_kind = self.digests.setdefault(kind, {})
        if of_kind.setdefault(sample.id, digest) != digest:
            raise changed(file)

    def rows(self, kind: str) -> np.ndarray:
        """The digests of a kind, uint8 [n, 32], in the order of the ids."""
        told = self.digests[kind].values()
        return np.frombuffer(b"".join(told), np.uint8).reshape(-1, 32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For each kind ids, which hold no line breaks, as UTF-8, and digests [n, 32] as uint8."""
        arrays = {}
        for kind, told in self.digests.items():
            arrays[f"ids/{kind}"] = np.frombuffer("\n".join(told).encode(), np.uint8)
            arrays[f"digests/{kind}"] = self.rows(kind)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        found = {}
        for name, ids in arrays.items():
            what, _, kind = name.partition("/")
            if what == "ids":
                rows = arrays[f"digests/{kind}"]
                names = ids.tobytes().decode().split("\n")
                found[kind] = {i: row.tobytes() for i, row in zip(names, rows, strict=True)}
        return cls(found)


def record_read(
    sample: Filed,
    root: Path | None,
    files: Mapping[Path, bytes],
    image: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> None:
    """Record what was read of a sample: its image, its labels, or both, made of these files.

    A file's digest is that of its bytes, several files' that of theirs in order (with the class of
    a mask that has one), and that of what came from no file the array's.
    """
    records = _IN_FORCE.get()
    if records is None:
        return
    pictures = [] if root is None else [root / path for path in sample.image]
    if pictures and all(path in files for path in pictures):
        told = _joined([("", files[path]) for path in pictures])
        records.record(IMAGE, sample, told, file_of(sample, root, IMAGE))
    elif image is not None:
        records.record(IMAGE, sample, _of_array(image), file_of(sample, root, IMAGE))
    if labels is not None:
        classes = {} if root is None else {root / path: name for name, path in sample.masks}
        masks = [(classes.get(p, ""), told) for p, told in files.items() if p not in pictures]
        told = _joined(masks) if masks else _of_array(labels)
        records.record(LABELS, sample, told, file_of(sample, root, LABELS))


def replay(reads: Reads, sample: Filed, root: Path | None) -> None:
    """Record again what was recorded of a sample when it was read."""
    records = _IN_FORCE.get()
    if records is not None:
        for kind, told in reads.digests.items():
            records.record(kind, sample, told[sample.id], file_of(sample, root, kind))


def record_beside(kind: str, sample: Filed, files: Mapping[Path, bytes]) -> None:
    """Record the one file that was read beside a sample."""
    records = _IN_FORCE.get()
    if records is not None:
        ((path, digest),) = files.items()
        records.record(kind, sample, digest, str(path))


def file_of(sample: Filed, root: Path | None, kind: str) -> str:
    """The file, or files, of a sample's image or labels, for messages; its id if it has none."""
    one = () if sample.mask is None else (sample.mask,)
    masks = one or tuple(path for _, path in sample.masks)
    names = sample.image if kind == IMAGE else masks
    files = " + ".join(str((root or Path()) / name) for name in names)
    return files or f"the {kind} of sample {sample.id!r}"


def _joined(told: list[tuple[str, bytes]]) -> bytes:
    if len(told) == 1 and not told[0][0]:
        return told[0][1]
    return hashlib.sha256("\n".join(f"{name}:{one.hex()}" for name, one in told).encode()).digest()


def _of_array(values: np.ndarray) -> bytes:
    hasher = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    hasher.update(np.ascontiguousarray(values).data)
    return hasher.digest()
