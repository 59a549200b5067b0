"""Rows under named columns, as results keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from conceptseg.result.columns import Column, as_number, key_of, keys_of, labels_of


@dataclass(frozen=True)
class Table:
    """Rows of named values. `columns` is their order, `labels` what a reader sees as heading."""

    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    caption: str = ""

    def __post_init__(self) -> None:
        if not self.columns:
            found = dict.fromkeys(column for row in self.rows for column in row)
            object.__setattr__(self, "columns", tuple(found))

    @classmethod
    def of(cls, items: Iterable[Any], columns: Sequence[Column | str], caption: str = "") -> Table:
        """A row for each item, with what the columns read of it, in their order."""
        declared = [Column(one) if isinstance(one, str) else one for one in columns]
        rows = [{k: v for one in declared for k, v in one.read(item).items()} for item in items]
        return cls(rows, labels=labels_of(columns), caption=caption)

    @classmethod
    def of_columns(
        cls,
        columns: Mapping[str, Iterable[Any]],
        caption: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Table:
        """The rows of columns of equal length."""
        lines = zip(*columns.values(), strict=True)
        rows = [dict(zip(columns, cells, strict=True)) for cells in lines]
        return cls(rows, labels=labels or {}, caption=caption)

    def numbers(self, column: Column | str) -> np.ndarray:
        """One column, float [rows]; nan where a cell is empty or missing."""
        key = key_of(column)
        return np.array([as_number(row.get(key)) for row in self.rows], np.float64)

    def where(self, keep: Callable[[Mapping[str, Any]], Any]) -> Table:
        """The rows of which `keep` is true."""
        return replace(self, rows=[row for row in self.rows if keep(row)])

    def sorted(self, key: Column | str | Callable[[Mapping[str, Any]], Any]) -> Table:
        """The rows in ascending order of a column (empty cells last), or of what `key` returns."""
        if isinstance(key, Column | str):
            order = np.argsort(self.numbers(key), kind="stable")
            return replace(self, rows=[self.rows[place] for place in order.tolist()])
        return replace(self, rows=sorted(self.rows, key=key))

    def first(self, most: int) -> Table:
        """The first rows, at most so many."""
        return replace(self, rows=self.rows[:most])

    def by(self, key: str | Callable[[Mapping[str, Any]], Any]) -> dict[Any, Table]:
        """The rows of each value of a column or function, in the order in which they appear."""
        groups: dict[Any, list[Mapping[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault(key(row) if callable(key) else row[key], []).append(row)
        return {value: replace(self, rows=rows) for value, rows in groups.items()}

    def show(self, *columns: Column | str) -> Table:
        """The same rows with these columns and their heads, as far as the table has them.

        Rows keep all their cells, so that a chart can be drawn of what its table does not show.
        """
        kept = tuple(key for key in keys_of(columns) if key in self.columns)
        return replace(self.headed(*columns), columns=kept)

    def headed(self, *columns: Column | str) -> Table:
        """The whole table with the heads of these columns, for a result that was saved without."""
        return replace(self, labels={**self.labels, **labels_of(columns)})

    def to_json(self) -> dict[str, Any]:
        return {
            "caption": self.caption,
            "columns": list(self.columns),
            "labels": dict(self.labels),
            "rows": [dict(row) for row in self.rows],
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Table:
        if not all(isinstance(row, dict) for row in saved["rows"]):
            raise TypeError("rows must be mappings")
        texts = [saved["caption"], *saved["columns"], *dict(saved["labels"]).values()]
        if isinstance(saved["columns"], str) or not all(isinstance(one, str) for one in texts):
            raise TypeError("caption, columns and labels must be texts")
        return cls(
            list(saved["rows"]),
            tuple(saved["columns"]),
            dict(saved["labels"]),
            saved["caption"],
        )
