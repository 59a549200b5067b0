"""Fits: calls without the network, independent of each other, that a step is made of.

A step asks for them in the order in which it needs them and puts together what they give; whether
they are made here, one after the other, or by several processes at once, is the run's affair and
changes nothing: each is seeded by itself, reads no images, and computes with one thread. What long
ones gave is kept, so a run that broke off repeats none of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from conceptseg.data.reads import Reads
from conceptseg.engine.base import Engine, each
from conceptseg.engine.known import Key, Known
from conceptseg.engine.local import LocalEngine
from conceptseg.engine.store import CarryStore, DamagedError, Made
from conceptseg.settings import digest

T = TypeVar("T")
LONG = 4.0
"""Seconds that calls must take together before other processes are asked, and results are kept."""
BLOCKS = 4
"""Blocks of calls for each process: the more, the better they fill it to the end."""
MADE = Key("made", object)


@dataclass
class Fits:
    """Where a step's fits are made, and kept: under `key`, which hashes all they depend on.

    `counts` are those made and those found kept.
    """

    engine: Engine
    store: CarryStore | None = None
    key: str = ""
    counts: tuple[int, int] = (0, 0)
    _asked: int = 0

    def all_of(
        self, call: Callable[..., T], items: Sequence[tuple[Any, ...]], *shared: Any
    ) -> list[T]:
        """What `call(*shared, *item)` gives for each item, in their order."""
        self._asked += 1
        name = f"{call.__qualname__}-{self._asked}"
        results: dict[int, T] = {}
        for number in range(len(items)):
            if (known := self._kept(name, number)) is not None:
                results[number] = cast(T, known[MADE])
        todo = [number for number in range(len(items)) if number not in results]
        kept, started, fresh, long = len(results), time.monotonic(), {}, False
        while todo and not long:
            number = todo.pop(0)
            fresh[number] = _alone(call, *shared, *items[number])
            spent = time.monotonic() - started
            long = spent + spent / len(fresh) * len(todo) > LONG
        if long:
            for number, one in fresh.items():
                self._keep(name, number, one)
        if todo:
            for number, one in self._elsewhere(call, items, todo, shared):
                self._keep(name, number, one)
                fresh[number] = one
        self.counts = self.counts[0] + len(fresh), self.counts[1] + kept
        results |= fresh
        return [results[number] for number in range(len(items))]

    def _elsewhere(
        self,
        call: Callable[..., T],
        items: Sequence[tuple[Any, ...]],
        todo: Sequence[int],
        shared: Sequence[Any],
    ) -> Iterator[tuple[int, T]]:
        engine = self.engine
        refs = [engine.share(one) for one in shared]
        # Some at a time, for what is shared may have to travel with each call.
        size = max(1, len(todo) // (BLOCKS * engine.slots()))
        blocks = [todo[first : first + size] for first in range(0, len(todo), size)]
        calls = [(_several, (call, [items[n] for n in block], *refs)) for block in blocks]
        for place, made in each(engine, calls):
            yield from zip(blocks[place], made, strict=True)

    def _kept(self, name: str, number: int) -> Known | None:
        if self.store is None:
            return None
        try:
            made = self.store.load(f"{name}.{number}", digest([self.key, name, number]))
        except DamagedError:
            return None
        return None if made is None else made.known

    def _keep(self, name: str, number: int, made: T) -> None:
        if self.store is not None:
            own = digest([self.key, name, number])
            self.store.save(f"{name}.{number}", own, Made(MADE(made), Reads()))


_FITS: ContextVar[Fits] = ContextVar("fits")


def all_of(call: Callable[..., T], items: Sequence[tuple[Any, ...]], *shared: Any) -> list[T]:
    """What `call(*shared, *item)` gives for each item, in their order.

    `call` is a function of a module, and independent of what the others do; `shared` is what all of
    them take. In a run that is what :class:`Fits` does, elsewhere they are made one after the
    other. Raises what a call raises.
    """
    fits = _FITS.get(None) or Fits(LocalEngine())
    return fits.all_of(call, items, *shared)


@contextmanager
def made_by(fits: Fits) -> Iterator[Fits]:
    """Have all fits that are asked for inside made so."""
    token = _FITS.set(fits)
    try:
        yield fits
    finally:
        _FITS.reset(token)


def _several(call: Callable[..., T], items: Sequence[tuple[Any, ...]], *shared: Any) -> list[T]:
    return [_alone(call, *shared, *item) for item in items]


def _alone(call: Callable[..., T], *arguments: Any) -> T:
    """With one thread: as fast on small tables, and the same bits wherever it is made.

    Fits that it asks for itself are its own affair, made with it and not kept: how many of them are
    asked for in this process hangs on where calls are made, and what is kept goes by that count.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), made_by(Fits(LocalEngine())):
        return call(*arguments)
