"""A table as a page shows it, and all of its rows, for filters and CSV."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

from conceptseg.result.encoding import plain
from conceptseg.result.table import Table
from conceptseg.result.wording import is_number, number, p_value, words


def shown(table: Table, limit: int) -> dict[str, Any]:
    """Headings, which columns are numbers, and the cells' texts."""
    numeric = {key: all(is_number(row.get(key)) for row in table.rows) for key in table.columns}
    heads = [
        {"text": table.labels.get(column, words(column)), "numeric": numeric[column]}
        for column in table.columns
    ]
    return {
        "heads": heads,
        "numbers": "".join(f" n{n}" for n, head in enumerate(heads, 1) if head["numeric"]),
        "rows": _cells(table, 0, limit),
        "total": len(table.rows),
        "caption": table.caption,
    }


def aligned(widest: int) -> str:
    """The style of numbers in tables of so many columns: a class of the table's says which they
    are, for one of each cell would be a tenth of a page."""
    columns = ",".join(f".n{n} td:nth-child({n})" for n in range(1, widest + 1))
    return f"{columns} {{ text-align: right; white-space: nowrap; }}" if columns else ""


def whole(table: Table, limit: int) -> dict[str, Any]:
    """All values by columns' keys as `result.json` has them, by which the page sorts, and the texts
    of rows past `limit`."""
    rows = [[plain(row.get(column)) for column in table.columns] for row in table.rows]
    return {"columns": list(table.columns), "rows": rows, "more": _cells(table, limit, None)}


def packed(content: Any) -> str:
    """JSON, compressed (gzip) and as base64: the same text for the same content."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return squeezed(text)


def squeezed(text: str) -> str:
    """A text, compressed (gzip) and as base64, for a script element that the page unpacks."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _cells(table: Table, first: int, last: int | None) -> list[list[str]]:
    return [
        [_cell(column, plain(row.get(column))) for column in table.columns]
        for row in table.rows[first:last]
    ]


def _cell(column: str, value: Any) -> str:
    told_as_p = isinstance(value, float) and (column == "p" or column.startswith("p_"))
    return p_value(value) if told_as_p else number(value)
