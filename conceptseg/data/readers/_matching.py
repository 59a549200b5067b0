"""Regular expressions of a user's, whose matching ends."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType

from conceptseg.errors import InputError

FREE, EACH = 2.0, 1e-4
"""Seconds of processor time for all texts together, and for each text more; a usual one takes a
hundredth of the latter."""


class _TooLong(Exception):
    """Raised within a match by the clock."""


class Matcher:
    """A regular expression that is matched with texts in a bounded time.

    Some expressions can match a text in more ways than can ever be tried: `((a+)+)b` in 2^n of n
    letters, and `(.*)_(.*)_(.*)_(.*)x` in n^4. No rule about how an expression is written tells
    these from useful ones, and whether it happens depends on the texts, so what is bounded is the
    time: :data:`FREE` + :data:`EACH` for each text, of this process's processors, so that a busy
    machine changes nothing. `re` looks for signals while it matches, so a clock can end it.

    In threads other than the main one, and on systems without that clock (Windows), there is no
    bound: Python gives signals to the main thread only.

    `what` names the file, the key and the expression in messages.
    """

    def __init__(self, expression: str, what: str) -> None:
        self._match = re.compile(expression).match
        self._what = what
        self._left, self._armed = FREE, False

    def all(self, texts: Sequence[str]) -> list[re.Match[str] | None]:
        """`re.match` of each. Raises :class:`~conceptseg.errors.InputError` when time is over."""
        main = threading.current_thread() is threading.main_thread()
        if not main or not hasattr(signal, "setitimer"):
            return list(map(self._match, texts))
        self._left += EACH * len(texts)
        done: list[re.Match[str] | None] = []
        try:
            self._timed(texts, done)
        except _TooLong:
            last = texts[min(len(done), len(texts) - 1)]
            raise InputError(
                f"{self._what} takes too long to be matched with {last!r}: that can be done in "
                "too many ways; let each part match what the next one cannot, such as '([^_]+)_' "
                "and not '(.+)+_'"
            ) from None
        return done

    def _timed(self, texts: Sequence[str], done: list[re.Match[str] | None]) -> None:
        before, began = signal.signal(signal.SIGVTALRM, self._ring), time.thread_time()
        self._armed = True
        try:
            if self._left <= 0:
                raise _TooLong
            signal.setitimer(signal.ITIMER_VIRTUAL, self._left)
            for text in texts:
                done.append(self._match(text))
        finally:
            self._armed = False  # from here on it rings in vain
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
            self._left -= time.thread_time() - began

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            raise _TooLong
