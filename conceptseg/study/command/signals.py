"""The signal by which batch systems end a process, told as Ctrl-C is."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(BaseException):
    """The process was asked to end."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within it SIGTERM raises :class:`Terminated`, unless it is ignored; in the main thread."""
    theirs = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or theirs == signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, theirs)


def _raise(number: int, frame: object) -> None:
    raise Terminated
