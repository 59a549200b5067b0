"""What runs on the machines of a cluster: workers, and a counter of images that they have done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from conceptseg.engine.base import ADVANCE, HOST, Ref, first_of, host
from conceptseg.engine.job import DEVICE
from conceptseg.engine.proof import Proof, compare
from conceptseg.errors import InputError

T = TypeVar("T")
OFTEN = 1.0
"""Seconds at least between two words of a worker on how far it is."""


@dataclass(frozen=True, eq=False)
class Shared(Ref[T]):
    """A value in the cluster's store; a process fetches it once. `boxed` holds it out of Ray's
    sight, which would fetch it for each call."""

    name: str
    boxed: tuple[Any]


class Counter:
    """How many images of each call that is under way are done; for those who watch alone."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}

    def tell(self, call: int, images: int) -> None:
        self._done[call] = images

    def told(self, calls: Collection[int]) -> dict[int, int]:
        """Those of some calls; the others are over."""
        self._done = {call: self._done[call] for call in self._done.keys() & set(calls)}
        return self._done


class _Told:
    """Images of one call, told to a counter now and then; nobody waits for its answer."""

    def __init__(self, counter: Any, call: int) -> None:
        self.images, self._counter, self._call, self._last = 0, counter, call, time.monotonic()

    def __call__(self, images: int) -> None:
        self.images += images
        now = time.monotonic()
        if self._counter is not None and now - self._last > OFTEN:
            self._last = now
            self._counter.tell.remote(self._call, self.images)


class Maker:
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

    def make(
        self, call: Callable[..., T], arguments: Sequence[Any], counter: Any = None, name: int = 0
    ) -> tuple[T, int]:
        """What a call gives, and how many images it has done."""
        told = _Told(counter, name)
        token = ADVANCE.set(told)
        try:
            compare(self._proof)
            return call(*map(_given, arguments)), told.images
        except InputError as error:
            raise InputError(f"host {host()}: {error}") from None
        finally:
            ADVANCE.reset(token)


def _given(one: Any) -> Any:
    import ray

    if not isinstance(one, Shared):
        return one
    try:
        return first_of(one.name, lambda: ray.get(one.boxed[0]))
    except ray.exceptions.RaySystemError as error:
        # What this machine lacks is met where the run's context is made of what came.
        met = getattr(error, "client_exc", None)
        raise (met if isinstance(met, Exception) else error) from None
