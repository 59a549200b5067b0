"""How well a score finds the images that fail, when only few can be looked at."""

import numpy as np


def failures(quality: np.ndarray, below: float | None) -> tuple[np.ndarray, float]:
    """Which images fail [n], and the quality below which they do.

    `below` as given, else the 10 % quantile of the quality, which then counts as failed itself.
    """
    if below is not None:
        return quality < below, below
    limit = float(np.quantile(quality, 0.1))
    return quality <= limit, limit


def found_by(score: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """How many failures [n + 1] lie among the first 0, 1, ... n images, lowest score first.

    Images of equal score are taken in random order: each then counts as the mean of its ties.
    """
    values, place = np.unique(score, return_inverse=True)
    share = np.bincount(place, failed, len(values)) / np.bincount(place, minlength=len(values))
    ranked = share[place][np.argsort(place, kind="stable")]
    return np.concatenate([[0.0], np.cumsum(ranked)])


def reviewed(images: int, budget: float) -> int:
    """How many of so many images a budget (a share) pays for, at least one."""
    return max(1, int(np.ceil(budget * images - 1e-9)))


def precision(score: np.ndarray, failed: np.ndarray, budget: float) -> float:
    """The share that fails of the images that are reviewed, lowest score first."""
    count = reviewed(len(score), budget)
    return float(found_by(score, failed)[count] / count)


def recall(score: np.ndarray, failed: np.ndarray, budget: float) -> float:
    """The share that is reviewed of the images that fail; nan if none fails."""
    total = float(failed.sum())
    count = reviewed(len(score), budget)
    return float(found_by(score, failed)[count] / total) if total else float("nan")


def precisions(score: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """The share that fails of the images that score at most as each does, [n]."""
    values, place = np.unique(score, return_inverse=True)
    hits = np.cumsum(np.bincount(place, failed, len(values)))
    count = np.cumsum(np.bincount(place, minlength=len(values)))
    return np.asarray((hits / count)[place])


def average_precision(score: np.ndarray, failed: np.ndarray) -> float:
    """Area under precision and recall: the mean over failures of :func:`precisions`.

    That is the sum over scores s of (recall gained at s) x precision at s. nan if no image fails.
    Source: Manning, Raghavan & Schuetze 2008, section 8.4, without interpolation.
    """
    failed = np.asarray(failed, bool)
    return float(precisions(score, failed)[failed].mean()) if failed.any() else float("nan")
