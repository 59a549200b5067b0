"""Where calls are made: the seam between a run and the machines that it may use.

A run asks an engine for pure calls and puts their results together in an order of its own, so an
engine may make them anywhere, in any order, more than once. Calls and arguments must be such that
pickle takes them; a context goes as the description from which another process makes its own (see
:class:`~conceptseg.engine.job.Job`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")


class Ref(Generic[T]):
    """A call that was asked for, or a value that was shared."""


class Engine(ABC):
    """Makes calls. What a call raises, its result raises.

    `here` says whether it makes them in the process that asks.
    """

    here: ClassVar[bool] = False

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


def each(
    engine: Engine, calls: Sequence[tuple[Callable[..., T], tuple[Any, ...]]]
) -> Iterator[tuple[int, T]]:
    """Results of calls with their numbers, as they come; few wait at a time.

    Raises what a call raised, of several the first in their order.
    """
    window = 2 * engine.slots() + 1
    waiting: dict[Ref[T], int] = {}
    errors: dict[int, BaseException] = {}
    todo = iter(enumerate(calls))
    try:
        while True:
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
