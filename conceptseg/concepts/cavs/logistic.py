"""The logistic CAV: weights of a logistic regression."""

import numpy as np
from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.concepts.contract import CavLearner


@technique(family="concept", source="Kim et al. 2018 (arXiv 1711.11279), section 3.2")
class Logistic(CavLearner):
    """Weights of scikit-learn's L2-penalised logistic regression of concept against the rest."""

    inverse_penalty: float = Field(1.0, gt=0, description="scikit-learn's C.")

    def fit(self, embeddings: np.ndarray, is_concept: np.ndarray, seed: int) -> np.ndarray:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.inverse_penalty, max_iter=1000)
        model.fit(embeddings, np.asarray(is_concept, dtype=bool))
        return model.coef_[0].astype(np.float64)
