"""Where a run keeps what it has finished: files by their names, in a folder or in a bucket.

Under a name there is a whole file or none: a folder's appear by an atomic rename, a bucket's when
all their bytes have come. All that can go wrong there is one line that a user can cure.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from conceptseg.data.bucket import SCHEMES, check_url, system
from conceptseg.data.places import patiently
from conceptseg.engine.base import host
from conceptseg.errors import InputError
from conceptseg.result.folder import replace_file
from conceptseg.result.saved import MARKER, OWN

T = TypeVar("T")
BUCKETS = [one for one in SCHEMES if one != "hf"]
"""Kinds of buckets that files can be written to one by one."""


class Shelf(ABC):
    """Files by name, with "/" between folders. Goes to other processes by its place alone.

    What is asked of it raises :class:`~conceptseg.errors.InputError` where it cannot be done.
    """

    @abstractmethod
    def at(self, name: str) -> Shelf:
        """What lies below a name."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """All bytes of a file, None where there is none."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Make a file hold these bytes; either it does, or nothing has changed."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of the files that lie in a folder, unsorted; none where there is no folder."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all in it; nothing where there is none."""

    def tried(self) -> None:
        """Write, read back and remove a file, to find out now whether that can be done."""
        name, data = f".tried-{host()}-{uuid4().hex[:12]}", uuid4().bytes
        self.write(name, data)
        if self.read(name) != data:
            raise InputError(f"{self}/{name}: other bytes come back than were written")
        self.remove(name)


@dataclass(frozen=True)
class Folder(Shelf):
    """A folder of this machine, perhaps one that several share."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def at(self, name: str) -> Folder:
        return Folder(self.path / name)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{self.path / name}: cannot be read ({error.strerror})") from None

    def write(self, name: str, data: bytes) -> None:
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot write {path.parent}: {error.strerror}; choose another folder with --out"
            ) from error
        replace_file(path, data)

    def names(self, folder: str) -> list[str]:
        return [one.name for one in (self.path / folder).glob("*") if one.is_file()]

    def remove(self, name: str) -> None:
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Pail(Shelf):
    """A folder of a bucket, by its URL."""

    url: str

    def __str__(self) -> str:
        return self.url

    def at(self, name: str) -> Pail:
        return Pail(f"{self.url}/{name}")

    def read(self, name: str) -> bytes | None:
        def ask(bucket: Any, path: str) -> None:
            found.append(bucket.cat_file(path))

        found: list[bytes] = []
        self._asked(name, ask, "read")
        return found[-1] if found else None

    def write(self, name: str, data: bytes) -> None:
        def ask() -> bytes:
            _bucket(self.url).pipe_file(self._full(name), data)
            return b""

        patiently(f"{self.url}/{name}", ask, doing="written")

    def names(self, folder: str) -> list[str]:
        def ask(bucket: Any, path: str) -> None:
            rows = bucket.ls(path, detail=True)
            found[:] = [str(one["name"]) for one in rows if one.get("type") == "file"]

        found: list[str] = []
        self._asked(folder, ask, "read")
        return [one.rstrip("/").rpartition("/")[2] for one in found]

    def remove(self, name: str) -> None:
        self._asked(name, lambda bucket, path: bucket.rm(path, recursive=True), "removed")

    def _asked(self, name: str, ask: Callable[[Any, str], None], doing: str) -> None:
        """Ask something of what may not be there."""

        def call() -> bytes:
            with suppress(FileNotFoundError):
                ask(_bucket(self.url), self._full(name))
            return b""

        patiently(f"{self.url}/{name}", call, doing=doing)

    def _full(self, name: str) -> str:
        return f"{self.url.partition('://')[2]}/{name}".rstrip("/")


@cache
def _bucket_of(scheme: str) -> Any:
    return system(scheme)


def _bucket(url: str) -> Any:
    return _bucket_of(url.partition("://")[0])


def shelf_of(place: str) -> Shelf:
    """A folder, or one of a bucket by its URL. Raises InputError for what is neither."""
    if "://" not in place:
        return Folder(Path(place).expanduser().absolute())
    if place.startswith("hf://"):
        raise InputError(f"{place}: a hub takes no parts of runs; give a bucket or a shared folder")
    check_url(place, BUCKETS)
    return Pail(place.rstrip("/"))


def of_run(out: Path, store: str | None) -> Shelf:
    """Where the run that writes to `out` keeps things: there, or under its name in a store."""
    return Folder(out) if store is None else shelf_of(store).at(out.name)


def deliver(out: Path, shelf: Shelf) -> None:
    """Copy the result that was saved in a folder to a shelf, in place of one that lies there.

    The file by which a result is known goes first and comes last: what is there is never taken for
    a result that it is half of. Raises InputError where that cannot be done.
    """
    if isinstance(shelf, Folder) and shelf.path.resolve() == out.resolve():
        return
    files = [path for name in OWN for path in _files(out / name)]
    names = {path.relative_to(out).as_posix() for path in files}
    shelf.remove(MARKER)
    for path in sorted(files, key=lambda one: one.name == MARKER):
        shelf.write(path.relative_to(out).as_posix(), path.read_bytes())
    for name in OWN:
        for one in shelf.names(name):
            # Of what is no folder some buckets list the file itself.
            if one != name and f"{name}/{one}" not in names:
                shelf.remove(f"{name}/{one}")


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
