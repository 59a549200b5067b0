"""Concepts as clusters of embeddings, their number chosen by stability."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.concepts.contract import Concepts
from conceptseg.concepts.dictionary import TINY, Dictionary, DictionaryFinder

if TYPE_CHECKING:
    from torch import Tensor


class Nearest(Dictionary):
    """Codes of one atom each: the one of greatest cosine, by the row's length along it."""

    def codes(self, rows: Tensor) -> Tensor:
        import torch

        along = rows @ torch.as_tensor(self.atoms).to(rows).T
        best = along.argmax(1, keepdim=True)
        return torch.zeros_like(along).scatter(1, best, along.gather(1, best).clamp(min=0))


@technique(family="concept", source="Ghorbani et al. 2019 (arXiv 1902.03129), section 3, step 2")
class KMeans(DictionaryFinder):
    """k-means on L2-normalised embeddings after PCA, with k chosen by bootstrap stability.

    For each k the images are drawn with replacement several times; k-means is fitted to each draw
    and labels all segments; the score of k is the mean adjusted Rand index between draws. The
    largest k within one standard error of the best score is taken. At that k, several seeds are
    fitted, the one of least inertia is kept, and a concept's stability is the mean, over the other
    seeds, of the Jaccard index of its members with those of the concept matched to it (Hungarian
    assignment on the cosine of centres). As a dictionary, atoms are clusters of directions, and a
    row is its nearest one alone.

    Source of the stability criterion: Ben-Hur, Elisseeff & Guyon 2002; of the rule: Breiman et al.
    1984, section 3.4.3.
    """

    counts: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (10, 15, 25), min_length=1, description="Numbers of concepts to try."
    )
    draws: int = Field(5, ge=2, description="Bootstrap draws of images for each number.")
    seeds: int = Field(5, ge=2, description="Seeds compared at the number that was chosen.")
    variance: float = Field(0.95, gt=0, le=1, description="Share of variance that PCA keeps.")
    max_components: int = Field(50, ge=2, description="PCA keeps no more components than this.")
    max_rows: int = Field(6000, ge=100, description="Rows used to choose the number, drawn evenly.")

    def fit(self, embeddings: np.ndarray, images: np.ndarray, seed: int) -> Concepts:
        from threadpoolctl import threadpool_limits

        counts = self.allowed(*embeddings.shape)
        # One BLAS thread: faster for problems of this size, and the same bits on every machine.
        with threadpool_limits(1):
            points = project(embeddings, self.variance, self.max_components)
            choices = [self._score(points, images, k, seed) for k in counts]
            best = max(choices, key=lambda choice: choice["stability"])
            bar = best["stability"] - best["standard_error"]
            k = int(max(c["concepts"] for c in choices if c["stability"] >= bar))
            return self._final(points, k, seed, tuple(choices))

    def learn(self, rows: np.ndarray, count: int, seed: int) -> Dictionary:
        """Means of clusters of directions, of length 1, each row of one alone."""
        rows = np.asarray(rows, dtype=np.float64)
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
        centres = _fit(unit, count, seed=[seed, count]).cluster_centers_
        return Nearest(centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), TINY))

    def _score(self, points: np.ndarray, images: np.ndarray, k: int, seed: int) -> dict[str, float]:
        """Mean adjusted Rand index between labellings from bootstrap draws of the images."""
        from sklearn.metrics import adjusted_rand_score

        step = max(1, -(-len(points) // self.max_rows))
        points, images = points[::step], images[::step]
        names, image = np.unique(images, return_inverse=True)
        labels = []
        for draw in range(self.draws):
            rng = np.random.default_rng([seed, k, draw])
            weight = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
            fitted = _fit(points, k, seed=[seed, k, draw, 1], weight=weight[image])
            labels.append(fitted.predict(points))
        scores = [adjusted_rand_score(a, b) for a, b in combinations(labels, 2)]
        # Pairs share draws, so the draws, not the pairs, are what the error counts.
        error = float(np.std(scores, ddof=1) / np.sqrt(self.draws)) if len(scores) > 1 else 0.0
        return {"concepts": k, "stability": float(np.mean(scores)), "standard_error": error}

    def _final(
        self, points: np.ndarray, k: int, seed: int, choices: tuple[dict[str, float], ...]
    ) -> Concepts:
        fits = [_fit(points, k, seed=[seed, k, 100 + repeat]) for repeat in range(self.seeds)]
        best = min(fits, key=lambda fit: fit.inertia_)
        others = [fit for fit in fits if fit is not best]
        overlap = np.mean([match(best, fit) for fit in others], axis=0)
        distance = np.linalg.norm(points - best.cluster_centers_[best.labels_], axis=1)
        return Concepts(
            best.cluster_centers_, best.labels_.astype(np.int64), distance, overlap, choices
        )


def project(embeddings: np.ndarray, variance: float, max_components: int) -> np.ndarray:
    """Rows scaled to length 1, centred, on their leading principal components, float64.

    Components are kept until `variance` is explained, at most `max_components`. The sign of each
    is fixed (largest loading positive), so that equal input gives equal output everywhere.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    rows = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    share = np.cumsum(values) / max(values.sum(), 1e-300)
    kept = min(int(np.searchsorted(share, variance)) + 1, max_components, rows.shape[1])
    vectors = vectors[:, :kept]
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(kept)])
    return rows @ (vectors * np.where(signs == 0, 1.0, signs))


def match(one: Any, other: Any) -> np.ndarray:
    """Jaccard index of each cluster's members with those of its partner in another fit, [k].

    Partners are assigned one to one by the greatest total cosine of centres.
    """
    from scipy.optimize import linear_sum_assignment

    a, b = (
        fit.cluster_centers_
        / np.maximum(np.linalg.norm(fit.cluster_centers_, axis=1), 1e-12)[:, None]
        for fit in (one, other)
    )
    rows, columns = linear_sum_assignment(-(a @ b.T))
    k = len(a)
    joint = np.bincount(one.labels_ * k + other.labels_, minlength=k * k).reshape(k, k)
    union = joint.sum(1)[rows] + joint.sum(0)[columns] - joint[rows, columns]
    return joint[rows, columns] / np.maximum(union, 1)


def _fit(points: np.ndarray, k: int, *, seed: list[int], weight: np.ndarray | None = None) -> Any:
    from sklearn.cluster import KMeans as SklearnKMeans

    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    model = SklearnKMeans(k, n_init=1, max_iter=100, random_state=state)
    return model.fit(points, sample_weight=weight)
