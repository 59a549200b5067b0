"""Calls in other processes of this machine, several at once."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from conceptseg.engine.base import Engine, Ref, first_of
from conceptseg.engine.job import DEVICE
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from loky import ProcessPoolExecutor

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Shared(Ref[T]):
    """A value that goes with each call; a process keeps the first it was given, with whatever was
    worked out on it."""

    name: str
    value: T


@dataclass(frozen=True, eq=False)
class _Call(Ref[T]):
    future: Future[T]


class ProcessEngine(Engine):
    """Makes as many calls at once as there are `processes`, or one on each of some `devices`.

    The processes are new ones, not copies of this one, begin with the first call and end with the
    engine. Without devices they compute with one thread each.
    """

    def __init__(self, processes: int = 1, devices: Sequence[str] = ()) -> None:
        self._places = [(1, name) for name in devices] or [(processes, "")]
        self._pools: list[tuple[ProcessPoolExecutor, set[Future[Any]]]] = []

    def slots(self) -> int:
        return sum(count for count, _ in self._places)

    def share(self, value: T) -> Ref[T]:
        return _Shared(uuid4().hex, value)

    def submit(self, call: Callable[..., T], *arguments: Any) -> Ref[T]:
        if not self._pools:
            self._pools = [(_pool(count, name), set()) for count, name in self._places]
            for pool, _ in self._pools:
                weakref.finalize(self, pool.shutdown, True, True)
        pool, waiting = min(self._pools, key=lambda one: len(one[1]))
        future = pool.submit(_made, call, arguments)
        waiting.add(future)
        future.add_done_callback(waiting.discard)
        return _Call(future)

    def done(self, refs: Sequence[Ref[T]]) -> Sequence[Ref[T]]:
        futures = {one.future: one for one in refs if isinstance(one, _Call)}
        return [futures[one] for one in wait(futures, return_when=FIRST_COMPLETED).done]

    def result(self, ref: Ref[T]) -> T:
        assert isinstance(ref, _Call)
        try:
            made: T = ref.future.result()
        except BrokenExecutor as error:
            if said := _said(error.__cause__):
                raise InputError(said) from error
            raise InputError(
                "a process of this run was ended from outside, most likely for want of memory; "
                "set run.processes (or run.batch_size) lower; finished parts are kept, the same "
                "command resumes"
            ) from error
        return made

    def cancel(self, refs: Sequence[Ref[Any]]) -> None:
        for one in refs:
            if isinstance(one, _Call):
                one.future.cancel()

    def close(self) -> None:
        for pool, _ in self._pools:
            pool.shutdown(wait=True, kill_workers=True)
        self._pools = []


def _said(cause: BaseException | None) -> str:
    """What an InputError said that a process met before it could make its call: of its network or
    its data. Of that nothing comes back but the traceback, as text."""
    start = f"{InputError.__module__}.{InputError.__qualname__}: "
    lines = str(cause or "").splitlines()
    return next((line[len(start) :] for line in reversed(lines) if line.startswith(start)), "")


def _pool(count: int, device: str) -> ProcessPoolExecutor:
    # Not that of the standard library: its processes import the main program again, which a script
    # or a notebook does not expect.
    from loky import ProcessPoolExecutor

    roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, roots)), DEVICE: device}
    if not device:
        own |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return ProcessPoolExecutor(count, env=own)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _made(call: Callable[..., T], arguments: Sequence[Any]) -> T:
    return call(*(_first(one) if isinstance(one, _Shared) else one for one in arguments))


def _first(shared: _Shared[T]) -> T:
    return first_of(shared.name, lambda: shared.value)
