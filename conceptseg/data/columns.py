"""Columns of a table of very many rows, held compactly: texts, codes of few texts, numbers."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, count

import numpy as np

BLOCK = 1 << 14
"""Rows that are read and held together."""
FEW = 1 << 12
"""Texts that are held by code, whatever share of a column's rows they are."""
LOOSE = "surrogatepass"  # JSON can spell characters that UTF-8 has no place for

NOT_ASCII = np.arange(256) >= 128
UNPRINTED = (np.arange(256) < 32) | (np.arange(256) == 127)

# Numbers, but not codes such as 0012, whose zeros mean something.
_NUMBER = r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:\n{_NUMBER})*+")


def are_numbers(texts: Sequence[str]) -> bool:
    """Whether all texts but the empty ones are finite numbers."""
    given = [text for text in texts if text]
    joined = "\n".join(given)
    if not given:
        return True
    if joined.count("\n") >= len(given) or not _NUMBERS.fullmatch(joined):
        return False
    return all(map(math.isfinite, map(float, given)))


@dataclass(frozen=True, eq=False)
class Block:
    """Texts in UTF-8, one after the other: the i-th is data[offsets[i] : offsets[i + 1]]."""

    data: bytes
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Block:
        data = "".join(texts).encode(errors=LOOSE)
        offsets = np.zeros(len(texts) + 1, np.int64)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        if lengths.sum() != len(data):
            parts = (len(text.encode(errors=LOOSE)) for text in texts)
            lengths = np.fromiter(parts, np.int64, len(texts))
        np.cumsum(lengths, out=offsets[1:])
        return cls(data, _narrow(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        start, stop = self.offsets[i : i + 2].tolist()
        return self.data[start:stop].decode(errors=LOOSE)

    def texts(self) -> list[str]:
        """All, in order."""
        ends = self.offsets.tolist()
        pairs = zip(ends, ends[1:], strict=False)
        whole = self.data.decode(errors=LOOSE)
        if len(whole) == len(self.data):
            return [whole[start:stop] for start, stop in pairs]
        return [self.data[start:stop].decode(errors=LOOSE) for start, stop in pairs]

    def at(self, rows: np.ndarray) -> list[str]:
        """The texts of some rows."""
        if 4 * len(rows) < len(self):
            return [self[i] for i in rows.tolist()]
        texts = self.texts()
        return [texts[i] for i in rows.tolist()]

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each."""
        return np.diff(self.offsets)

    def holding(self, marked: np.ndarray) -> np.ndarray:
        """Rows with a byte that is marked (bool [256]), or with a character that does not print.

        The rows without are sure to print; of the others some may do so, too.
        """
        values = np.frombuffer(self.data, np.uint8)
        marked = marked | UNPRINTED
        if not self.data.isascii() and not self.data.decode(errors=LOOSE).isprintable():
            marked = marked | NOT_ASCII
        return self.rows_of(np.flatnonzero(marked[values]))

    def rows_of(self, places: np.ndarray) -> np.ndarray:
        """The rows in which bytes lie, each once, in order."""
        return np.unique(np.searchsorted(self.offsets, places, "right") - 1)

    def firsts(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows that are not empty, and the first byte of each."""
        rows = np.flatnonzero(self.lengths)
        values = np.frombuffer(self.data, np.uint8)
        return rows, values[self.offsets[rows]]


def _narrow(offsets: np.ndarray) -> np.ndarray:
    return offsets.astype(np.uint32) if offsets[-1] < 2**32 else offsets


class Texts:
    """Texts of rows, in blocks. Empty where there is none; `numeric`: all others are numbers."""

    def __init__(self, blocks: Sequence[Block], numeric: bool = False) -> None:
        self.blocks, self.numeric = tuple(blocks), numeric
        self._ends = list(accumulate(map(len, self.blocks)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, row: int) -> str:
        place = bisect_right(self._ends, row)
        return self.blocks[place][row - self._ends[place] + len(self.blocks[place])]

    def at(self, rows: np.ndarray) -> list[str]:
        """The texts of some rows."""
        found: list[str] = []
        places = np.searchsorted(self._ends, rows, "right")
        cuts = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(rows)]
        for start, stop in zip(cuts, cuts[1:], strict=False):
            if start < stop:
                block = self.blocks[places[start]]
                found += block.at(rows[start:stop] - (self._ends[places[start]] - len(block)))
        return found

    def in_blocks(self) -> Sequence[Block]:
        """Every text, some perhaps but once."""
        return self.blocks

    def equal(self, text: str) -> np.ndarray:
        """Which rows hold a text: bool [n]."""
        return np.array([one == text for block in self.blocks for one in block.texts()], bool)

    def distinct(self, rows: np.ndarray) -> tuple[str, ...]:
        """The texts of some rows, each once, in order of appearance."""
        cuts = range(0, len(rows), BLOCK)
        return tuple(dict.fromkeys(one for a in cuts for one in self.at(rows[a : a + BLOCK])))

    def value(self, row: int) -> str | float | None:
        """A row's value, None where there is none."""
        text = self[row]
        return (float(text) if self.numeric else text) if text else None

    def given(self) -> np.ndarray:
        """Which rows have a value: bool [n]."""
        return np.concatenate([np.zeros(0, bool), *(block.lengths > 0 for block in self.blocks)])

    def take(self, rows: np.ndarray) -> Texts:
        """The column of some rows, which needs no others."""
        cuts = range(0, len(rows), BLOCK)
        return Texts([Block.of(self.at(rows[a : a + BLOCK])) for a in cuts], self.numeric)


@dataclass(frozen=True, eq=False)
class Coded:
    """Texts of rows, of which there are few: `values[codes[row]]`; values[0] is empty."""

    codes: np.ndarray
    values: tuple[str, ...]
    numeric: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str:
        return self.values[self.codes[row]]

    def at(self, rows: np.ndarray) -> list[str]:
        return list(map(self.values.__getitem__, self.codes[rows].tolist()))

    def texts(self) -> list[str]:
        """All, in order."""
        return list(map(self.values.__getitem__, self.codes.tolist()))

    def in_blocks(self) -> Sequence[Block]:
        return (Block.of([self.values[code] for code in np.unique(self.codes).tolist()]),)

    def equal(self, text: str) -> np.ndarray:
        return self.codes == self.values.index(text) if text in self.values else self.codes < 0

    def distinct(self, rows: np.ndarray) -> tuple[str, ...]:
        codes, first = np.unique(self.codes[rows], return_index=True)
        return tuple(self.values[code] for code in codes[np.argsort(first)].tolist())

    def value(self, row: int) -> str | float | None:
        text = self[row]
        return (float(text) if self.numeric else text) if text else None

    def given(self) -> np.ndarray:
        return self.codes != 0

    def take(self, rows: np.ndarray) -> Coded:
        return Coded(self.codes[rows], self.values, self.numeric)


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers of rows, float64; nan where there is none."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def value(self, row: int) -> float | None:
        number = float(self.values[row])
        return None if math.isnan(number) else number

    def given(self) -> np.ndarray:
        return ~np.isnan(self.values)

    def take(self, rows: np.ndarray) -> Numbers:
        return Numbers(self.values[rows])


TextColumn = Texts | Coded
Column = Texts | Coded | Numbers
Cells = Sequence[str] | Block | Coded | np.ndarray
"""A column of some rows: texts, empty where there is none, or numbers (float64, nan)."""


def texts_of(cells: Sequence[str] | Block | Coded) -> Sequence[str]:
    return cells.texts() if isinstance(cells, Block | Coded) else cells


class Gathered:
    """A column while it is read: texts by code as long as they are few, or numbers.

    It begins with so many rows without a value. With `numbers` texts that are all numbers, but
    for the empty ones, count as such.
    """

    def __init__(self, rows: int = 0, numbers: bool = True) -> None:
        self.numeric, self._rows = numbers, rows
        self._codes: list[np.ndarray] | None = [np.zeros(rows, np.uint16)]
        self._known = {"": 0}
        self._blocks: list[Block] = []
        self._numbers: list[np.ndarray] = []

    def add(self, cells: Cells) -> None:
        """Further rows, in any form if they are texts; numbers never follow texts."""
        self._rows += len(cells)
        if isinstance(cells, np.ndarray):
            self._numbers.append(cells)
        elif self._codes is None or not self._code(cells):
            self._blocks.append(cells if isinstance(cells, Block) else Block.of(texts_of(cells)))
            self.numeric = self.numeric and are_numbers(texts_of(cells))

    def _code(self, cells: Sequence[str] | Block | Coded) -> bool:
        """Keep texts by code, if there are few; otherwise write out what was coded, for good."""
        assert self._codes is not None
        texts = cells.values if isinstance(cells, Coded) else texts_of(cells)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) + len(new) > max(FEW, min(self._rows // 4, 1 << 16)):
            whole = Coded(np.concatenate(self._codes), tuple(self._known)).texts()
            self._blocks = [Block.of(whole[a : a + BLOCK]) for a in range(0, len(whole), BLOCK)]
            self._codes = None
            return False
        self.numeric = self.numeric and are_numbers(new)
        self._known.update(zip(new, count(len(self._known)), strict=False))
        codes = np.fromiter(map(self._known.__getitem__, texts), np.uint16, len(texts))
        self._codes.append(codes[cells.codes] if isinstance(cells, Coded) else codes)
        return True

    def texts(self) -> TextColumn:
        """What was read, as texts."""
        if self._codes is None:
            return Texts(self._blocks, self.numeric)
        codes = np.concatenate(self._codes)
        if len(self._known) <= 256:
            codes = codes.astype(np.uint8)
        return Coded(codes, tuple(self._known), self.numeric)

    def column(self) -> Column:
        """What was read, as numbers if all are and that is shorter."""
        if self._numbers:
            return Numbers(np.concatenate(self._numbers))
        if self._codes is not None or not self.numeric:
            return self.texts()
        values = np.empty(self._rows)
        start = 0
        while self._blocks:  # each is freed as it is read
            texts = self._blocks.pop(0).texts()
            values[start : start + len(texts)] = [float(one) if one else math.nan for one in texts]
            start += len(texts)
        return Numbers(values)
