"""Directions of a layer from a file, such as the concept activation vectors of an ACE run."""

from pathlib import Path

import numpy as np

from conceptseg.errors import InputError


def load_directions(path: str | None) -> np.ndarray:
    """Rows [q, u]: a .npy file, or the concept directions of a saved ACE result.

    Raises InputError where there is no path, or it holds no such rows.
    """
    if path is None:
        raise InputError(
            "directions: a direction is asked for; give a .npy file [q, u], or the folder of a "
            "finished ace run"
        )
    place = Path(path)
    try:
        if place.is_dir():
            with np.load(place / "arrays.npz", allow_pickle=False) as arrays:
                rows = np.asarray(arrays["cav"], np.float64)
        else:
            rows = np.asarray(np.load(place, allow_pickle=False), np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"directions: {path} holds no directions ({type(error).__name__}); give a .npy file "
            "[q, u] or the folder of a finished ace run"
        ) from None
    if rows.ndim != 2 or not len(rows) or not np.isfinite(rows).all() or not rows.any(1).all():
        raise InputError(f"directions: {path} must hold finite rows [q, u], none of them zero")
    return rows
