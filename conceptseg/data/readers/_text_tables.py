"""Tables in text, many rows at a time: CSV with a header, JSONL with an object a line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TextIO

from conceptseg.data.readers._cells import PARTS, Chunk, Keys, Place, Wanted, several
from conceptseg.data.rows import SEVERAL
from conceptseg.errors import InputError
from conceptseg.plain import plain_json

ROWS = 1 << 11
"""Rows that are read at once: so few that they stay in the processor's cache."""
Row = dict[str, Any]


def csv_chunks(file: TextIO, where: str, keys: Keys, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a CSV file, without the empty ones.

    Raises :class:`~conceptseg.errors.InputError` that names the line.
    """
    reader = csv.reader(file, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header) or "" in header:
            raise InputError(f"{where}: the header has an empty or repeated column: {header}")
        while True:
            before = reader.line_num
            rows = list(islice(reader, ROWS))
            if not rows:
                return
            place = _ends(rows, where, before, reader.line_num)
            yield from _csv_chunk(rows, header, place, keys, wanted)
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}: not CSV ({error})") from None


def _csv_chunk(
    rows: Sequence[list[str]], header: Sequence[str], place: Place, keys: Keys, wanted: Wanted
) -> Iterator[Chunk]:
    """The rows that are not empty, if there are any."""
    even = set(map(len, rows)) == {len(header)}
    columns = [list(map(str.strip, cells)) for cells in zip(*rows, strict=True)] if even else []
    if all("" in cells for cells in columns):
        given = [i for i, cells in enumerate(rows) if "".join(cells).strip()]
        for i in given:
            if len(rows[i]) != len(header):
                raise InputError(
                    f"{place(i)}: {len(rows[i])} cells, but the header names {len(header)} columns"
                )
        if len(given) < len(rows):
            whole = [rows[i] for i in given]
            if whole:
                yield from _csv_chunk(whole, header, lambda i: place(given[i]), keys, wanted)
            return
    keys(header, place(0))
    found = {name: own for name, own in zip(header, columns, strict=True) if wanted(name)}
    images = "\n".join(found.get("image", ()))
    if ";" in images or SEVERAL in images:
        found["image"] = [
            several([part.strip() for part in cell.split(";")], place(i))
            for i, cell in enumerate(found["image"])
        ]
    yield Chunk(len(rows), found, place)


def _ends(rows: Sequence[list[str]], where: str, before: int, after: int) -> Place:
    """Names rows by the lines in which they end; the first begins after `before`."""

    def place(i: int) -> str:
        if after - before == len(rows):
            return f"{where}, line {before + 1 + i}"
        lines = sum(1 + sum(cell.count("\n") for cell in cells) for cells in rows[: i + 1])
        return f"{where}, line {before + lines}"

    return place


def jsonl_chunks(file: TextIO, where: str, keys: Keys, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a JSONL file, without empty lines; what a row lacks is empty.

    Raises :class:`~conceptseg.errors.InputError` that names the line.
    """
    lines = ((i, line) for i, line in enumerate(file, 1) if line.strip())
    seen: set[tuple[str, ...]] = set()
    names: dict[str, None] = {}
    while some := list(islice(lines, ROWS)):
        rows = [_object(line, where, number) for number, line in some]
        numbers = [number for number, _ in some]

        def place(i: int, numbers: Sequence[int] = numbers) -> str:
            return f"{where}, line {numbers[i]}"

        for i, row in enumerate(rows):
            own = tuple(row)
            if own not in seen:
                keys(own, place(i))
                seen.add(own)
                names |= dict.fromkeys(own)
        columns = {
            name: _cells(name, [row.get(name) for row in rows], place)
            for name in names
            if wanted(name)
        }
        yield Chunk(len(rows), columns, place)


def _object(line: str, where: str, number: int) -> Row:
    try:
        row = plain_json(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}, line {number}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise InputError(f'{where}, line {number}: not an object; write {{"image": ...}}')
    return row


def _cells(name: str, values: list[Any], place: Place) -> list[str]:
    """A column as texts; what all of its values are is looked at first, for speed."""
    kinds = set(map(type, values))
    if kinds == {str} and (name != "image" or SEVERAL not in "".join(values)):
        return values
    if name not in PARTS and kinds <= {str, int, float, type(None)}:
        # NaN is none, as in other tables.
        return ["" if value is None or value != value else str(value) for value in values]
    return [_cell(name, value, place(i)) for i, value in enumerate(values)]


def _cell(name: str, value: Any, place: str) -> str:
    if name == "image" and isinstance(value, list):
        if not all(isinstance(part, str) for part in value):
            raise InputError(f"{place}: image lists something that is not a path")
        return several(value, place)
    if name in PARTS and not (value is None or isinstance(value, str)):
        raise InputError(f"{place}: {name} is {value!r}; expected text, in quotes")
    if isinstance(value, (dict, list)):
        raise InputError(f"{place}: {name} is nested; metadata must be text or numbers")
    if name == "image":
        return several([value or ""], place)
    return "" if value is None else str(value)
