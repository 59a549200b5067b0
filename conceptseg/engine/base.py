"""Where calls are made: the seam between a run and the machines that it may use.

A run asks an engine for pure calls and puts their results together in an order of its own, so an
engine may make them anywhere, in any order, more than once. Calls and arguments must be such that
pickle takes them; a context goes as the description from which another process makes its own (see
:class:`~conceptseg.engine.job.Job`).
"""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from conceptseg.engine.job import Job

T = TypeVar("T")
HOST = "CONCEPTSEG_HOST"
"""The variable of the environment by which a process knows what its machine is called."""
SHARED = 4
"""Shared values that a process keeps at once."""


ADVANCE: ContextVar[Callable[[int], None] | None] = ContextVar("advance", default=None)
"""Told how many more images were done, while calls are made; None where nobody listens."""


class Ref(Generic[T]):
    """A call that was asked for, or a value that was shared."""


@dataclass(frozen=True)
class Host:
    """A machine that was asked whether it can take part in a run.

    `kind` is that of its arithmetic, `rooms` how many calls it makes at once, `wrong` what is the
    matter with it, nothing if empty.
    """

    name: str
    kind: str = ""
    rooms: int = 1
    wrong: str = ""


class Engine(ABC):
    """Makes calls. What a call raises, its result raises.

    `here` says whether it makes them in the process that asks, `elsewhere` whether perhaps on
    another machine, which has files of its own. Either tells :data:`ADVANCE` of images as they are
    done; all others leave it to who asks.
    """

    here: ClassVar[bool] = False
    elsewhere: ClassVar[bool] = False

    @abstractmethod
    def slots(self) -> int:
        """How many calls it makes at once."""

    @abstractmethod
    def share(self, value: T) -> Ref[T]:
        """A value that many calls take, to be given in its place; a process keeps the first."""

    @abstractmethod
    def submit(self, call: Callable[..., T], *arguments: Any) -> Ref[T]:
        """Ask for a call; arguments that are refs of shared values are replaced by these."""

    @abstractmethod
    def done(self, refs: Sequence[Ref[T]]) -> Sequence[Ref[T]]:
        """Those of some calls that were made; waits until there is one."""

    @abstractmethod
    def result(self, ref: Ref[T]) -> T:
        """What a call that was made gave, once; raises what it raised."""

    @abstractmethod
    def cancel(self, refs: Sequence[Ref[Any]]) -> None:
        """Forget calls that nobody will ask for any more."""

    def prove(self, job: Job) -> list[Host]:
        """Have every other machine show that it has a run's code, network and data."""
        return []

    def close(self) -> None:
        """End what makes the calls; those under way are lost."""
        return None


def host() -> str:
    """What this machine is called, for messages."""
    return os.environ.get(HOST) or socket.gethostname()


_KEPT: dict[str, Any] = {}


def first_of(name: str, value: Callable[[], T]) -> T:
    """A shared value as this process was first given it, with whatever was worked out on it."""
    if name not in _KEPT:
        while len(_KEPT) >= SHARED:
            del _KEPT[next(iter(_KEPT))]
        _KEPT[name] = value()
    kept: T = _KEPT[name]
    return kept


def each(
    engine: Engine, calls: Iterable[tuple[Callable[..., T], tuple[Any, ...]]]
) -> Iterator[tuple[int, T]]:
    """Results of calls with their numbers, as they come; few wait at a time.

    Raises what a call raised, of several the first in their order.
    """
    waiting: dict[Ref[T], int] = {}
    errors: dict[int, BaseException] = {}
    todo = iter(enumerate(calls))
    try:
        while True:
            window = 2 * engine.slots() + 1  # machines may join, or be lost
            while len(waiting) < window and not errors:
                number, (call, arguments) = next(todo, (-1, (None, ())))
                if call is None:
                    break
                waiting[engine.submit(call, *arguments)] = number
            # Those before the first error may fail as well, and would be told instead.
            open_calls = [r for r, n in waiting.items() if not errors or n < min(errors)]
            if not open_calls:
                break
            for ref in engine.done(open_calls):
                number = waiting.pop(ref)
                try:
                    found = engine.result(ref)
                except Exception as error:
                    errors[number] = error
                    continue
                if not errors or number < min(errors):
                    yield number, found
    finally:
        engine.cancel(list(waiting))
    if errors:
        raise errors[min(errors)]
