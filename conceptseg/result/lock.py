"""One writer at a time, of a result's folder or of a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conceptseg.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Within it no other process that asks writes `path`; False where the disk has no locks.

    The lock is a hidden file beside it, which names the process and is removed at the end; that of
    a process which was killed holds nobody up.

    Raises :class:`~conceptseg.errors.InputError` where another process has it.
    """
    real = Path(os.path.realpath(path))
    place = real.parent / f".{real.name}.lock"
    made = [one for one in real.parents if not one.exists()]
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquired(place, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with suppress(OSError):
                place.unlink()
            os.close(handle)
        for folder in made:  # those that nothing was written into
            with suppress(OSError):
                folder.rmdir()


def _acquired(place: Path, path: Path) -> int | None:
    """The locked file; None where there are no locks."""
    if fcntl is None:
        return None
    while True:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(handle, 20).decode(errors="replace").strip()
            os.close(handle)
            raise InputError(
                f"{path}: another run is writing there{f' (process {who})' if who else ''}; wait "
                "for its end, or choose another place with --out"
            ) from None
        except OSError:
            os.close(handle)
            place.unlink()
            return None
        if _is(place, handle):
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            return handle
        os.close(handle)  # who had it has removed it meanwhile


def _is(place: Path, handle: int) -> bool:
    """Whether an open file still has its name."""
    try:
        there = os.stat(place, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(handle))
