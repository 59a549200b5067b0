"""The tables of a result as CSV, all their rows, for whoever computes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a text may not begin with, lest a spreadsheet computes it: an apostrophe goes before."""


def csv_files(result: Result) -> dict[str, str]:
    """File name -> CSV text: a file for each table, and `findings.csv`."""
    rows = [finding.model_dump(by_alias=True) for finding in result.findings]
    for row in rows:
        low, high = row.pop("ci") or (None, None)
        details = row.pop("details")
        row |= {"ci_low": low, "ci_high": high}
        row |= {f"details.{key}": one for key, one in details.items()}
    columns = list(dict.fromkeys(key for row in rows for key in row))
    files = {"findings.csv": _text(columns, rows)} if rows else {}
    for name, table in result.tables.items():
        files[f"table-{safe_key(name)}.csv"] = table_csv(table)
    return files


def table_csv(table: Table) -> str:
    """A table as CSV: its columns by their keys, then any other key of its rows."""
    others = dict.fromkeys(key for row in table.rows for key in row)
    return _text(list(dict.fromkeys([*table.columns, *others])), table.rows)


def _text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_cell(one) for one in columns])
    writer.writerows([_cell(row.get(one)) for one in columns] for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> str:
    """A number as JSON has it, a text as it is, anything else as JSON; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return json.dumps(value, ensure_ascii=False)
