"""Roots that are no folders of this machine: buckets, and tar files.

A file of such a root is fetched when it is first read, into a folder of this machine that all
processes share and that stands for the root: to whoever decodes, it is a folder as any other. So
whatever holds for roots holds here: a path that leaves it is refused before anything is asked for.
What was fetched is kept by the version that the root tells (an entity tag, or size and time); files
that were not asked for lately make room when the folder exceeds `CONCEPTSEG_CACHE_GIB`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from conceptseg.errors import RESUMES, InputError

CACHE, ROOM = "CONCEPTSEG_CACHE", "CONCEPTSEG_CACHE_GIB"
"""Variables of the environment: the folder in which files are kept, and how many GiB of them."""
USUAL_ROOM = 50.0
FRESH = 600.0
"""Seconds for which a file is kept that was asked for: someone may be reading it."""
TRIES, PAUSE = 4, 0.5
"""How often a file is asked for in all, and seconds before the second time; then twice as long."""
PATIENCE = 20.0
"""Seconds after which nothing is asked for again."""
STRANGER = ("Credential", "Authentication", "RefreshError", "TokenNotFound", "GatedRepo")
"""Parts of the names of errors by which packages say that credentials are missing or no good."""
STATUS = ("code", "status", "status_code")
"""Where packages keep the number by which a server answers."""
_PLACES: dict[str, Place] = {}


class About(NamedTuple):
    """Bytes of a file, and a text that changes with what it holds."""

    size: int
    version: str


class Place(ABC):
    """A root elsewhere, called `name`, whose files are fetched below the folder `root`."""

    def __init__(self, name: str) -> None:
        self.name = name
        scheme, _, rest = name.partition("://")
        parts = [part for part in rest.split("/") if part not in ("", ".", "..")]
        self.root = cache() / scheme.replace(":", "-") / Path(*parts)
        self.root.mkdir(parents=True, exist_ok=True)
        self._held: dict[str, str] = {}
        self._lock = Lock()

    @abstractmethod
    def about(self, path: str) -> About | None:
        """What is known of a file without reading it; None where there is none."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """All bytes of a file."""

    @abstractmethod
    def part(self, path: str, start: int, stop: int) -> bytes:
        """Some bytes of a file."""

    @abstractmethod
    def below(self, folder: str) -> list[str]:
        """The paths of all files below a folder of the root, or of all of it (""), unsorted."""

    def bring(self, path: str) -> None:
        """Have a file lie below `root`, as it is there now; nothing where there is none.

        Raises :class:`~conceptseg.errors.InputError` where it cannot be fetched.
        """
        about = self.about(path)
        if about is None:
            return
        with self._lock:
            known = self._held.get(path)
        local = self.root / path
        mark = self._mark(path)
        if known != about.version and _text(mark) == about.version:
            known = about.version
        if known == about.version and local.is_file():
            with contextlib.suppress(OSError):
                os.utime(local)  # asked for now: the last to make room
        else:
            self._fetch(path, about, local, mark)
        with self._lock:
            self._held[path] = about.version

    def _fetch(self, path: str, about: About, local: Path, mark: Path) -> None:
        data = patiently(f"{self.name}/{path}", lambda: self.read(path), about.size)
        make_room(len(data))
        for target, content in ((local, data), (mark, about.version.encode())):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
                file.write(content)
            os.replace(file.name, target)

    def _mark(self, path: str) -> Path:
        """The file that says which version lies below `root`."""
        return self.root / ".versions" / hashlib.sha256(path.encode()).hexdigest()


def cache() -> Path:
    """The folder in which files are kept that were fetched."""
    usual = os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "conceptseg")
    return Path(os.path.expanduser(os.environ.get(CACHE) or usual)).absolute()


def place_of(root: Path | None) -> Place | None:
    """The place for which a root stands; None of a folder of this machine."""
    return _PLACES.get(str(root)) if _PLACES else None


def kept(name: str, make: Callable[[], Place]) -> Path:
    """The root that stands for a place; it is made once in a process."""
    for root, place in _PLACES.items():
        if place.name == name:
            return Path(root)
    place = make()
    _PLACES[str(place.root)] = place
    return place.root


def patiently(
    name: str, ask: Callable[[], bytes], size: int | None = None, doing: str = "read"
) -> bytes:
    """What is asked of a place far away, of so many bytes if it is read; again where the connection
    was cut, at once an error where who asks is not known there, or may not.

    Raises :class:`~conceptseg.errors.InputError` where that does not help.
    """
    said, tried, started = "", 0, time.monotonic()
    for attempt in range(TRIES):
        if attempt:
            if time.monotonic() - started > PATIENCE:  # the package has been patient itself
                break
            time.sleep(PAUSE * 2 ** (attempt - 1))
        tried += 1
        try:
            data = ask()
        except FileNotFoundError:
            gone = "no such file; it was there a moment ago"
            raise InputError(
                f"{name}: {gone if doing == 'read' else 'there is no such bucket'}"
            ) from None
        except Exception as error:  # each library has errors of its own for a cut connection
            said = f"{type(error).__name__}: {error}"[:150]
            if _stranger(error):
                raise InputError(
                    f"{name}: cannot be {doing} ({said}); see to the credentials, which the "
                    f"environment gives; {RESUMES}"
                ) from None
            continue
        if size is None or len(data) == size:
            return data
        said = f"{len(data)} of {size} bytes came"
    times = "once" if tried == 1 else f"{tried} times in all"
    room = "" if doing == "read" else ", and to the room there"
    raise InputError(
        f"{name}: cannot be {doing} ({said}), {times}; see to the connection{room}; {RESUMES}"
    )


def _stranger(error: BaseException) -> bool:
    """Whether an error says that who asks is not known, or may not, however a package calls it."""
    for one in (error, error.__cause__, error.__context__):
        answer = getattr(one, "response", None)
        told = [getattr(at, key, None) for at in (one, answer) for key in STATUS]
        if isinstance(one, PermissionError) or any(code in (401, 403) for code in told):
            return True
        # As Google's package says it of 403.
        said = type(one).__name__ if one is not None else ""
        if any(word in said for word in STRANGER) or str(one).startswith("Forbidden: "):
            return True
    return False


def make_room(size: int) -> None:
    """Remove what was not asked for lately until so many bytes more fit into the cache.

    Looked at each time that a hundredth of the room was filled by this process.
    """
    _FILLED[0] += size
    room = _room() * 2**30
    if _FILLED[0] < room / 100:
        return
    _FILLED[0] = 0
    files = sorted(_files(cache()))
    total, old = sum(one[1] for one in files), time.time() - FRESH
    for used, bytes_, path in files:
        if total + room / 100 <= room or used > old:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
            total -= bytes_


_FILLED = [0]


def _room() -> float:
    """GiB that the cache may hold. Raises InputError."""
    given = os.environ.get(ROOM) or str(USUAL_ROOM)
    try:
        room = float(given)
    except ValueError:
        room = float("nan")
    if not 0 < room < float("inf"):
        raise InputError(f"{ROOM}={given[:40]}: give the GiB that the cache may hold, such as 50")
    return room


def _files(folder: Path) -> Iterator[tuple[float, int, str]]:
    """When each file was last asked for, its bytes and its path."""
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            with contextlib.suppress(OSError):
                about = os.stat(path)
                yield about.st_mtime, about.st_size, path


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
