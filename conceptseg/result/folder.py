"""Writing to disk so that a reader sees the old or the new, and never half of either."""

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from conceptseg.errors import InputError

LONGEST = 132
"""Characters below a result's folder that its files' paths may have, while they are written."""
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP}


def replace_folder(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    marker: str,
    own: Iterable[str],
    spent: Iterable[str] = (),
) -> Path:
    """Make `folder` hold `files` (name -> bytes, one level of subfolders), as one step.

    All is written into a hidden sibling and flushed to disk, with hard links to whatever else the
    folder holds, so that it too is there at every instant; only then the two swap their names.
    `own` names all the files and subfolders that a result may have, `marker` the file by which one
    is known, `spent` what else is dropped. What is left by a process that was killed meanwhile,
    :func:`tidy` puts in order.

    Raises InputError, with the previous content untouched and nothing left behind, when anything
    cannot be written (no permission, disk full), or when the folder is not ours to replace.
    """
    folder = Path(os.path.abspath(folder))
    if folder.is_symlink():
        folder = Path(os.path.realpath(folder))
    dropped, staged = {*own, *spent}, None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_ours(folder, set(own), marker)
        staged = _beside(folder)
        staged.mkdir()
        for name, data in files.items():
            _write(staged / name, data)
        if folder.exists():
            shutil.copymode(folder, staged)
            _bring(folder, staged, dropped, _link)
        _flush_folders(staged)
        _swap(staged, folder)
        if staged.exists():  # the old folder: what was put into it while links were made
            _bring(staged, folder, dropped, os.rename)
    except OSError as error:
        raise InputError(_cannot_write(folder, error)) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
    return folder


def tidy(folder: Path, *, marker: str, own: Collection[str], spent: Collection[str]) -> list[str]:
    """Put in order what saves that were killed have left beside and in a folder; what was done.

    Where the folder itself is gone, the latest whole result among what they left takes its name.
    Files that are not of a result are brought back into the folder, and the rest is removed.
    Nobody may be writing the folder meanwhile. `marker`, `own` and `spent` are those of
    :func:`replace_folder`, which writes the marker after all that it lists.

    Raises InputError for what cannot be moved or removed.
    """
    folder, said = Path(os.path.realpath(folder)), []
    try:
        left = [one for one in _left(folder) if one.is_dir()]
        whole = [one for one in left if (one / marker).is_file()]
        if whole and not folder.exists():
            latest = max(whole, key=lambda one: (one / marker).stat().st_mtime_ns)
            latest.rename(folder)
            left.remove(latest)
            said.append(f"{folder}: the result that a killed run was about to save is taken over")
        for one in left:
            brought = _bring(one, folder, {*own, *spent}, os.rename)
            shutil.rmtree(one)
            kept = f"; {', '.join(brought)} brought back into {folder.name}" if brought else ""
            said.append(f"{one.name}: left by a run that was killed while it saved, removed{kept}")
        for name in own if folder.is_dir() else ():
            said += tidy_file(folder / name)
    except OSError as error:
        raise InputError(_cannot_write(folder, error)) from error
    return said


def tidy_file(path: Path) -> list[str]:
    """Remove what :func:`replace_file` left beside a file when it was killed; what was done."""
    said = []
    for one in _left(path):
        if one.is_file():
            one.unlink()
            said.append(f"{one.name}: left by a command that was killed while it wrote, removed")
    return said


def replace_file(path: Path, data: bytes) -> None:
    """Make the file `path` hold `data`, as one step; InputError when it cannot be written."""
    staged = _beside(path)
    try:
        _write(staged, data)
        os.replace(staged, path)
    except OSError as error:
        raise InputError(_cannot_write(path, error)) from error
    finally:
        with suppress(OSError):
            staged.unlink()


def write_out(path: Path, data: bytes) -> None:
    """Write where the user says: a link is followed, and a device or pipe is written to.

    A regular file is replaced as one step. Raises InputError when it cannot be written.
    """
    if is_regular(path):
        replace_file(Path(os.path.realpath(path)), data)
        return
    try:
        with path.open("wb") as file:
            file.write(data)
    except OSError as error:
        raise InputError(_cannot_write(path, error)) from error


def is_regular(path: Path) -> bool:
    """Whether a path is, or may become, a file of bytes: no device, no pipe."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


def check_file(path: Path) -> None:
    """Refuse a path to which :func:`write_out` could not write; nothing is left there.

    Raises :class:`~conceptseg.errors.InputError`.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path}: a folder; give the name of a file in it with --out")
        if is_regular(path):
            staged = _beside(Path(os.path.realpath(path)))
            staged.touch()
            staged.unlink()
    except OSError as error:
        raise InputError(_cannot_write(path, error)) from error


def check_length(folder: Path) -> None:
    """Refuse a folder whose result could not be written for the length of its name or path.

    Its parent must exist. Raises :class:`~conceptseg.errors.InputError`.
    """
    try:
        os.lstat(_beside(Path(os.path.realpath(folder))) / ("x" * LONGEST))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{folder}: the name is too long for the files that are written beside and in "
                "it; choose a shorter one with --out"
            ) from None


def check_elsewhere(folder: Path) -> None:
    """Refuse the working folder and those above it: replacing them would pull them from under us.

    Raises :class:`~conceptseg.errors.InputError`.
    """
    here, there = Path.cwd(), Path(os.path.realpath(folder))
    if there == here or there in here.parents:
        raise InputError(
            f"{folder}: the working folder, or one above it, which a result cannot replace; "
            "give a folder inside it with --out"
        )


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, hence on the same disk, that nothing has yet."""
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"


def _left(path: Path) -> list[Path]:
    """What has such a name, in their order."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    if not path.parent.is_dir():
        return []
    found = [one for one in path.parent.iterdir() if name.fullmatch(one.name)]
    return sorted(one for one in found if not one.is_symlink())


def _cannot_write(path: Path, error: OSError) -> str:
    return (
        f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
    )


def _check_ours(folder: Path, own: set[str], marker: str) -> None:
    """Refuse to replace what is not an earlier result."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the result")
    if not folder.exists():
        return
    if os.path.ismount(folder):
        raise InputError(
            f"{folder} is a mount point and cannot be replaced as a whole; give a folder inside it"
        )
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder} is not writable; choose another folder")
    check_elsewhere(folder)
    clash = sorted(own & {entry.name for entry in folder.iterdir()})
    if clash and not (folder / marker).is_file():
        raise InputError(
            f"{folder} holds {clash[0]!r} but no {marker}, so it is not an earlier "
            "result; choose another folder"
        )


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folders(root: Path) -> None:
    for folder in (root, *(entry for entry in root.iterdir() if entry.is_dir())):
        _flush(folder)


def _flush(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and renames are journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bring(
    source: Path, target: Path, without: Collection[str], take: Callable[[Path, Path], Any]
) -> list[str]:
    """Have `take(from, to)` bring over all that `target` lacks, but for some names; which it was.

    Folders that both have are gone through.
    """
    brought = []
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.name in without:
            continue
        if not os.path.lexists(place):
            target.mkdir(exist_ok=True)
            take(entry, place)
            brought.append(entry.name)
        elif all(one.is_dir() and not one.is_symlink() for one in (entry, place)):
            brought += [f"{entry.name}/{name}" for name in _bring(entry, place, (), take)]
    return brought


def _link(source: Path, target: Path) -> None:
    """Give what is there a second name: files by hard links, by copies where there are none."""
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    elif source.is_dir():
        if os.path.ismount(source):
            raise OSError(errno.EXDEV, f"{source.name} in it is a mount point")
        target.mkdir()
        for entry in source.iterdir():
            _link(entry, target / entry.name)
        shutil.copystat(source, target)
    else:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.copy2(source, target)


def _swap(staged: Path, folder: Path) -> None:
    """Give the staged folder the name of the old one, and that one the staged one's."""
    if not folder.exists():
        staged.rename(folder)
    elif not _exchange(staged, folder):
        old = _beside(folder)
        folder.rename(old)
        try:
            staged.rename(folder)
        except BaseException:
            old.rename(folder)
            raise
        old.rename(staged)
    _flush(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one instant; False where the system or the disk has no call for that."""
    call = _renameat2()
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code))


@cache
def _renameat2() -> Callable[..., int] | None:
    if os.name != "posix":
        return None
    call: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return call
