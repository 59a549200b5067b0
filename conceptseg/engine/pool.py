"""Calls in other processes of this machine, several at once."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from conceptseg.engine.base import Engine, Ref

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
    """Makes as many calls at once as there are `processes`, which begin with the first call.

    They are new ones, not copies of this one, and compute with one thread each. They end with the
    engine.
    """

    def __init__(self, processes: int) -> None:
        self._count, self._given = processes, 0
        self._pool: ProcessPoolExecutor | None = None
        self._folder: Path | None = None
        self._end: Callable[[], None] = lambda: None

    def slots(self) -> int:
        return self._count

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
        return _Call(self._processes().submit(_made, call, arguments))

    def done(self, refs: Sequence[Ref[T]]) -> Sequence[Ref[T]]:
        futures = {one.future: one for one in refs if isinstance(one, _Call)}
        return [futures[one] for one in wait(futures, return_when=FIRST_COMPLETED).done]

    def result(self, ref: Ref[T]) -> T:
        assert isinstance(ref, _Call)
        made: T = ref.future.result()
        return made

    def cancel(self, refs: Sequence[Ref[Any]]) -> None:
        for one in refs:
            if isinstance(one, _Call):
                one.future.cancel()

    def close(self) -> None:
        """End the processes; calls under way are lost."""
        self._end()

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Not those of the standard library: these import the main program again, which a
            # script or a notebook does not expect.
            from loky import ProcessPoolExecutor

            roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            path = os.pathsep.join(filter(None, roots))
            self._pool = ProcessPoolExecutor(self._count, env={**alone, "PYTHONPATH": path})
            self._end = weakref.finalize(self, self._pool.shutdown, True, True)
        return self._pool


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _made(call: Callable[..., T], arguments: Sequence[Any]) -> T:
    return call(*(_read(one.path) if isinstance(one, _Shared) else one for one in arguments))


@lru_cache(maxsize=SHARED)
def _read(path: str) -> Any:
    return pickle.loads(Path(path).read_bytes())
