"""The hinge CAV: the linear SVM by stochastic descent that ACE and TCAV published."""

import numpy as np
from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.concepts.contract import CavLearner


@technique(family="concept", source="Ghorbani et al. 2019 (arXiv 1902.03129), published code")
class Hinge(CavLearner):
    """Weights of scikit-learn's SGDClassifier with hinge loss, for parity with published results.

    It depends on the order of the rows through the seed; prefer `pattern` or `ridge`.
    """

    alpha: float = Field(0.01, gt=0, description="Weight of the L2 penalty.")

    def fit(self, embeddings: np.ndarray, is_concept: np.ndarray, seed: int) -> np.ndarray:
        from sklearn.linear_model import SGDClassifier

        model = SGDClassifier(
            loss="hinge", alpha=self.alpha, max_iter=1000, tol=1e-3, random_state=seed
        )
        model.fit(embeddings, np.asarray(is_concept, dtype=bool))
        return model.coef_[0].astype(np.float64)
