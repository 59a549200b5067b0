"""Calls in other processes of this machine, several at once."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from conceptseg.engine.base import Engine, Ref
from conceptseg.engine.job import DEVICE
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from loky import ProcessPoolExecutor

T = TypeVar("T")
SHARED = 4
"""Shared values that a process keeps at once."""


@dataclass(frozen=True, eq=False)
class _Shared(Ref[T]):
    """A value in a file of this program's own, from which each process reads it once.

    The file is there as long as this is.
    """

    path: str


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
        self._folder: Path | None = None
        self._given = 0

    def slots(self) -> int:
        return sum(count for count, _ in self._places)

    def share(self, value: T) -> Ref[T]:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="conceptseg-"))
            weakref.finalize(self, shutil.rmtree, self._folder, True)
        self._given += 1
        path = self._folder / f"{self._given}"
        path.write_bytes(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
        shared = _Shared[T](str(path))
        weakref.finalize(shared, path.unlink, True)
        return shared

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
        """End the processes; calls under way are lost."""
        for pool, _ in self._pools:
            pool.shutdown(wait=True, kill_workers=True)
        self._pools = []


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
    return call(*(_read(one.path) if isinstance(one, _Shared) else one for one in arguments))


@lru_cache(maxsize=SHARED)
def _read(path: str) -> Any:
    return pickle.loads(Path(path).read_bytes())
