"""Values as JSON and arrays as bytes, without pickle and the same each time."""

import io
import math
import zipfile
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from conceptseg.errors import InputError

LARGEST = 2**32
"""Bytes of all arrays of a result, at most: more is a bomb."""


def plain(value: Any) -> Any:
    """The value in JSON's own types: numpy, tuples, paths and models undone; NaN becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (set, frozenset)):
        return sorted((plain(entry) for entry in value), key=repr)
    if isinstance(value, BaseModel):
        return plain(value.model_dump(by_alias=True))
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return [plain(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an .npz with fixed dates, refusing objects (they would need pickle)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, _by_rows(arrays[key]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy")  # its default date is 1980-01-01
            archive.writestr(entry, member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _by_rows(array: np.ndarray) -> np.ndarray:
    """Row after row, so that equal arrays are equal bytes wherever they were kept meanwhile."""
    array = np.asarray(array)
    return array if array.flags.c_contiguous else np.array(array, order="C")


def unpack(folder: Path, data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz, by name; InputError for what holds anything else, or is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(one.file_size for one in archive.infolist())
            if size > LARGEST:
                raise ValueError(f"its arrays take {size >> 20} MiB")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
        if not all(isinstance(one, np.ndarray) for one in found.values()):
            raise ValueError("not all of it are arrays")
    except Exception as error:  # what zipfile, zlib and numpy raise of damaged bytes has no end
        why = str(error).partition("\n")[0][:200] or type(error).__name__
        raise InputError(
            f"{folder / 'arrays.npz'} cannot be read ({why}); run the study again "
            "or restore the folder"
        ) from None
    return found
