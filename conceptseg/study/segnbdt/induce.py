"""Trees that a network suggests: from its last weights, its confusions, its classes' features."""

from typing import Literal

import numpy as np

from conceptseg.study.segnbdt.tree import Nested, Tree, leaves_of

Linkage = Literal["ward", "cosine", "average"]


def cluster(rows: np.ndarray, linkage: Linkage = "ward") -> Tree:
    """Binary tree of the rows [k, d] by agglomerative clustering.

    `ward`: least growth of the squared distances to the means (Ward 1963), as published; rows of
    large norm come apart early. `average`: mean Euclidean distance. `cosine`: mean of 1 - cosine,
    which does not see norms.
    """
    from scipy.spatial.distance import pdist

    rows = np.asarray(rows, np.float64)
    if linkage != "cosine":
        return _joined(rows, linkage)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / np.where(norms > 0, norms, 1)
    return _joined(pdist(units, "sqeuclidean") / 2, "average")


def from_confusion(confusion: np.ndarray) -> Tree:
    """Binary tree in which classes that are taken for each other part late.

    With p the rows of `confusion` [k, k] (truth by prediction) divided by their sums, the distance
    of two classes is 1 - (p_ij + p_ji) / 2; groups are joined by average linkage.
    """
    counts = np.asarray(confusion, np.float64)
    rates = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    distance = 1 - (rates + rates.T) / 2
    return _joined(distance[np.triu_indices(len(counts), 1)], "average")


def agreement(first: Tree, second: Tree) -> float:
    """Cophenetic correlation of two trees: Pearson's, over pairs of classes; nan if one is flat.

    A pair's distance is the number of classes below the node where it parts, so that trees made
    from different things can be compared. Source: Sokal & Rohlf 1962.
    """
    a, b = first.cophenetic, second.cophenetic
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def support(tree: Tree, others: list[Tree]) -> np.ndarray:
    """Per node, the share of other trees in which the same classes stand under one node, [n].

    Source: Felsenstein 1985, the bootstrap of phylogenies.
    """
    groups = [other.groups for other in others]
    return np.array([
        np.mean([frozenset(node.leaves) in group for group in groups]) if groups else np.nan
        for node in tree.nodes
    ])  # fmt: skip


def _joined(points: np.ndarray, method: str) -> Tree:
    """The tree of rows, or of distances of pairs: the smaller class number's branch comes first."""
    from scipy.cluster.hierarchy import linkage

    joins = linkage(points, method)
    parts: list[Nested] = list(range(len(joins) + 1))
    for a, b in joins[:, :2].astype(int).tolist():
        pair = sorted((parts[a], parts[b]), key=lambda part: min(leaves_of(part)))
        parts.append(tuple(pair))
    return Tree.of(parts[-1])
