"""Codes that nobody had to agree on: k-means, and product quantisation, of as many bits."""

import numpy as np

from conceptseg.stats.intervals import Floats


def kmeans(features: Floats, learning: np.ndarray, values: int, seed: int) -> np.ndarray:
    """Number of the nearest of `values` centres, fitted to the rows that learn, [m, 1]."""
    from sklearn.cluster import KMeans

    own = features[learning]
    values = min(values, len(np.unique(own, axis=0)))
    fitted = KMeans(values, n_init=3, random_state=seed).fit(own)
    return np.asarray(fitted.predict(features)[:, None])


def product(
    features: Floats, learning: np.ndarray, words: int, values: int, seed: int
) -> np.ndarray:
    """Codes [m, words]: a k-means of `values` centres in each of so many parts of the components.

    Components, which come in the order of their variance, are dealt one by one to the part whose
    variance is least so far.

    Source: Jégou, Douze & Schmid 2011 (product quantisation); Ge et al. 2013 for the dealing.
    """
    variance = features[learning].var(0)
    held, members = np.zeros(words), [list[int]() for _ in range(words)]
    for component in range(features.shape[1]):
        part = int(np.argmin(held))
        members[part].append(component)
        held[part] += variance[component]
    coded = [
        kmeans(features[:, own], learning, values, seed) if own else np.zeros((len(features), 1))
        for own in members
    ]
    return np.concatenate(coded, 1).astype(np.int64)


def joint(words: np.ndarray) -> np.ndarray:
    """The number of each row's message among the different ones, [m]."""
    return np.asarray(np.unique(words, axis=0, return_inverse=True)[1]).reshape(len(words))


def bits(words: np.ndarray) -> float:
    """Entropy of messages [m, L] in bits."""
    p = np.bincount(joint(words)) / len(words)
    return float(-(p * np.log2(p)).sum())
