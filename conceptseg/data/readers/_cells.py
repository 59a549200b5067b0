"""Rows of a table as they are read, many at a time, and what makes a cell a path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.columns import Block, Cells
from conceptseg.data.readers._files import relative
from conceptseg.data.rows import SEVERAL
from conceptseg.errors import InputError

PARTS = ("id", "image", "mask", "split", "group")
"""Columns that are no metadata."""

Place = Callable[[int], str]
"""Names a row, of those that are read at once, for messages."""
Keys = Callable[[Iterable[str], str], None]
"""Told the columns that a row has, before it is read, and its place; refuses what lacks one."""
Wanted = Callable[[str], bool]
"""Whether a column is wanted."""

_COLON, _DOT = ord(":"), ord(".")
_MARKED = np.arange(256) == _COLON
_ROOTS = np.isin(np.arange(256), [ord("/"), ord("\\"), ord(" ")])


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows, by columns; several images in a cell are parted by `SEVERAL`."""

    count: int
    columns: Mapping[str, Cells]
    place: Place


def several(paths: Sequence[str], place: str) -> str:
    """The cell of several images. Raises InputError for a path that looks like more than one."""
    for path in paths:
        if SEVERAL in path:
            relative(path, place)
    return SEVERAL.join(paths)


def check_paths(cells: Block, place: Place, needed: bool = False, many: bool = False) -> None:
    """Refuse whatever :func:`relative` refuses in any row; if `needed`, empty cells as well.

    Cells of `many` images hold several paths.

    In bulk: what cannot be refused is told by its bytes, and only the rest is looked at.
    """
    rows = [cells.holding(_MARKED), _climbing(cells)]
    at, firsts = cells.firsts()
    rows.append(at[_ROOTS[firsts]])
    if needed:
        rows.append(np.flatnonzero(cells.lengths == 0))
    for row in np.unique(np.concatenate(rows)).tolist():
        paths = cells[row].split(SEVERAL) if many else [cells[row]]
        if needed and not all(paths):
            raise InputError(f"{place(row)}: no image")
        for path in filter(None, paths):
            relative(path, place(row))


def _climbing(cells: Block) -> np.ndarray:
    """Rows that hold two dots in a row."""
    values = np.frombuffer(cells.data, np.uint8) == _DOT
    return cells.rows_of(np.flatnonzero(values[:-1] & values[1:]))


def check_utf8(cells: Block, column: str, place: Place) -> None:
    """Refuse texts that are not UTF-8."""
    try:
        cells.data.decode()
        values = np.frombuffer(cells.data, np.uint8)
        starts = cells.offsets[cells.offsets < len(cells.data)]
        # A character may not begin in one cell and end in the next.
        broken = bool(((values[starts] & 0xC0) == 0x80).any())
    except UnicodeDecodeError:
        broken = True
    if not broken:
        return
    for row in range(len(cells)):
        start, stop = cells.offsets[row : row + 2].tolist()
        try:
            cells.data[start:stop].decode()
        except UnicodeDecodeError:
            raise InputError(
                f"{place(row)}: column {column!r} holds text that is not UTF-8"
            ) from None
