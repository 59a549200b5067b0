"""The pattern CAV: the difference of two means."""

import numpy as np

from conceptseg.catalogue import technique
from conceptseg.concepts.contract import CavLearner


@technique(family="concept", source="Pahde et al. 2025 (arXiv 2202.03482), eq. 4")
class Pattern(CavLearner):
    """Covariance of embedding and concept label over the label's variance.

    v = cov(e, t) / var(t), which for a label t in {0, 1} is the mean of the concept's embeddings
    minus the mean of the others. It says how the concept changes an embedding, and unlike a
    classifier's weights it does not tilt towards distractors that help to separate.
    """

    def fit(self, embeddings: np.ndarray, is_concept: np.ndarray, seed: int) -> np.ndarray:
        embeddings = np.asarray(embeddings, dtype=np.float64)
        is_concept = np.asarray(is_concept, dtype=bool)
        return embeddings[is_concept].mean(0) - embeddings[~is_concept].mean(0)
