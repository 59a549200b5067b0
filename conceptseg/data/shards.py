"""Roots in tar files, as training sets are cut into shards: their members are the root's files.

Where each member lies in its file is found once, from the headers alone, and kept beside what is
fetched; a member is then read by its place, in any order, and nothing before it.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from conceptseg.data.places import About, Place, kept, patiently, place_of
from conceptseg.errors import InputError, check_regular

HOP = 1 << 16
"""Bytes that are read at once where headers are looked for."""


class Shards(Place):
    """The members of tar files, by their names, which have to be different ones.

    `files` are the tar files by name, each with its size, version and what reads bytes of it.
    """

    def __init__(self, name: str, files: dict[str, tuple[About, Callable[[int, int], bytes]]]):
        super().__init__(name)
        self._files = files
        self._members: dict[str, tuple[str, int, int]] = {}
        for file, (about, read) in sorted(files.items()):
            for member, start, size in self._index(file, about, read):
                if member in self._members:
                    raise InputError(
                        f"{name}: {member!r} is in {self._members[member][0]} and in {file}; "
                        "members of shards must have different names"
                    )
                self._members[member] = file, start, size

    def about(self, path: str) -> About | None:
        if path not in self._members:
            return None
        file, start, size = self._members[path]
        return About(size, f"{self._files[file][0].version}:{start}")

    def read(self, path: str) -> bytes:
        return self.part(path, 0, self._members[path][2])

    def part(self, path: str, start: int, stop: int) -> bytes:
        file, first, _ = self._members[path]
        return self._files[file][1](first + start, first + stop)

    def below(self, folder: str) -> list[str]:
        return [one for one in self._members if one.startswith(f"{folder}/" if folder else "")]

    def _index(
        self, file: str, about: About, read: Callable[[int, int], bytes]
    ) -> list[tuple[str, int, int]]:
        """Name, first byte and bytes of each member of a tar file; kept by the file's version."""
        kept = self._mark(f"index of {file}")
        try:
            content = json.loads(kept.read_text(encoding="utf-8"))
            if content["version"] == about.version:
                return [(str(n), int(a), int(b)) for n, a, b in content["members"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        members = _members(f"{self.name}/{file}", _Far(about.size, read))
        kept.parent.mkdir(parents=True, exist_ok=True)
        own = kept.with_suffix(f".{os.getpid()}")
        own.write_text(json.dumps({"version": about.version, "members": members}))
        os.replace(own, kept)
        return members


class _Far(io.RawIOBase):
    """A file that is read by ranges, a hop at a time."""

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self._size, self._read, self._at = size, read, 0
        self._start, self._held = 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._at + size, self._size)
        if self._at >= stop:
            return b""
        if not self._start <= self._at <= stop <= self._start + len(self._held):
            self._start = self._at
            self._held = self._read(self._at, min(max(stop, self._at + HOP), self._size))
        data = self._held[self._at - self._start : stop - self._start]
        self._at += len(data)
        return data


def _members(name: str, file: _Far) -> list[tuple[str, int, int]]:
    """The regular files of a tar file. Raises InputError for one that is no tar or compressed."""
    found = []
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for one in tar:
                path = PurePosixPath(one.name)
                if one.isfile() and not path.is_absolute() and ".." not in path.parts:
                    found.append((path.as_posix(), one.offset_data, one.size))
    except tarfile.TarError as error:
        raise InputError(
            f"{name}: cannot be read as a tar file ({error}); shards must not be compressed"
        ) from None
    return found


def gathered(root: Path, pattern: str, where: str) -> Path:
    """The folder that stands for the members of the tar files that match a pattern below a root.

    Raises :class:`~conceptseg.errors.InputError` if there is none.
    """
    place = place_of(root)
    files: dict[str, tuple[About, Callable[[int, int], bytes]]] = {}
    if place is None:
        for path in sorted(root.glob(pattern)):
            check_regular(path)
            files[path.relative_to(root).as_posix()] = _state(path), _reader(path)
        name = f"tar://{root.absolute().as_posix().lstrip('/')}/{pattern}"
    else:
        for one in sorted(place.below("")):
            about = place.about(one) if fnmatch(one, pattern) else None
            if about is not None:
                files[one] = about, _far(place, one)
        name = f"tar+{place.name}/{pattern}"
    if not files:
        at = root if place is None else place.name
        raise InputError(f"{where}: shards: no file below {at} matches {pattern!r}")
    return kept(name, lambda: Shards(name, files))


def _state(path: Path) -> About:
    state = path.stat()
    return About(state.st_size, f"{state.st_size}-{state.st_mtime_ns}")


def _reader(path: Path) -> Callable[[int, int], bytes]:
    def read(start: int, stop: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    return read


def _far(place: Place, path: str) -> Callable[[int, int], bytes]:
    def read(start: int, stop: int) -> bytes:
        what = f"{place.name}/{path}"
        return patiently(what, lambda: place.part(path, start, stop), stop - start)

    return read
