"""Rows under named columns, as results keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


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
        return cls(
            list(saved["rows"]),
            tuple(saved["columns"]),
            dict(saved["labels"]),
            str(saved["caption"]),
        )
