"""The columns of L-CRP's tables that its report draws, and how its rows are read."""

from collections.abc import Mapping
from typing import Any

from conceptseg.result.columns import Column, as_number
from conceptseg.result.wording import with_interval

RELEVANCE = Column("relevance", "share of relevance")
CONTEXT = Column("context", "context score, random images", interval=True, brief="context score")
TOP = Column(
    "top",
    "context score, most relevant images (published)",
    interval=True,
    brief="most relevant images",
)
OVER_SHUFFLED = Column("over_shuffled", "excess over shuffled weights", interval=True)
OVER_FIELD = Column("over_field", "excess over the receptive field", interval=True)
SENSITIVITY = Column("sensitivity", "background sensitivity", interval=True)
THROUGH = Column("through", "relevance through the layer", interval=True)
CORRELATION = Column(
    "correlation", "correlation with sensitivity", interval=True, ends=("low", "high")
)
GAP = Column("gap", "minus that of random orders", interval=True, ends=("low", "high"))
Row = Mapping[str, Any]
UNKNOWN = "cannot be told"
"""The verdict, in saved results, where neither was shown; readers see "inconclusive"."""


def shown(column: Column) -> Column:
    """A column read from a saved row: its cell, or a text of the number with its interval."""

    def cell(row: Row) -> Any:
        return with_interval(row, column) if column.interval else row[column.key]

    return Column(column.key, column.label, of=cell)


def channel_name(unit: int, label: str) -> str:
    """A channel, with what a dissection says that it detects."""
    return f"channel {unit} ({label})" if label else f"channel {unit}"


def name_of(row: Row) -> str:
    """The row's channel."""
    return channel_name(row["unit"], row["label"])


def excess(row: Row) -> float:
    """How far a channel's context score lies above the baseline that it is tested against."""
    return as_number(row["over_field" if row["over_shuffled"] is None else "over_shuffled"])
