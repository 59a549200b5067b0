"""Samples that are rows of a long table: held as columns, made when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from conceptseg.data.columns import BLOCK, LOOSE, Block, Column, Numbers, TextColumn
from conceptseg.data.index import Index, hashes_of
from conceptseg.data.listed import Listed
from conceptseg.data.sample import (
    FORBIDDEN,
    LONGEST,
    UNFIT,
    Sample,
    check_id,
    check_text,
    repeated,
)

SEVERAL = "\0"
"""Stands between the paths of several images in a cell; no path holds it."""
FEW = 8
"""What is drawn of a table is held by itself if the table has so many times its rows."""

_MARKS = np.isin(np.arange(256), list(FORBIDDEN.encode()))


@dataclass(frozen=True, eq=False)
class Filled:
    """A template filled by a row's texts: literals, and columns, in turn."""

    parts: tuple[str | TextColumn, ...]

    def __getitem__(self, row: int) -> str:
        return "".join(part if isinstance(part, str) else part[row] for part in self.parts)

    def take(self, rows: np.ndarray) -> Filled:
        parts = (part if isinstance(part, str) else part.take(rows) for part in self.parts)
        return Filled(tuple(parts))


@dataclass(frozen=True, eq=False)
class Columns:
    """Of each row what makes up its sample; several images in a cell are parted by `SEVERAL`.

    All paths are relative and stay below the root, and no group is empty. `labelled` says which
    rows have a mask: bool [n].
    """

    ids: TextColumn
    images: tuple[TextColumn | Filled, ...]
    mask: TextColumn | Filled
    masks: tuple[tuple[str, TextColumn | Filled], ...]
    splits: TextColumn
    groups: TextColumn
    metadata: Mapping[str, Column]
    labelled: np.ndarray

    def take(self, rows: np.ndarray) -> Columns:
        """Those of some rows, which need no others."""
        return Columns(
            self.ids.take(rows),
            tuple(one.take(rows) for one in self.images),
            self.mask.take(rows),
            tuple((name, one.take(rows)) for name, one in self.masks),
            self.splits.take(rows),
            self.groups.take(rows),
            {name: one.take(rows) for name, one in self.metadata.items()},
            self.labelled[rows],
        )

    def sample(self, row: int) -> Sample:
        """The sample of a row."""
        mask = self.mask[row]
        texts = [text for one in self.images for text in one[row].split(SEVERAL)]
        values = ((name, column.value(row)) for name, column in self.metadata.items())
        return Sample(
            id=self.ids[row],
            image=tuple(map(Path, texts)),
            mask=Path(mask) if mask else None,
            masks=tuple(
                (name, Path(text)) for name, one in self.masks if (text := one[row]).strip()
            ),
            split=self.splits[row] or None,
            group=self.groups[row],
            metadata={name: value for name, value in values if value is not None},
        )


class Shown(Sequence[str]):
    """A column's texts for some rows; equal to any other sequence of the same texts."""

    def __init__(self, column: TextColumn, rows: np.ndarray | range) -> None:
        self._column, self._rows = column, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Shown: ...
    def __getitem__(self, place: int | slice) -> str | Shown:
        if isinstance(place, slice):
            return Shown(self._column, self._rows[place])
        return self._column[int(self._rows[place])]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._rows), BLOCK):
            yield from self._column.at(_array(self._rows[start : start + BLOCK]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == own for mine, own in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Rows(Sequence[Sample], Listed):
    """Samples by the columns of their table: all rows, or those named, in that order."""

    def __init__(self, columns: Columns, rows: np.ndarray | range | None = None) -> None:
        self._columns = columns
        self._rows = range(len(columns.ids)) if rows is None else rows

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows, (self._columns.take(_array(self._rows)),)  # what it needs, and no other rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Rows: ...
    def __getitem__(self, place: int | slice) -> Sample | Rows:
        if isinstance(place, slice):
            return Rows(self._columns, self._rows[place])
        return self._columns.sample(int(self._rows[place]))

    def __iter__(self) -> Iterator[Sample]:
        return (self._columns.sample(int(row)) for row in self._rows)

    @property
    def ids(self) -> Shown:
        return Shown(self._columns.ids, self._rows)

    @property
    def groups(self) -> Shown:
        return Shown(self._columns.groups, self._rows)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(filter(None, self._columns.splits.distinct(_array(self._rows))))

    @property
    def metadata(self) -> tuple[str, ...]:
        rows, first = _array(self._rows), {}
        for name, column in self._columns.metadata.items():
            given = column.given()[rows]
            if given.any():
                first[name] = int(given.argmax())
        return tuple(sorted(first, key=lambda name: first[name]))

    @property
    def labelled(self) -> np.ndarray:
        """Which samples have a mask, or one for some class: bool [n]."""
        return self._columns.labelled[_array(self._rows)]

    def in_split(self, split: str) -> np.ndarray:
        return self._columns.splits.equal(split)[_array(self._rows)]

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        places = self._index.places(set(ids))
        return np.sort(places[places >= 0])

    def by_id(self) -> _ById:
        return _ById(self, self._index)

    def take(self, rows: np.ndarray) -> Rows:
        own = _array(self._rows)[rows]
        if FEW * len(own) < len(self._columns.ids):
            return Rows(self._columns.take(own))
        return Rows(self._columns, own)

    @cached_property
    def _index(self) -> Index:
        return Index(self.ids)

    def check(self, where: str) -> None:
        hashes = np.sort(hashes_of(self.ids))
        same = hashes[1:][hashes[1:] == hashes[:-1]]
        if len(same):
            found = np.isin(hashes_of(self.ids), same)
            counts = Counter(one for one, more in zip(self.ids, found, strict=True) if more)
            twice = [name for name, n in counts.items() if n > 1]
            if twice:
                raise repeated(twice[0], len(twice), where)
        whole = isinstance(self._rows, range) and len(self) == len(self._columns.ids)
        column = self._columns.ids if whole else self._columns.ids.take(_array(self._rows))
        for block in column.in_blocks():
            for row in _doubtful(block):
                check_id(block[row], where)
        own = self._columns
        for name, texts in {"split": own.splits, "group": own.groups, **own.metadata}.items():
            check_text(name, "the column", where)
            if not isinstance(texts, Numbers):
                _check_texts(texts, f"a {name}", where)


class _ById(Mapping[str, Sample]):
    """Rows by their ids; each sample is made when it is asked for."""

    def __init__(self, samples: Rows, index: Index) -> None:
        self._samples, self._index = samples, index

    def __getitem__(self, one: str) -> Sample:
        place = self._index.place(one)
        if place is None:
            raise KeyError(one)
        return self._samples[place]

    def __contains__(self, one: object) -> bool:
        return isinstance(one, str) and self._index.place(one) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._samples.ids)

    def __len__(self) -> int:
        return len(self._samples)


def _array(rows: np.ndarray | range) -> np.ndarray:
    if isinstance(rows, range):
        return np.arange(rows.start, rows.stop, rows.step)
    return rows


def _check_texts(column: TextColumn, what: str, where: str) -> None:
    for block in column.in_blocks():
        if not block.data.isascii() and UNFIT.search(block.data.decode(errors=LOOSE)):
            for text in block.texts():
                check_text(text, what, where)


def _doubtful(ids: Block) -> list[int]:
    """The rows whose ids have to be looked at one by one; all others can be a file's name."""
    lengths = ids.lengths
    rows, firsts = ids.firsts()
    values = np.frombuffer(ids.data, np.uint8)
    lasts = values[ids.offsets[1:][rows] - 1]
    ends = rows[np.isin(firsts, [ord("."), ord(" ")]) | (lasts == ord(" "))]
    sizes = np.flatnonzero((lengths == 0) | (lengths > LONGEST))
    return np.unique(np.concatenate([ids.holding(_MARKS), ends, sizes])).tolist()
