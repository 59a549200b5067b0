"""Files that are hashed as they are decoded: SHA-256 of the very bytes that pixels are made of.

Who decodes a file opens it here; who reads for a sample asks what was opened meanwhile
(:func:`gathered`). Nothing is hashed where nobody asks.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from conceptseg.errors import InputError, check_regular

AT_ONCE = 1 << 28
"""Bytes up to which a file is read at once and decoded from memory."""

_FILES: ContextVar[dict[Path, bytes] | None] = ContextVar("files", default=None)
_HASHING = Lock()


@contextmanager
def gathered() -> Iterator[dict[Path, bytes]]:
    """SHA-256 (32 bytes) of each file that is decoded inside, in the order of reading."""
    files: dict[Path, bytes] = {}
    token = _FILES.set(files)
    try:
        yield files
    finally:
        _FILES.reset(token)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to decode, at its start. It is read once, into memory, unless it is a large one.

    Raises :class:`~conceptseg.errors.InputError` for a large file that changes meanwhile and for
    what is no regular file, and OSError for what cannot be read.
    """
    about = os.stat(path)
    check_regular(path, about)
    if about.st_size > AT_ONCE:
        with unchanged(path), path.open("rb") as file:
            yield file
        return
    with path.open("rb") as file:
        data = file.read(about.st_size)  # some files of a system grow as they are read
    if _FILES.get() is not None:
        _tell(path, hashlib.sha256(data).digest())
    yield BytesIO(data)


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Around what decodes a file, or a part of one, by its path.

    The file is hashed by itself, once in a process as long as it stays as it is, and looked at
    before and after. Raises :class:`~conceptseg.errors.InputError` if it changes meanwhile.
    """
    if _FILES.get() is None:
        yield
        return
    before = state(path)
    with _HASHING:  # several threads read parts of one file
        digest = _digest_of(path, before)
    yield
    if state(path) != before:
        raise changed(str(path))
    _tell(path, digest)


def state(path: Path) -> tuple[int, ...]:
    """What the file system says of a file; nobody can write to it and leave all of this as it is.

    Unlike a stamp (:meth:`conceptseg.data.manifest.Source.stamp`) it holds on one machine only.
    """
    about = os.stat(path)
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def missing(path: Path) -> InputError:
    """The error of a file of the data set that is not there."""
    return InputError(
        f"{path}: no such file; is the root right (manifest key root, or --data-root)?"
    )


def changed(file: str) -> InputError:
    """The error of a file that was read twice and held other bytes the second time."""
    return InputError(
        f"{file}: holds other bytes than this run has read before: it changed while the run went "
        "on; see that nothing writes to the data, and start again with --fresh"
    )


@lru_cache(maxsize=1024)
def _digest_of(path: Path, state: tuple[int, ...]) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _tell(path: Path, digest: bytes) -> None:
    files = _FILES.get()
    if files is not None and files.setdefault(path, digest) != digest:
        raise changed(str(path))
