"""Calls on the machines of a Ray cluster. The only file that imports ray."""

from __future__ import annotations

import copy
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from conceptseg.engine.base import HOST, Engine, Host, Ref, first_of, host
from conceptseg.engine.job import DEVICE
from conceptseg.engine.pool import cores
from conceptseg.engine.proof import Proof, compare, proof, reach, shown
from conceptseg.errors import InputError
from conceptseg.extras import missing

if TYPE_CHECKING:
    from conceptseg.config import RunConfig
    from conceptseg.engine.job import Job

T = TypeVar("T")
RETRIES = 3
"""How often a call is made again whose worker or machine was lost."""
STORE = 1 << 30
"""Bytes of memory for what travels, of a cluster that is started here; more than that waits on
disk."""
ANSWER = 300.0
"""Seconds that a machine is given to load the network and to show what it has."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""That nothing is sent to Ray's makers, and that it does not talk of what it will change."""


@dataclass(frozen=True, eq=False)
class _Shared(Ref[T]):
    """A value in the cluster's store; a process fetches it once. `boxed` holds it out of Ray's
    sight, which would fetch it for each call."""

    name: str
    boxed: tuple[Any]


@dataclass(eq=False)
class _Call(Ref[T]):
    """A call, how the workers that had it were lost, and what it gave or raised."""

    call: Callable[..., T]
    arguments: tuple[Any, ...]
    lost: list[str] = field(default_factory=list)
    made: Any = None
    error: Exception | None = None
    over: bool = False


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
    joins late is used from then on. Machines have to have the same files, code and packages: each
    worker shows it before its first call, and :meth:`prove` asks all machines.
    """

    elsewhere = True

    def __init__(self, address: str | None = None, cpus: int = 1, gpus: float = 0.0) -> None:
        self._cpus, self._gpus = cpus, gpus
        self._ray = _connected(address)
        self._maker, self._proof = self._ray.remote(_Maker), proof()
        self._waiting: deque[_Call[Any]] = deque()
        self._workers: list[_Worker] = []
        self._asked, self._known, self._failed = -1.0, 1, 0

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
            self._asked, self._known = time.monotonic(), max(1, rooms)
        return self._known

    def share(self, value: T) -> Ref[T]:
        with self._told("what all workers need"):
            return _Shared(uuid4().hex, (self._ray.put(value),))

    def submit(self, call: Callable[..., T], *arguments: Any) -> Ref[T]:
        asked = _Call(call, arguments)
        self._waiting.append(asked)
        return asked

    def done(self, refs: Sequence[Ref[T]]) -> Sequence[Ref[T]]:
        while not (over := [one for one in refs if isinstance(one, _Call) and one.over]):
            self._hand_out()
            asked = {one.ref: one for one in self._workers if one.ref is not None}
            # Not for ever: a machine may join meanwhile.
            for ref in self._ray.wait(list(asked), timeout=1.0)[0]:
                self._hear(asked[ref])
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
            self._kill(worker)
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
                kind, wrong = (self._ray.get(ref), "") if ref in ready else (kind, wrong)
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause
                wrong = str(cause) if isinstance(cause, InputError) else repr(cause)
            except self._ray.exceptions.RayError as error:
                wrong = f"lost while it loaded the network ({error})"
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
                worker.ref = worker.actor.make.remote(asked.call, asked.arguments)
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
            cause.__cause__ = None if cause is error else error
            assert asked is not None  # it says that it is there, or is lost
            asked.over, asked.error = True, cause
        except errors.RayError as error:
            self._lose(worker, asked, error)
        else:
            if asked is None:
                worker.node, self._failed = made, 0
            else:
                asked.over, asked.made = True, made

    def _lose(self, worker: _Worker, asked: _Call[Any] | None, error: Exception) -> None:
        """Do without a worker, and without all that were on its machine if that is gone."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        kept = [one for one in self._workers if one.about or not one.node or one.node in alive]
        self._workers = [one for one in kept if one is not worker]
        self._asked = -1.0
        self._kill(worker)
        if asked is None:
            self._failed += 1
            if self._failed > RETRIES:
                told = str(error).strip().rpartition("\n")[2]
                raise InputError(f"workers of the Ray cluster end before they begin: {told}")
            return
        asked.lost.append(type(error).__name__)
        if len(asked.lost) <= RETRIES:
            self._waiting.appendleft(asked)
            return
        asked.over = True
        about, errors = _about(asked.arguments), self._ray.exceptions
        if isinstance(error, errors.OutOfMemoryError) or "running low on memory" in str(error):
            asked.error = MemoryError(f"{about}: the machines of the cluster ran out of memory")
            return
        asked.error = InputError(
            f"{about}: the workers or machines that took this part were lost, {len(asked.lost)} "
            f"times in all ({asked.lost[-1]}), most likely for want of memory; set run.batch_size "
            "lower, or give workers more; finished parts are kept, the same command resumes"
        )

    def _kill(self, worker: _Worker) -> None:
        with suppress(Exception):  # it may be gone, and the cluster as well
            self._ray.kill(worker.actor)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        errors = self._ray.exceptions
        try:
            yield
        except (errors.ObjectStoreFullError, errors.OutOfDiskError) as error:
            raise InputError(
                f"{what}: the Ray cluster's store is full, on disk too; give it room (ray start "
                "--object-store-memory, --temp-dir)"
            ) from error

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


class _Maker:
    """A worker. What a user can cure names the machine."""

    def __init__(self, wanted: Proof) -> None:
        import ray

        os.environ[HOST], self._proof = ray.util.get_node_ip_address(), wanted
        if ray.get_gpu_ids():
            os.environ[DEVICE] = "cuda"  # Ray lets it see those alone

    def node(self) -> str:
        import ray

        found: str = ray.get_runtime_context().get_node_id()
        return found

    def make(self, call: Callable[..., T], arguments: Sequence[Any]) -> T:
        try:
            compare(self._proof)
            return call(*map(_given, arguments))
        except InputError as error:
            raise InputError(f"host {host()}: {error}") from None


def _given(one: Any) -> Any:
    import ray

    if not isinstance(one, _Shared):
        return one
    try:
        return first_of(one.name, lambda: ray.get(one.boxed[0]))
    except ray.exceptions.RaySystemError as error:
        # What this machine lacks is met where the run's context is made of what came.
        met = getattr(error, "client_exc", None)
        raise (met if isinstance(met, Exception) else error) from None


def _connected(address: str | None) -> ModuleType:
    """ray, connected to a cluster; once in a process."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise InputError(missing("run.engine: ray", "ray")) from None
    if ray.is_initialized():
        return ray
    own: dict[str, Any] = {"address": address}
    if address is not None and address != "auto":
        reach(address)
    if address is None:
        own = {"address": "local", "num_cpus": cores(), "include_dashboard": False}
        own["object_store_memory"] = STORE
        # Who reaches a cluster can run code there: this one is for this program alone.
        os.environ.setdefault("RAY_AUTH_TOKEN", uuid4().hex)
    theirs = signal.getsignal(signal.SIGTERM)  # Ray sets one of its own, which ends with code 15
    try:
        ray.init(**own, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError, OSError) as error:
        where = "no cluster could be started" if address is None else f"run.address {address}"
        cure = "is `ray start --head` running there, of the same version?"
        if "Authentication" in f"{type(error.__cause__)} {error.__cause__}":
            cure = "it wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        raise InputError(f"{where}: {' '.join(str(error).split())[:200]}; {cure}") from error
    finally:
        with suppress(ValueError):  # not in the main thread, where Ray sets none
            signal.signal(signal.SIGTERM, theirs)
    return ray


def _about(arguments: Sequence[Any]) -> str:
    """What a call is about, for messages: the images of a part, if it is one."""
    for one in arguments:
        if isinstance(one, Sequence) and not isinstance(one, str) and len(one):
            names = [getattr(end, "id", None) for end in (one[0], one[-1])]
            if None not in names:
                return f"images {names[0]!r} to {names[1]!r}"
    return "a part of the run"
