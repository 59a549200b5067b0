"""What a run knows, under typed keys.

    MEAN = Key("mean", float)
    known = MEAN(0.5)       # something known, typed where it is written
    known[MEAN]             # a float, for the type checker and at run time
    known | COUNT(3)        # another mapping that knows both; none is ever changed

The states that a pass gathers are such mappings too, of statistics: they merge key by key.
"""

from __future__ import annotations

from collections.abc import ItemsView, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Key(Generic[T_co]):
    """The name of something known, and its type.

    Keys of one name are equal, so families of them can be made where they are needed:
    `Key(f"moments/{layer}", Moments)`. Where T has parameters they are written beside:
    `PAIRS: Key[tuple[Pair, ...]] = Key("pairs", tuple)`.
    """

    name: str
    kind: type[T_co] = field(compare=False)

    # A key of tuples is one of sequences: what it names is read more often than it is made.
    def __call__(self, value: T_co) -> Known:  # type: ignore[misc]
        """That this, and nothing else, is known."""
        return Known({self.name: value})


class Known:
    """An immutable mapping from keys to values of the keys' types."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._values = dict(values)

    def __getitem__(self, key: Key[T]) -> T:
        """Raises KeyError for what is not known, TypeError for what is of another type."""
        if key.name not in self._values:
            there = ", ".join(sorted(self._values)) or "nothing"
            raise KeyError(f"{key.name!r} is not known here; known: {there}")
        value: T = self._values[key.name]
        if not isinstance(value, key.kind):
            found, wanted = type(value).__qualname__, key.kind.__qualname__
            raise TypeError(f"{key.name!r} is of type {found}, its key says {wanted}")
        return value

    @overload
    def get(self, key: Key[T]) -> T | None: ...
    @overload
    def get(self, key: Key[T], default: T) -> T: ...
    def get(self, key: Key[T], default: T | None = None) -> T | None:
        """As `known[key]`, but the default for what is not known."""
        if key not in self:
            return default
        return self[key]

    def __contains__(self, key: Key[Any]) -> bool:
        return key.name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __or__(self, other: Known) -> Known:
        """Both; of a key that both have, the other's value."""
        return Known({**self._values, **other._values})

    def merge(self, other: Known) -> Known:
        """Two states, statistic by statistic; one that only one of them has is kept as it is."""
        both = self._values.keys() & other._values.keys()
        return self | other | Known({k: self._values[k].merge(other._values[k]) for k in both})

    def items(self) -> ItemsView[str, Any]:
        """Names and values."""
        return self._values.items()
