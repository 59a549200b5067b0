"""What can go wrong on the user's side, and how it is said.

Every error that a user can cure is an :class:`InputError`: one line that names the file, field,
layer or shape, and the cure. The command prints that line without a traceback and exits with
:data:`EXIT_INPUT`. Anything else that escapes is a defect of this package.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

EXIT_DONE = 0
EXIT_DEFECT = 1
EXIT_INPUT = 2
EXIT_MEMORY = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class InputError(Exception):
    """Something that the user gave cannot be used; the message says what, and what cures it."""


class GradientError(InputError):
    """The network's own gradient cannot be taken; whatever needs it fails alike."""


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
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"known are: {listed}"
