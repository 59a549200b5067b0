"""Writing to disk so that a reader sees the old or the new, and never half of either."""

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from conceptseg.errors import InputError


def replace_folder(
    folder: Path, files: Mapping[str, bytes], *, marker: str, own: Iterable[str]
) -> Path:
    """Make `folder` hold `files` (name -> bytes, one level of subfolders), as one step.

    All is written into a hidden sibling and flushed to disk; only then it takes the folder's
    name. What the old folder held besides a previous result is carried over. `own` names all the
    files and subfolders that a result may have, `marker` the file by which one is known.

    Raises InputError, with the previous content untouched and nothing left behind, when anything
    cannot be written (no permission, disk full), or when the folder is not ours to replace.
    """
    folder = Path(os.path.abspath(folder))
    if folder.is_symlink():
        folder = folder.resolve()
    staged: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_ours(folder, set(own), marker)
        staged = _beside(folder)
        staged.mkdir()
        for name, data in files.items():
            _write(staged / name, data)
        _flush_folders(staged)
        _swap(staged, folder, set(own))
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}; free some space or "
            "choose another folder"
        ) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
    return folder


def replace_file(path: Path, data: bytes) -> None:
    """Make the file `path` hold `data`, as one step; InputError when it cannot be written."""
    staged = _beside(path)
    try:
        _write(staged, data)
        os.replace(staged, path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free some space or "
            "choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            staged.unlink()


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, hence on the same disk, that nothing has yet."""
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"


def check_elsewhere(folder: Path) -> None:
    """Refuse the working folder and those above it: replacing them would pull them from under us.

    Raises :class:`~conceptseg.errors.InputError`.
    """
    here, there = Path.cwd(), folder.resolve()
    if there == here or there in here.parents:
        raise InputError(
            f"{folder}: the working folder, or one above it, which a result cannot replace; "
            "give a folder inside it with --out"
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
    if os.name != "posix":  # elsewhere a folder cannot be opened, and renames are journalled
        return
    for folder in (root, *(entry for entry in root.iterdir() if entry.is_dir())):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _swap(staged: Path, folder: Path, own: set[str]) -> None:
    """Give the staged folder the name of the old one; on failure the old one is put back."""
    if not folder.exists():
        staged.rename(folder)
        return
    old = _beside(folder)
    folder.rename(old)
    try:
        staged.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    for entry in old.iterdir():
        if entry.name not in own:
            entry.rename(folder / entry.name)
    shutil.rmtree(old, ignore_errors=True)
