"""Columns of values that repeat, by which images and objects can be put into kinds."""

from collections.abc import Mapping, Sequence

import numpy as np

from conceptseg.data.manifest import Manifest

SIZE, PLACE = "size", "place"
VALUES = 20
"""A column of more different values than this is cut into thirds if it holds numbers, else left."""


def columns(metadata: Mapping[str, Sequence[str | float]]) -> dict[str, list[str]]:
    """Metadata as values that repeat: numbers of many values become thirds, and "none" where one is
    missing; others are left out."""
    kept = {}
    for name, given in metadata.items():
        texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in given]
        if 1 < len(set(texts)) <= VALUES:
            kept[name] = texts
        elif len(set(texts)) > VALUES and all(isinstance(value, (int, float)) for value in given):
            numbers = np.array(given, dtype=float)
            edges = np.unique(np.nanquantile(numbers, [1 / 3, 2 / 3]))
            names = ("lowest third", "middle third", "highest third")
            place = np.searchsorted(edges, numbers, side="right")
            lacking = np.isnan(numbers)
            kept[name] = ["none" if no else names[p] for p, no in zip(place, lacking, strict=True)]
    return kept


def of_objects(
    manifest: Manifest, ids: Sequence[str], area: np.ndarray, middle: np.ndarray
) -> dict[str, list[str]]:
    """Of objects [m] in images `ids`, as columns: the thirds of their area [m] and of their middle
    [m, 2] (y, x), and what all of the images have of metadata."""
    metadata = [manifest.sample(name).metadata for name in ids]
    names = set.intersection(*(set(one) for one in metadata)) if metadata else set()
    given: dict[str, Sequence[str | float]] = {
        SIZE: area.tolist(),
        f"{PLACE}, down": middle[:, 0].tolist(),
        f"{PLACE}, across": middle[:, 1].tolist(),
        **{name: [one[name] for one in metadata] for name in sorted(names)},
    }
    return columns(given)
