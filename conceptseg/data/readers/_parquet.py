"""Tables in Parquet (extra `parquet`), many rows at a time, of no columns but those wanted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from conceptseg.data.columns import Block, Cells, Coded
from conceptseg.data.readers._cells import (
    PARTS,
    Chunk,
    Keys,
    Place,
    Wanted,
    check_utf8,
    several,
)
from conceptseg.data.rows import SEVERAL
from conceptseg.errors import InputError
from conceptseg.extras import missing

ROWS = 1 << 14
"""Rows that are read at once."""
STREAM = 1 << 20
"""Bytes of a column that are read from the file at once."""


def parquet_chunks(
    source: BinaryIO, where: str, keys: Keys, wanted: Wanted, as_text: Wanted
) -> Iterator[Chunk]:
    """The rows of a Parquet file. Numbers come as numbers unless a column is wanted `as_text`.

    Raises :class:`~conceptseg.errors.InputError` without pyarrow, for what is no Parquet file that
    can be read, and, naming column and row, for what no cell may hold.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(missing(f"{where}: Parquet", "pyarrow")) from None
    start = 0
    try:
        with ParquetFile(source, buffer_size=STREAM, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            _check_names(schema.names, where)
            names = [name for name in schema.names if wanted(name)]
            for name in names:
                _check_type(name, schema.field(name).type, where)
            for batch in file.iter_batches(ROWS, columns=names, use_threads=False):

                def place(i: int, start: int = start) -> str:
                    return f"{where}, row {start + 1 + i}"

                if batch.num_rows:
                    keys(schema.names, place(0))
                    columns = {
                        name: _cells(name, batch.column(name), place, as_text(name))
                        for name in names
                    }
                    yield Chunk(batch.num_rows, columns, place)
                start += batch.num_rows
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        after = f" after row {start}" if start else ""
        raise InputError(
            f"{where}: cannot be read as Parquet{after} ({told}); it is damaged, encrypted or of "
            "another kind: write it again, or as .csv"
        ) from None


def _check_names(names: Sequence[str], where: str) -> None:
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise InputError(f"{where}: a column's name is empty or repeated: {list(names)}")


def _check_type(name: str, kind: Any, where: str) -> None:
    """Refuse types that no cell can have."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    listed = types.is_list(kind) or types.is_large_list(kind)
    text = _is_text(kind) or types.is_null(kind)
    if name == "image" and listed and _is_text(kind.value_type):
        return
    if name in PARTS and not text:
        also = ", or a list of texts" if name == "image" else ""
        raise InputError(f"{where}: the column {name!r} holds {kind}; expected text{also}")
    if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        raise InputError(
            f"{where}: the column {name!r} holds {kind}; metadata must be text or numbers: leave "
            "it out by table.metadata, which lists the columns to keep"
        )


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _cells(name: str, cells: Any, place: Place, as_text: bool) -> Cells:
    """A column of a batch, as texts, or as numbers."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    kind = cells.type
    if _is_text(kind) and name not in ("id", "image", "mask"):  # of these few are the same
        cells = cells.dictionary_encode()
        if 4 * len(cells.dictionary) > len(cells):
            cells = cells.dictionary_decode()
    if types.is_dictionary(cells.type):
        return _coded(name, cells, place)
    if _is_text(kind):
        return _texts(name, cells.cast(pyarrow.large_string()), place)
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if number and not as_text:
        return _numbers(name, cells, place)
    values = cells.to_pylist()
    if types.is_list(kind) or types.is_large_list(kind):
        return [_images(paths or (), place(i)) for i, paths in enumerate(values)]
    missing = [value is None or value != value for value in values]
    return ["" if no else str(value) for value, no in zip(values, missing, strict=True)]


def _images(paths: Sequence[str | None], place: str) -> str:
    return several([path or "" for path in paths], place)


def _texts(name: str, cells: Any, place: Place) -> Block:
    """A column of texts, taken as they lie in memory."""
    from pyarrow import compute

    cells = compute.fill_null(cells, "") if cells.null_count else cells
    offsets = np.frombuffer(cells.buffers()[1], np.int64)
    offsets = offsets[cells.offset : cells.offset + len(cells) + 1]
    held = cells.buffers()[2]
    data = b"" if held is None else held[offsets[0] : offsets[-1]].to_pybytes()
    block = Block(data, (offsets - offsets[0]).astype(np.uint32))
    check_utf8(block, name, place)
    if name == "image" and SEVERAL.encode() in data:
        return Block.of([several([text], place(i)) for i, text in enumerate(block.texts())])
    return block


def _coded(name: str, cells: Any, place: Place) -> Coded:
    """A column of few texts; a row that holds none has code 0."""
    import pyarrow

    codes = cells.indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1

    def first(code: int) -> str:
        return place(int(np.flatnonzero(codes == code + 1)[0]))

    values = _texts(name, cells.dictionary.cast(pyarrow.large_string()), first)
    return Coded(codes, ("", *values.texts()))


def _numbers(name: str, cells: Any, place: Place) -> np.ndarray:
    """A column of numbers as float64; nan where there is none."""
    import pyarrow

    values = cells.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    endless = np.flatnonzero(np.isinf(values))
    if len(endless):
        sign = math.copysign(1, values[endless[0]])
        raise InputError(
            f"{place(int(endless[0]))}: column {name!r} is {'-' if sign < 0 else ''}infinite; "
            "leave the cell empty (null), or the column out by table.metadata"
        )
    return np.asarray(values, np.float64)
