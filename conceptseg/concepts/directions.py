"""Directions of a layer from a file, such as the concept activation vectors of an ACE run."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from conceptseg.errors import InputError, asked_for
from conceptseg.result.saved import Result


def load_directions(path: str | None, layer: str, fingerprint: Callable[[], str]) -> np.ndarray:
    """Rows [q, u]: a .npy file, or the concept directions of a saved ACE result.

    Raises InputError where there is no path, or it holds no such rows, or a result that was edited,
    or that is of another layer than `layer` or of a network of another `fingerprint`, which is
    asked for where there is a result alone: it reads all weights.
    """
    if path is None:
        raise InputError(
            "directions: a direction is asked for; give a .npy file [q, u], or the folder of a "
            "finished ace run"
        )
    with asked_for("directions"):
        place = Path(path)
        read = _of_run(place, layer, fingerprint()) if place.is_dir() else _read(place)
        rows = np.asarray(0 if read is None or read.dtype.kind not in "fiu" else read, np.float64)
        if rows.ndim != 2 or not len(rows) or not np.isfinite(rows).all() or not rows.any(1).all():
            raise InputError(f"{path} must hold finite rows [q, u], none of them zero")
    return rows


def _of_run(folder: Path, layer: str, weights: str) -> np.ndarray | None:
    """The directions of a finished run, None where it has none. What is as long means nothing of
    another layer, or of another network."""
    result = Result.load(folder)
    if (rows := result.arrays.get("cav")) is None:
        return None
    if result.provenance.get("weights") != weights:
        raise InputError(f"{folder} is of a network with other weights; run ace on this one")
    if (own := result.provenance.get("layer")) != layer:
        raise InputError(
            f"{folder} is of layer {own!r}, but {layer!r} is studied; set layer, or run ace on it"
        )
    return rows


def _read(path: Path) -> np.ndarray:
    """The array of a .npy file."""
    try:
        if not path.is_file():
            raise FileNotFoundError
        read = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if not isinstance(read, np.ndarray):
            raise ValueError("several arrays")
    except Exception as error:  # what numpy and zipfile raise of damaged bytes has no end
        raise InputError(
            f"{path} holds no directions ({type(error).__name__}); give a .npy file [q, u] or the "
            "folder of a finished ace run"
        ) from None
    return read
