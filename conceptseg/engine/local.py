"""Calls in this process, one after the other, when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from conceptseg.engine.base import Engine, Ref

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Shared(Ref[T]):
    value: T


@dataclass(frozen=True, eq=False)
class _Call(Ref[T]):
    call: Callable[..., T]
    arguments: tuple[Any, ...]

    def made(self) -> T:
        return self.call(*(a.value if isinstance(a, _Shared) else a for a in self.arguments))


class LocalEngine(Engine):
    """Nothing runs at once, and nothing is copied."""

    here = True

    def slots(self) -> int:
        return 1

    def share(self, value: T) -> Ref[T]:
        return _Shared(value)

    def submit(self, call: Callable[..., T], *arguments: Any) -> Ref[T]:
        return _Call(call, arguments)

    def done(self, refs: Sequence[Ref[T]]) -> Sequence[Ref[T]]:
        return refs[:1]

    def result(self, ref: Ref[T]) -> T:
        assert isinstance(ref, _Call)
        made: T = ref.made()
        return made

    def cancel(self, refs: Sequence[Ref[Any]]) -> None:
        """Nothing is under way."""
