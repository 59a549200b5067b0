"""Ctrl-C, and the signal by which batch systems end a process: told as what they are."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

WITH = 1.0
"""Seconds within which signals come with each other."""


class Terminated(BaseException):
    """The process was asked to end."""


@dataclass
class Asked:
    """Whether the process was asked to stop, how (the error that says so) and when."""

    stop: BaseException | None = None
    at: float = float("-inf")


@contextmanager
def stoppable(asked: Asked) -> Iterator[None]:
    """Within it SIGTERM raises :class:`Terminated`, and `asked` knows of it and of Ctrl-C.

    For what a signal raises may end as another error: a lock complains that it was not taken, a
    library that builds something puts it into the words of its own. In the main thread, and only
    where the signals are not ignored or taken by others. One that comes with another is the same
    asking: batch systems tell every process of a job, and one may tell another.
    """
    raised = {signal.SIGTERM: Terminated, signal.SIGINT: KeyboardInterrupt}
    theirs = {number: signal.getsignal(number) for number in raised}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in raised if main and theirs[number] in usual]

    def stop(number: int, frame: object) -> None:
        again, asked.at = time.monotonic() - asked.at < WITH, time.monotonic()
        if again:
            return
        asked.stop = raised[signal.Signals(number)]()
        raise asked.stop

    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, theirs[number])
