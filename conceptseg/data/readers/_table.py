"""Reads samples from a table: a CSV file with a header, a JSONL file with an object a line, or a
Parquet file. Rows are read some at a time into columns, of which samples are made when asked for.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from conceptseg.data.columns import Block, Cells, Coded, Gathered, texts_of
from conceptseg.data.readers._cells import PARTS, Chunk, Keys, check_paths
from conceptseg.data.readers._files import relative, resolve, told_if_unreadable
from conceptseg.data.readers._folders import check_masks, fill, parts_of
from conceptseg.data.readers._parquet import parquet_chunks
from conceptseg.data.readers._text_tables import csv_chunks, jsonl_chunks
from conceptseg.data.rows import SEVERAL, Columns, Filled, Rows
from conceptseg.errors import InputError, nearest
from conceptseg.strict import Strict, one_or_more

Texts = Sequence[str] | Block | Coded
SUFFIXES = (".csv", ".jsonl", ".parquet")


class TableSpec(Strict):
    """A table of samples; the templates say how a row's columns make up a sample."""

    file: str = Field(
        description="The table: .csv (comma, header, UTF-8), .jsonl, or .parquet (extra parquet)."
    )
    relative_to: Literal["root", "manifest"] = Field(
        "root", description="Whether `file` lies below the root or beside the manifest."
    )
    id: str | None = Field(
        None, description="Template such as {name}; else column id, else the image's stem."
    )
    image: Annotated[tuple[str, ...] | None, one_or_more(str)] = Field(
        None,
        description="Template such as {split}/images/{name}.png, or several, which are stacked as "
        "channels; else column image.",
    )
    mask: str | None = Field(None, description="Template; else column mask.")
    masks: dict[str, str] = Field(
        default_factory=dict, description="{class: template} of one mask for each class."
    )
    split: str | None = Field(None, description="Template; else column split.")
    group: str | None = Field(None, description="Template; else column group.")
    metadata: tuple[str, ...] | None = Field(
        None, description="Columns to keep as metadata; all others than these parts when absent."
    )

    @field_validator("masks", mode="before")
    @classmethod
    def _named(cls, masks: Any) -> Any:
        return check_masks(masks)

    @property
    def paths(self) -> tuple[str, ...]:
        """Templates of paths."""
        return (*(self.image or ()), *filter(None, [self.mask]), *self.masks.values())

    @property
    def templates(self) -> tuple[str, ...]:
        """All templates."""
        return (*self.paths, *filter(None, [self.id, self.split, self.group]))

    def is_metadata(self, column: str) -> bool:
        return column not in PARTS and (self.metadata is None or column in self.metadata)

    def needs(self, column: str) -> bool:
        """Whether a sample is made up of this column."""
        part = column in PARTS and getattr(self, column) is None
        return part or self.is_metadata(column) or self.fills(column)

    def fills(self, column: str, templates: Sequence[str] | None = None) -> bool:
        """Whether a template, of some or of all, names this column."""
        some = self.templates if templates is None else templates
        return any(column in parts_of(template)[1::2] for template in some)


def read_table(
    spec: TableSpec,
    path: Path,
    root: Path,
    group: Callable[[Sequence[str]], list[str]] | None = None,
) -> Rows | tuple[()]:
    """The samples of a table, in its order; `group` makes the groups of ids that have none.

    Raises :class:`~conceptseg.errors.InputError` that names the table and the row.
    """
    folder = root if spec.relative_to == "root" else path.parent
    where = str(folder / spec.file)
    if PurePosixPath(spec.file).suffix.lower() not in SUFFIXES:
        suffix = PurePosixPath(spec.file).suffix or "no suffix"
        raise InputError(f"{where}: {suffix} is no table; use .csv, .jsonl or .parquet")
    table = _Table(spec, where, group)
    for chunk in _chunks(spec, folder, f"{path}: table.file", table.check_keys):
        table.add(chunk)
    return table.rows()


def _chunks(spec: TableSpec, folder: Path, named: str, keys: Keys) -> Iterator[Chunk]:
    file = resolve(folder, relative(spec.file, named))
    suffix = file.suffix.lower()
    with told_if_unreadable(file, named):
        if suffix == ".parquet":
            with file.open("rb") as source:
                yield from parquet_chunks(source, str(file), keys, spec.needs, spec.fills)
            return
        chunks = csv_chunks if suffix == ".csv" else jsonl_chunks
        with file.open(encoding="utf-8-sig") as text:
            yield from chunks(text, str(file), keys, spec.needs)


class _Table:
    """The columns of a table while it is read."""

    def __init__(
        self, spec: TableSpec, where: str, group: Callable[[Sequence[str]], list[str]] | None
    ) -> None:
        self._spec, self._where, self._group = spec, where, group
        self._count, self._begun = 0, False
        self._labelled: list[np.ndarray] = []
        self._parts = {name: Gathered(numbers=False) for name in ("id", "split", "group")}
        self._columns: dict[str, Gathered] = {}

    def check_keys(self, keys: Iterable[str], place: str) -> None:
        """Refuse a row that lacks what a template names, and in the first row columns that seem
        to be missing or misspelt."""
        words = dict.fromkeys(keys, "")
        if not self._begun:
            self._begun = True
            _check_columns(list(words), self._spec, self._where)
        for template in self._spec.templates:
            fill(template, words, place)

    def add(self, chunk: Chunk) -> None:
        """Check and keep further rows."""
        spec, some = self._spec, _Some(chunk)
        images = [some.filled(one) for one in spec.image or ()] or [some.block("image")]
        for cells in images:
            check_paths(cells, chunk.place, needed=True, many=spec.image is None)
        mask = some.block("mask", spec.mask)
        each = [some.filled(template, strip=True) for template in spec.masks.values()]
        for cells in (mask, *each):
            check_paths(cells, chunk.place)
        ids = some.block("id", spec.id)
        if not ids.lengths.all():
            pairs = zip(ids.texts(), images[0].texts(), strict=True)
            ids = Block.of([one or _stem(path) for one, path in pairs])
        masks = np.zeros(chunk.count, bool)
        for cells in each:
            masks |= cells.lengths > 0
        both = np.flatnonzero(masks & (mask.lengths > 0))
        if len(both):
            row = int(both[0])
            raise InputError(
                f"{chunk.place(row)}: sample {ids[row]!r} has both mask and masks; give one"
            )
        self._labelled.append(masks | (mask.lengths > 0))
        self._parts["id"].add(ids)
        self._parts["split"].add(some.texts("split", spec.split))
        self._parts["group"].add(self._groups(some.texts("group", spec.group), ids))
        for name in filter(self._is_kept, chunk.columns):
            if name not in self._columns:
                self._columns[name] = Gathered(self._count, numbers=spec.is_metadata(name))
            self._columns[name].add(some.cells(name))
        self._count += chunk.count

    def _is_kept(self, column: str) -> bool:
        spec = self._spec
        path = column in ("image", "mask") and getattr(spec, column) is None
        return path or spec.is_metadata(column) or spec.fills(column, spec.paths)

    def _groups(self, groups: Texts, ids: Block) -> Texts:
        """Each row's group, its id where there is none."""
        texts = texts_of(groups)
        if self._group is None and not any(texts):
            return ids
        if self._group is None and all(texts):
            return groups
        pairs = list(zip(texts, ids.texts(), strict=True))
        alone = [own for one, own in pairs if not one or one == own]
        made = iter(self._group(alone) if self._group else alone)
        return [next(made) if not one or one == own else one for one, own in pairs]

    def rows(self) -> Rows | tuple[()]:
        """The samples of all rows; nothing is kept here."""
        if not self._count:
            return ()
        spec, columns = self._spec, self._columns
        for name in spec.metadata or ():
            if name not in columns:
                raise InputError(
                    f"{self._where}: table.metadata: no column {name!r}; {nearest(name, columns)}"
                )
        texts = {
            name: columns[name].texts()
            for name in columns
            if name in ("image", "mask") or spec.fills(name, spec.paths)
        }

        def filled(template: str) -> Filled:
            parts = enumerate(parts_of(template))
            return Filled(tuple(texts[part] if i % 2 else part for i, part in parts if part))

        images = [filled(one) for one in spec.image or ()]
        mask = filled(spec.mask) if spec.mask is not None else texts.get("mask", Filled(()))
        return Rows(
            Columns(
                ids=self._parts["id"].texts(),
                images=tuple(images) or (texts["image"],),
                mask=mask,
                masks=tuple((name, filled(one)) for name, one in spec.masks.items()),
                splits=self._parts["split"].texts(),
                groups=self._parts["group"].texts(),
                metadata={
                    name: texts.get(name) or columns[name].column()
                    for name in columns
                    if spec.is_metadata(name)
                },
                labelled=np.concatenate(self._labelled),
            )
        )


class _Some:
    """The cells of some rows, as they are wanted; what was made is kept."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._blocks: dict[str, Block] = {}

    def texts(self, name: str, template: str | None = None) -> Texts:
        """A part of samples by its template, else by its column; empty where there is none."""
        if template is not None:
            return self.filled(template)
        cells = self._blocks.get(name, self._chunk.columns.get(name))
        assert not isinstance(cells, np.ndarray)  # what a template or a part names comes as text
        return [""] * self._chunk.count if cells is None else cells

    def block(self, name: str, template: str | None = None) -> Block:
        """The same in one piece."""
        texts = self.texts(name, template)
        block = texts if isinstance(texts, Block) else Block.of(texts_of(texts))
        if template is None:
            self._blocks[name] = block
        return block

    def filled(self, template: str, strip: bool = False) -> Block:
        """A template filled for each row; with `strip` what is blank is empty."""
        columns = [
            texts_of(self.texts(part)) if i % 2 else [part] * self._chunk.count
            for i, part in enumerate(parts_of(template))
        ]
        texts = list(map("".join, zip(*columns, strict=True)))
        return Block.of([text if text.strip() else "" for text in texts] if strip else texts)

    def cells(self, name: str) -> Cells:
        """A column as it was read, numbers too."""
        return self._blocks.get(name, self._chunk.columns[name])


def _stem(path: str) -> str:
    """The stem of the first of several paths, as pathlib says it."""
    path = path.partition(SEVERAL)[0]
    name = path.rpartition("/")[2]
    stem, _, suffix = name.rpartition(".")
    if name in ("", "."):
        return PurePosixPath(path).stem
    return stem if stem and suffix else name


def _check_columns(columns: list[str], spec: TableSpec, where: str) -> None:
    if spec.image is None and "image" not in columns:
        raise InputError(
            f"{where}: no column 'image'; {nearest('image', columns)} A template such as "
            'table.image: "{column}" makes it from others'
        )
    for column in columns:
        if not column.isprintable():
            raise InputError(
                f"{where}: the column {column!r} holds characters that do not print; rename it"
            )
        close = difflib.get_close_matches(column.lower(), PARTS, n=1, cutoff=0.85)
        if column in PARTS or not close or close[0] in columns:
            continue
        if getattr(spec, close[0]) is None:
            raise InputError(
                f"{where}: the column {column!r}; did you mean {close[0]!r}? Rename it, or "
                f'say so by table.{close[0]}: "{{{column}}}"'
            )
