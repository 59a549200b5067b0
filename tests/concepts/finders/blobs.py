"""Embeddings in which the concepts are known."""

import numpy as np


def blobs(
    groups: int, of_each: int = 60, d: int = 16, noise: float = 0.05, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [m, d] around random unit directions, float32; each one's image; each one's group.

    Lengths vary, since a direction is what a concept is.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, d))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = np.tile(np.arange(groups), of_each)
    rows = centres[truth] + noise * rng.normal(size=(len(truth), d))
    rows *= rng.uniform(0.5, 5, size=(len(truth), 1))
    return rows.astype(np.float32), np.arange(len(truth)) // (2 * groups), truth


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())
