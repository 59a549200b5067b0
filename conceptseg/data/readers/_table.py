"""Reads samples from a table: a CSV file with a header, or a JSONL file with an object a line."""

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from conceptseg.config import Strict
from conceptseg.data.manifest import Sample
from conceptseg.data.readers._files import read_text, relative
from conceptseg.data.readers._folders import check_masks, fill
from conceptseg.errors import InputError, nearest

PARTS = ("id", "image", "mask", "split", "group")
Row = dict[str, Any]

# Numbers, but not codes such as 0012, whose zeros mean something.
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d+)?([eE][+-]?\d+)?")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class TableSpec(Strict):
    """A table of samples; the templates say how a row's columns make up a sample."""

    file: str = Field(description="The table: .csv (comma, header, UTF-8) or .jsonl.")
    relative_to: Literal["root", "manifest"] = Field(
        "root", description="Whether `file` lies below the root or beside the manifest."
    )
    id: str | None = Field(
        None, description="Template such as {name}; else column id, else the image's stem."
    )
    image: Annotated[tuple[str, ...] | None, BeforeValidator(_listed)] = Field(
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

    @field_validator("masks", mode="before")
    @classmethod
    def _named(cls, masks: Any) -> Any:
        return check_masks(masks)


def read_table(spec: TableSpec, path: Path, root: Path) -> list[Sample]:
    """The samples of a table, in its order.

    Raises :class:`~conceptseg.errors.InputError` that names the table and the row.
    """
    folder = root if spec.relative_to == "root" else path.parent
    where = str(folder / spec.file)
    text = read_text(folder, spec.file, f"{path}: table.file")
    suffix = PurePosixPath(spec.file).suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise InputError(f"{where}: {suffix or 'no suffix'} is no table; use .csv or .jsonl")
    rows = list((_csv if suffix == ".csv" else _jsonl)(text, where))
    if rows:
        _check_columns(list(rows[0][1]), spec, where)
    columns = _free_columns(rows, spec)
    return [_sample(row, spec, columns, place) for place, row in rows]


def _csv(text: str, where: str) -> Iterator[tuple[str, Row]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header) or "" in header:
            raise InputError(f"{where}: the header has an empty or repeated column: {header}")
        for cells in reader:
            place = f"{where}, line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{place}: {len(cells)} cells, but the header names {len(header)} columns"
                )
            row: Row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            if "image" in row:
                row["image"] = [part.strip() for part in row["image"].split(";")]
            yield place, row
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}: not CSV ({error})") from None


def _jsonl(text: str, where: str) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        place = f"{where}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f'{place}: not an object; write {{"image": ...}}')
        yield place, {key: _cell(key, value, place) for key, value in row.items()}


def _cell(key: str, value: Any, place: str) -> Any:
    if key == "image" and isinstance(value, list):
        if not all(isinstance(part, str) for part in value):
            raise InputError(f"{place}: image lists something that is not a path")
        return value
    if key in PARTS and not (value is None or isinstance(value, str)):
        raise InputError(f"{place}: {key} is {value!r}; expected text, in quotes")
    if isinstance(value, (dict, list)):
        raise InputError(f"{place}: {key} is nested; metadata must be text or numbers")
    if key == "image":
        return [value]
    return str(value) if isinstance(value, bool) else value


def _check_columns(columns: list[str], spec: TableSpec, where: str) -> None:
    if spec.image is None and "image" not in columns:
        raise InputError(
            f"{where}: no column 'image'; {nearest('image', columns)} A template such as "
            'table.image: "{column}" makes it from others'
        )
    for column in columns:
        close = difflib.get_close_matches(column.lower(), PARTS, n=1, cutoff=0.85)
        if column in PARTS or not close or close[0] in columns:
            continue
        if getattr(spec, close[0]) is None:
            raise InputError(
                f"{where}: the column {column!r}; did you mean {close[0]!r}? Rename it, or "
                f'say so by table.{close[0]}: "{{{column}}}"'
            )


def _free_columns(rows: list[tuple[str, Row]], spec: TableSpec) -> dict[str, bool]:
    """Names of the metadata columns, and whether all their values are numbers."""
    names = dict.fromkeys(key for _, row in rows for key in row if key not in PARTS)
    return {
        name: all(_is_number(row[name]) for _, row in rows if row.get(name) not in (None, ""))
        for name in names
    }


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        if not value or not _NUMBER.fullmatch(value) or not any(c.isdigit() for c in value):
            return False
        value = float(value)
    return isinstance(value, (int, float)) and math.isfinite(value)


def _sample(row: Row, spec: TableSpec, numeric: Mapping[str, bool], place: str) -> Sample:
    words = {key: "" if value is None else value for key, value in row.items()}

    def part(name: str) -> str:
        template = getattr(spec, name)
        return fill(template, words, place) if template is not None else str(words.get(name, ""))

    templates = spec.image or ()
    images = [fill(text, words, place) for text in templates] or row.get("image") or []
    if not images or not all(images):
        raise InputError(f"{place}: no image")
    mask = part("mask")
    metadata = {
        name: float(row[name]) if number else str(row[name])
        for name, number in numeric.items()
        if row.get(name) not in (None, "")
    }
    return Sample(
        id=part("id") or PurePosixPath(images[0]).stem,
        image=tuple(relative(text, place) for text in images),
        mask=relative(mask, place) if mask else None,
        masks=tuple(
            (name, relative(text, place))
            for name, template in spec.masks.items()
            if (text := fill(template, words, place)).strip()
        ),
        split=part("split") or None,
        group=part("group"),
        metadata=metadata,
    )
