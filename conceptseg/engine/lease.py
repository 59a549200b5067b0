"""One run at a time under a name of a store that several machines share.

A file there names the run that has it, and is written anew every few seconds: a sign of life. No
clocks are compared, for those of machines differ: who finds a file looks whether it changes. A run
of another machine that gives no sign for half a minute counts as ended, one of this machine whose
process is gone at once, and the next one takes its place. A folder's own lock (`result.lock`) knows
the processes of one machine alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from threading import Event, Thread
from uuid import uuid4

from conceptseg.engine.base import host
from conceptseg.engine.shelf import Shelf
from conceptseg.errors import InputError

FILE = ".lease"
LARGEST = 10_000
"""Bytes of such a file, at most; one that is larger is none."""


@dataclass(frozen=True)
class Pace:
    """Seconds between signs of life; without one until a run counts as ended; and after which one
    of two that begin at once finds that the other has the name."""

    sign: float = 10.0
    patience: float = 35.0
    settle: float = 0.5


PACE = Pace()


@dataclass(frozen=True)
class Holder:
    """The run that has a name: its machine, process and `token`, and its signs of life so far."""

    host: str
    process: int
    token: str
    signs: int = 0

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    @classmethod
    def of(cls, content: bytes | None) -> Holder | None:
        """Who is named by a file's bytes; None where it is none or says nothing."""
        try:
            told = json.loads((content or b"")[:LARGEST])
            return cls(str(told["host"])[:80], int(told["process"]), str(told["token"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    @property
    def gone(self) -> bool:
        """Whether it was a process of this machine, and is no more."""
        if self.host != host() or self.process <= 0:
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False


class Lease:
    """A name of a store that this process has, with a sign of life every few seconds."""

    def __init__(self, shelf: Shelf, pace: Pace) -> None:
        self.shelf, self.pace = shelf, pace
        self.own = Holder(host(), os.getpid(), uuid4().hex)
        self._ended = Event()
        self._thread = Thread(target=self._live, name="lease", daemon=True)

    def begin(self) -> None:
        """Write down who has the name. Raises InputError where another run does the same."""
        self._sign()
        time.sleep(self.pace.settle)
        self.check("is beginning there at this moment")
        self._thread.start()

    def check(self, doing: str = "has taken this name of the store meanwhile") -> None:
        """Raise InputError where another run has the name by now."""
        holder = Holder.of(self.shelf.read(FILE))
        if holder is not None and holder.token != self.own.token:
            raise taken_by(self.shelf, holder, doing)

    def end(self) -> None:
        self._ended.set()
        self._thread.join(self.pace.sign)
        with suppress(InputError):  # without it, it is a run that gives no sign
            holder = Holder.of(self.shelf.read(FILE))
            if holder is not None and holder.token == self.own.token:
                self.shelf.remove(FILE)

    def _sign(self) -> None:
        self.own = replace(self.own, signs=self.own.signs + 1)
        self.shelf.write(FILE, json.dumps(asdict(self.own)).encode())

    def _live(self) -> None:
        while not self._ended.wait(self.pace.sign):
            try:
                self.check()
            except InputError:
                # Of a name that is another's by now nothing is written; a store that cannot be
                # reached is told by whatever is kept there, and may be back at the next sign.
                continue
            with suppress(InputError):
                self._sign()


_HELD: dict[str, Lease] = {}


@contextmanager
def leased(shelf: Shelf, pace: Pace | None = None) -> Iterator[list[str]]:
    """While this is open no other run has this name of a store; what there is to say of it.

    Raises :class:`~conceptseg.errors.InputError` where one has it.
    """
    pace = pace or PACE
    said = _free(shelf, pace)
    lease = Lease(shelf, pace)
    lease.begin()
    _HELD[str(shelf)] = lease
    try:
        yield said
    finally:
        del _HELD[str(shelf)]
        lease.end()


def still_held(shelf: Shelf) -> None:
    """Raise InputError where this process had the name, and another run has it by now."""
    if lease := _HELD.get(str(shelf)):
        lease.check()


def taken_by(shelf: Shelf, holder: Holder, doing: str) -> InputError:
    return InputError(
        f"{shelf}: another run {doing} ({holder}); wait for its end, or take another name with "
        "--out (of a run that was killed the name is free half a minute later)"
    )


def _free(shelf: Shelf, pace: Pace) -> list[str]:
    """Wait until nobody has the name. Raises InputError as soon as who has it gives a sign."""
    before = shelf.read(FILE)
    holder = Holder.of(before)
    if holder is None or holder.gone:
        return []
    end = time.monotonic() + pace.patience
    while time.monotonic() < end:
        time.sleep(min(pace.sign / 5, 2.0))
        now = shelf.read(FILE)
        if now is None:
            return []
        if now != before:
            raise taken_by(shelf, Holder.of(now) or holder, "is writing there")
    return [f"{shelf}: {holder} has given no sign of life for {pace.patience:g} s; it is resumed"]
