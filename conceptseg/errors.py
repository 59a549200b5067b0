"""What can go wrong on the user's side, and how it is said.

Every error that a user can cure is an :class:`InputError`: one line that names the file, field,
layer or shape, and the cure. The command prints that line without a traceback and exits with
:data:`EXIT_INPUT`. Anything else that escapes is a defect of this package.
"""

import difflib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXIT_DONE = 0
EXIT_DEFECT = 1
EXIT_INPUT = 2
EXIT_MEMORY = 3
EXIT_FOUND = 4
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


RESUMES = "finished parts are kept, the same command resumes"
"""What cures a run that broke off for a reason of its machines."""
HEAD, TAIL = 330, 150
"""Characters of a longer message that are kept: where it begins, and the cure at its end."""


class InputError(Exception):
    """Something that the user gave cannot be used; the message says what, and what cures it.

    The message is :func:`one_line`, whatever names and values of the user's are in it.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class GradientError(InputError):
    """The network's own gradient cannot be taken; whatever needs it fails alike."""


class RoomError(MemoryError):
    """Memory ran out; the message is one line that says where, and what cures it."""


def one_line(text: str) -> str:
    """A text as one line that prints: of any length in at most some 480 characters.

    Line breaks and tabs become blanks; what does not print (control characters, marks that turn
    the direction of writing, halves of characters) becomes its escape, as in `\\u202e`.
    """
    if len(text) > HEAD + TAIL + 3:
        text = f"{text[:HEAD]}...{text[-TAIL:]}"
    if text.isprintable():
        return text
    line = " ".join(text.split())
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def check_regular(path: Path, about: os.stat_result | None = None) -> None:
    """Refuse to read what is there but no file: a pipe would wait for ever, a device never end.

    `about` is what the file system says of it, if that is known. Folders and what is not there are
    left to whoever opens it, who knows what they mean. Raises :class:`InputError`.
    """
    try:
        mode = (about or os.stat(path)).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path}: a device or a pipe, not a file")


@contextmanager
def asked_for(name: str) -> Iterator[None]:
    """Within it, an InputError's message begins with the name of what the user asked for."""
    try:
        yield
    except InputError as error:
        told = str(error)
        raise InputError(told if told.startswith(name) else f"{name}: {told}") from error


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint for a name that is not among `options`: the closest ones, or all of a short list."""
    known = sorted(options)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(option) for option in close) + "?"
    if not known:
        return "there are none"
    return f"known are: {few(known, 12)}"


def few(names: Sequence[Any], most: int) -> str:
    """The first names, `most` at most, with dots behind where there are more: "a, b, ..."."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


_OF_MANIFESTS = {"labels", "folders", "table", "samples", "format", "images", "masks"}
"""Keys by which a manifest is known that is given for a study's file."""


def is_manifest(content: Mapping[str, Any]) -> bool:
    """Whether the keys of a YAML file are those of a manifest, and not of a study's file."""
    return "model" not in content and "data" not in content and bool(content.keys() & _OF_MANIFESTS)


def check_study(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a manifest where a study's file is wanted, whatever else is wrong with it.

    Raises :class:`InputError`.
    """
    if is_manifest(content):
        raise InputError(
            f"{path}: a manifest, not a study's file; give the file that names it under "
            "data.manifest (conceptseg init writes both)"
        )


def check_manifest(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a study's file where a manifest is wanted.

    Raises :class:`InputError`.
    """
    if "model" in content and "data" in content:
        raise InputError(
            f"{path}: a study's file, not a manifest; data.manifest names the file that says where "
            "images and masks lie"
        )
