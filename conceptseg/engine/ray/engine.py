"""Calls on the machines of a Ray cluster. Nothing outside of this folder imports ray."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from conceptseg.engine.base import ADVANCE, Engine, Host, Ref
from conceptseg.engine.proof import proof, shown
from conceptseg.engine.ray.cluster import connected
from conceptseg.engine.ray.worker import Counter, Maker, Shared
from conceptseg.errors import RESUMES, InputError, RoomError

if TYPE_CHECKING:
    from conceptseg.config import RunConfig
    from conceptseg.engine.job import Job

T = TypeVar("T")
RETRIES = 3
"""How often a call is made again whose worker or machine was lost."""
FULL = (
    "the Ray cluster's store is full, on disk too; give it room (ray start --object-store-memory, "
    f"--temp-dir), or the run a store of its own (run.store); {RESUMES}"
)
CROWDED = (
    "have fewer workers on a machine (run.cpus_per_worker higher), or set run.batch_size lower"
)
"""What cures a want of memory."""
ANSWER = 300.0
"""Seconds that a machine is given to load the network and to show what it has."""


@dataclass(eq=False)
class _Call(Ref[T]):
    """A call by its number, how the workers that had it were lost, and what it gave or raised.

    `images` are those that it is known to have done.
    """

    call: Callable[..., T]
    arguments: tuple[Any, ...]
    number: int
    images: int = 0
    lost: list[str] = field(default_factory=list)
    made: Any = None
    error: Exception | None = None
    over: bool = False

    def done(self, images: int) -> None:
        """Tell of images that are done, each once, though the call may be made again."""
        if (advance := ADVANCE.get()) is not None and images > self.images:
            advance(images - self.images)
        self.images = max(self.images, images)


@dataclass(eq=False)
class _Worker:
    """A process of the cluster, which keeps its network. `about` is what it was asked last: to be
    there (None), or a call. `node` is the machine, once it is known."""

    actor: Any
    ref: Any
    about: _Call[Any] | None = None
    node: str = ""


class RayEngine(Engine):
    """Makes as many calls at once as the cluster has room for, each in a worker of so many cores
    and GPUs, which keeps its network from call to call.

    Without an address it starts a cluster of this machine alone, which ends with the program. A
    call whose worker or machine is lost is made again elsewhere, `RETRIES` times. A machine that
    joins late is used from then on; for each worker that was ended for want of memory there is one
    fewer. Machines have to have the same files, code and packages: each
    worker shows it before its first call, and :meth:`prove` asks all machines.
    """

    elsewhere = True

    def __init__(self, address: str | None = None, cpus: int = 1, gpus: float = 0.0) -> None:
        self._cpus, self._gpus = cpus, gpus
        self._ray = connected(address)
        errors = self._ray.exceptions
        self._full = (errors.ObjectStoreFullError, errors.OutOfDiskError)
        self._maker, self._proof = self._ray.remote(Maker), proof()
        self._waiting: deque[_Call[Any]] = deque()
        self._workers: list[_Worker] = []
        self._asked, self._known, self._failed, self._number = -1.0, 1, 0, 0
        self._fewer = 0
        self._counter: Any = None
        self._counts: Any = None

    @classmethod
    def of(cls, run: RunConfig) -> RayEngine:
        """As a study's `run` block asks for it. Raises InputError where no cluster answers."""
        gpus = run.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if run.device.startswith("cuda") else 0.0
        return cls(run.address, run.cpus_per_worker, gpus)

    def slots(self) -> int:
        if time.monotonic() - self._asked > 1.0:
            rooms = sum(self._room(node["Resources"]) for node in self._hosts())
            self._asked, self._known = time.monotonic(), max(1, rooms - self._fewer)
        return self._known

    def share(self, value: T) -> Ref[T]:
        with self._told("what all workers need"):
            return Shared(uuid4().hex, (self._ray.put(value),))

    def submit(self, call: Callable[..., T], *arguments: Any) -> Ref[T]:
        self._number += 1
        asked = _Call(call, arguments, self._number)
        self._waiting.append(asked)
        return asked

    def done(self, refs: Sequence[Ref[T]]) -> Sequence[Ref[T]]:
        while not (over := [one for one in refs if isinstance(one, _Call) and one.over]):
            self._hand_out()
            asked = {one.ref: one for one in self._workers if one.ref is not None}
            # Not for ever: a machine may join meanwhile.
            for ref in self._ray.wait(list(asked), timeout=1.0)[0]:
                self._hear(asked[ref])
            self._count()
        return over

    def result(self, ref: Ref[T]) -> T:
        assert isinstance(ref, _Call) and ref.over
        if ref.error is not None:
            raise ref.error
        made: T = ref.made
        ref.made = None
        return made

    def cancel(self, refs: Sequence[Ref[Any]]) -> None:
        self._waiting = deque(one for one in self._waiting if one not in refs)

    def close(self) -> None:
        for worker in self._workers:
            self._kill(worker.actor)
        self._kill(self._counter)
        self._counter = self._counts = None
        self._workers, self._waiting = [], deque()

    def prove(self, job: Job) -> list[Host]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = {}
        for node in self._hosts():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            # A machine that is full with others' work answers all the same.
            actor = self._actor(cpus=0, gpus=0, scheduling_strategy=there)
            ref = actor.make.remote(shown, (job,))
            asked[ref] = actor, node["NodeManagerAddress"], self._room(node["Resources"])
        ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER)
        told = []
        for ref, (actor, name, rooms) in asked.items():
            kind, wrong = "", f"no answer in {ANSWER:.0f} s"
            try:
                kind, wrong = (self._ray.get(ref)[0], "") if ref in ready else (kind, wrong)
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause
                wrong = str(cause) if isinstance(cause, InputError) else repr(cause)
            except self._ray.exceptions.RayError as error:
                wrong = f"lost while it loaded the network ({error})"
                if _of_memory(error):
                    wrong = f"ran out of memory while it loaded the network; {CROWDED}"
            if wrong and not wrong.startswith("host "):
                wrong = f"host {name}: {wrong}"
            self._ray.kill(actor)
            told.append(Host(name, kind, rooms, wrong))
        return told

    def _hand_out(self) -> None:
        """Give calls that wait to workers that are free, and start workers while there is room."""
        for worker in self._workers:
            if worker.ref is None and self._waiting:
                worker.about = asked = self._waiting.popleft()
                of_call = asked.call, asked.arguments, self._counter, asked.number
                worker.ref = worker.actor.make.remote(*of_call)
        wanted = min(self.slots() - len(self._workers), len(self._waiting))
        for _ in range(wanted):
            actor = self._actor(cpus=self._cpus, gpus=self._gpus, scheduling_strategy="SPREAD")
            self._workers.append(_Worker(actor, actor.node.remote()))

    def _actor(self, cpus: float, gpus: float, **options: Any) -> Any:
        kind = self._maker.options(num_cpus=cpus, num_gpus=gpus, **options)
        return kind.remote(self._proof)

    def _hear(self, worker: _Worker) -> None:
        """What a worker answers: that it is there, what a call gave or raised, or that it is lost.

        States are copied out of the cluster's store, which has to keep what is looked at there.
        """
        errors, asked, made, ref = self._ray.exceptions, worker.about, None, worker.ref
        worker.ref = worker.about = None
        try:
            made = copy.deepcopy(self._ray.get(ref))
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            if isinstance(cause, self._full):
                cause = InputError(f"{_about(asked.arguments if asked else ())}: {FULL}")
            cause.__cause__ = None if cause is error else error
            assert asked is not None  # it says that it is there, or is lost
            asked.over, asked.error = True, cause
        except errors.RayError as error:
            self._lose(worker, asked, error)
        else:
            if asked is None:
                worker.node, self._failed = made, 0
            else:
                asked.over, (asked.made, images) = True, made
                asked.done(images)

    def _lose(self, worker: _Worker, asked: _Call[Any] | None, error: Exception) -> None:
        """Do without a worker, and without all that were on its machine if that is gone."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        kept = [one for one in self._workers if one.about or not one.node or one.node in alive]
        self._workers = [one for one in kept if one is not worker]
        self._asked = -1.0
        self._kill(worker.actor)
        crowded = _of_memory(error)
        self._fewer += crowded
        if asked is None:
            self._failed += 1
            if self._failed > RETRIES and crowded:
                raise RoomError(f"the machines of the cluster ran out of memory; {CROWDED}")
            if self._failed > RETRIES:
                told = str(error).strip().rpartition("\n")[2]
                raise InputError(f"workers of the Ray cluster end before they begin: {told}")
            return
        asked.lost.append(type(error).__name__)
        if len(asked.lost) <= RETRIES:
            self._waiting.appendleft(asked)
            return
        asked.over = True
        about = _about(asked.arguments)
        if crowded:
            asked.error = RoomError(
                f"{about}: the machines of the cluster ran out of memory {len(asked.lost)} times; "
                f"{CROWDED}; {RESUMES}"
            )
            return
        asked.error = InputError(
            f"{about}: the workers or machines that took this part were lost, {len(asked.lost)} "
            f"times in all ({asked.lost[-1]}), most likely for want of memory; set run.batch_size "
            f"lower, or give workers more; {RESUMES}"
        )

    def _count(self) -> None:
        """Ask how many images of the calls that are under way are done, if somebody listens, and
        tell what was answered to the question before."""
        if ADVANCE.get() is None or not self._workers:
            return
        if self._counter is None:
            self._counter = self._ray.remote(Counter).options(num_cpus=0).remote()
        if self._counts is not None and not self._ray.wait([self._counts], timeout=0)[0]:
            return
        calls = {one.about.number: one.about for one in self._workers if one.about is not None}
        with suppress(self._ray.exceptions.RayError):  # it is for show, and may be lost
            told = {} if self._counts is None else self._ray.get(self._counts)
            for number in told.keys() & calls:
                calls[number].done(told[number])
        self._counts = self._counter.told.remote(list(calls))

    def _kill(self, actor: Any) -> None:
        with suppress(Exception):  # it may be gone, and the cluster as well
            self._ray.kill(actor)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._full as error:
            raise InputError(f"{what}: {FULL}") from error

    def _hosts(self) -> list[Mapping[str, Any]]:
        found = [one for one in self._ray.nodes() if one["Alive"] and self._room(one["Resources"])]
        if not found:
            asked = f"{self._cpus} cores" + (f" and {self._gpus:g} GPUs" if self._gpus else "")
            raise InputError(
                f"no machine of the Ray cluster has {asked}, which a worker takes; set "
                "run.cpus_per_worker or run.gpus_per_worker lower"
            )
        return found

    def _room(self, resources: Mapping[str, float]) -> int:
        """Workers that a machine has room for."""
        room = int(resources.get("CPU", 0) // self._cpus)
        return min(room, int(resources.get("GPU", 0) / self._gpus)) if self._gpus else room


def _of_memory(error: Exception) -> bool:
    """Whether a worker was ended for want of memory, as Ray says."""
    return type(error).__name__ == "OutOfMemoryError" or "running low on memory" in str(error)


def _about(arguments: Sequence[Any]) -> str:
    """What a call is about, for messages: the images of a part, if it is one."""
    for one in arguments:
        if isinstance(one, Sequence) and not isinstance(one, str) and len(one):
            names = [getattr(end, "id", None) for end in (one[0], one[-1])]
            if None not in names:
                return f"images {names[0]!r} to {names[1]!r}"
    return "a part of the run"
