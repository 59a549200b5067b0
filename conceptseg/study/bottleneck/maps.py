"""Pictures of the images in the plane, and how far to believe them.

PCA is linear and the same for every seed; UMAP and t-SNE show neighbourhoods and depend on their
seed. So each comes with what it keeps: trustworthiness (are neighbours in the picture neighbours in
the layer?), continuity (the other way round), the share of the 15 nearest neighbours that are kept,
and the share that two seeds have in common. Made in a process of its own, beside the passes.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

NEIGHBOURS = 15
LEAST = 3 * NEIGHBOURS
"""Fewer rows than this have no neighbourhoods to speak of: PCA alone is shown."""


def maps(rows: np.ndarray, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Points float32 [s, m, 2] by method for rows [m, d], one for each of the s seeds.

    PCA has one. Rows are standardised by column and brought to 50 principal components first.

    Source: McInnes, Healy & Melville 2018 (arXiv 1802.03426); van der Maaten & Hinton 2008.
    """
    points = standardised(rows)
    points_of = {"PCA": np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1]))))[None]}
    if len(rows) >= LEAST:
        points_of["UMAP"] = np.stack([_umap(points, seed) for seed in seeds])
        points_of["t-SNE"] = np.stack([_tsne(points, seed) for seed in seeds])
    return {name: np.asarray(value, np.float32) for name, value in points_of.items()}


def standardised(rows: np.ndarray, components: int = 50) -> np.ndarray:
    """Principal components [m, <= 50] of rows scaled to unit variance; signs are fixed."""
    rows = np.asarray(rows, np.float64)
    spread = rows.std(0)
    scaled = (rows - rows.mean(0)) / np.where(spread > 0, spread, 1.0)
    _, vectors = principal(scaled)
    return np.asarray(scaled @ vectors[:components].T)


def principal(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values [r] and principal directions [r, d] of centred rows [m, d].

    Each direction's largest entry is positive: which sign LAPACK gives it hangs on the last bits.
    """
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    largest = vectors[np.arange(len(vectors)), np.abs(vectors).argmax(1)]
    return values, vectors * np.where(largest < 0, -1.0, 1.0)[:, None]


def faithfulness(rows: np.ndarray, points: np.ndarray) -> dict[str, float]:
    """What points [m, 2] keep of rows [m, d]: trustworthiness, continuity, neighbours kept.

    Source: Venna & Kaski 2001 for the first two.
    """
    from sklearn.manifold import trustworthiness

    k = min(NEIGHBOURS, max(1, (len(rows) - 1) // 2 - 1))
    return {
        "trustworthiness": float(trustworthiness(rows, points, n_neighbors=k)),
        "continuity": float(trustworthiness(points, rows, n_neighbors=k)),
        "neighbours_kept": shared_neighbours(rows, points),
    }


def shared_neighbours(one: np.ndarray, other: np.ndarray, k: int = NEIGHBOURS) -> float:
    """Mean share of each row's k nearest neighbours that are the same in both spaces."""
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(one) - 1)
    near, other_near = (
        NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
        for points in (one, other)
    )
    kept = (near[:, :, None] == other_near[:, None]).any(2).sum(1)
    return float((kept / k).mean())


def quality_of(rows: np.ndarray, maps: Mapping[str, np.ndarray]) -> list[dict[str, object]]:
    """A row per method: its faithfulness (mean over seeds) and what pairs of seeds share."""
    points = standardised(rows)
    table: list[dict[str, object]] = []
    for name, each in maps.items():
        kept = [faithfulness(points, own) for own in each]
        pairs = [shared_neighbours(a, b) for i, a in enumerate(each) for b in each[:i]]
        means = {key: float(np.mean([own[key] for own in kept])) for key in kept[0]}
        stable = float(np.mean(pairs)) if pairs else None
        table.append({"map": name, "seeds": len(each), **means, "seed_stability": stable})
    return table


def warm() -> None:
    """Have UMAP compile itself."""
    _umap(np.random.default_rng(0).normal(size=(4 * NEIGHBOURS, 8)), 0)


def beside(rows: np.ndarray, words: Sequence[str]) -> dict[str, np.ndarray]:
    """:func:`maps` for :class:`~conceptseg.engine.beside.Beside`; the words are the seeds."""
    return maps(rows, [int(word) for word in words])


def _umap(points: np.ndarray, seed: int) -> np.ndarray:
    with warnings.catch_warnings():
        # With a fixed seed UMAP uses one thread, and warns that it does.
        warnings.simplefilter("ignore")
        from umap import UMAP

        made = UMAP(n_neighbors=NEIGHBOURS, min_dist=0.1, random_state=seed, n_jobs=1)
        return np.asarray(made.fit_transform(points))


def _tsne(points: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE from random starts: from the PCA's every seed would give the same picture."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    made = TSNE(perplexity=perplexity, init="random", random_state=seed, learning_rate="auto")
    return np.asarray(made.fit_transform(points))
