"""Columns of a table, declared once: keys in the JSON, heads, intervals, and where they come from.

A study's `tables.py` declares the columns that its report draws, and makes its tables of them::

    LOSS = Column("loss", "IoU change", interval=True)
    Table.of(pairs, (Column("concept", of=lambda pair: pair.concept + 1), LOSS), "The pairs")

Each row then holds `loss`, `loss_low` and `loss_high` of the estimate `pair.loss`. In the report a
chart takes a column as what it draws: its label names the axis, its interval is the error bar, and
both are in the alternative text. Rows that are put together by hand take their cells from it
(`LOSS.cells(estimate)`), and their heads from `labels_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

NAN = float("nan")


class Interval(Protocol):
    """A number with the ends of its interval, nan where there is none."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


@dataclass(frozen=True)
class Column:
    """One quantity of a table: its key in a row, and its head where that is not the key itself.

    With `interval` a row also holds its ends, under `key_low` and `key_high`, or under the two
    names of `ends`. Their heads are "label, low" and "label, high"; `brief` stands for a long
    label in them, and "" leaves them to their keys.

    `of` is what the column reads of the thing that a row is about: the name of an attribute, by
    default the key, or a function of it. With an interval that is an estimate, or None.
    """

    key: str
    label: str = ""
    interval: bool = False
    brief: str | None = None
    ends: tuple[str, str] = ("", "")
    of: str | Callable[[Any], Any] = ""

    @property
    def low(self) -> str:
        """The key of the interval's lower end."""
        return self.ends[0] or f"{self.key}_low"

    @property
    def high(self) -> str:
        """The key of the interval's upper end."""
        return self.ends[1] or f"{self.key}_high"

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that a row holds of this column, in the order of the table."""
        return (self.key, self.low, self.high) if self.interval else (self.key,)

    @property
    def labels(self) -> dict[str, str]:
        """Heads by key; a key that is its own head is not in it."""
        heads = {self.key: self.label} if self.label else {}
        brief = self.label if self.brief is None else self.brief
        if self.interval and brief:
            heads |= {self.low: f"{brief}, low", self.high: f"{brief}, high"}
        return heads

    @property
    def alone(self) -> Column:
        """The column without its interval, for a table that has no room for it."""
        return replace(self, interval=False)

    @property
    def name(self) -> str:
        """What a reader calls it: on an axis, in an alternative text."""
        return self.label or self.key.replace("_", " ")

    def at(self, cells: Any) -> Column:
        """The column of a table whose things are indices of its `cells`: a sequence or array."""
        return replace(self, of=cells.__getitem__)

    def read(self, item: Any) -> dict[str, Any]:
        """The cells of the row about a thing."""
        of = self.of or self.key
        value = of(item) if callable(of) else getattr(item, of)
        return self.cells(value) if self.interval else {self.key: value}

    def cells(self, estimate: Interval | None) -> dict[str, float | None]:
        """The cells of a row for a number with its interval; of None for none."""
        if estimate is None:
            return dict.fromkeys(self.keys)
        cells = (estimate.value, estimate.low, estimate.high)
        return dict(zip(self.keys, cells, strict=False))


def keys_of(columns: Iterable[Column | str]) -> tuple[str, ...]:
    """The keys of columns in their order; a bare key stands for a column without a label."""
    return tuple(
        key for one in columns for key in (one.keys if isinstance(one, Column) else (one,))
    )


def labels_of(columns: Iterable[Column | str]) -> dict[str, str]:
    """The heads of columns by key; none for bare keys."""
    return {
        key: label
        for one in columns
        if isinstance(one, Column)
        for key, label in one.labels.items()
    }


def key_of(column: Column | str) -> str:
    """The key of a column, or of itself."""
    return column.key if isinstance(column, Column) else column


def as_number(value: Any) -> float:
    """A cell as a float; nan for an empty one."""
    return NAN if value is None else float(value)
