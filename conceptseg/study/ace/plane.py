"""A picture of high-dimensional rows in the plane, made beside the passes over the data."""

import warnings
from collections.abc import Sequence

import numpy as np

NEIGHBOURS = 15
FEW = 2 * NEIGHBOURS
"""So many rows have no neighbourhoods to speak of: their principal components are shown."""


def embed(rows: np.ndarray, seed: int) -> np.ndarray:
    """UMAP of rows [m, d] -> float32 [m, 2]; of very few, the first two principal components.

    Rows are scaled to length 1; 15 neighbours, min_dist 0.1, fixed seed. For the eye alone: no
    number may rest on it, and distances between its islands mean nothing.

    Source: McInnes, Healy & Melville 2018, arXiv 1802.03426.
    """
    from conceptseg.concepts.finders.kmeans import project

    points = project(rows, 1.0, 50)
    if len(points) <= FEW:
        return np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1])))).astype(np.float32)
    with warnings.catch_warnings():
        # With a fixed seed UMAP uses one thread, and warns that it does.
        warnings.simplefilter("ignore")
        from umap import UMAP

        fitted = UMAP(n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1).fit_transform(points)
    return np.asarray(fitted, dtype=np.float32)


def warm() -> None:
    """Have UMAP compile itself."""
    embed(np.random.default_rng(0).normal(size=(2 * FEW, 8)), 0)


def beside(rows: np.ndarray, words: Sequence[str]) -> dict[str, np.ndarray]:
    """:func:`embed` for :class:`~conceptseg.engine.beside.Beside`; the word is the seed."""
    return {"points": embed(rows, int(words[0]))}
