"""The ridge CAV: least squares with an L2 penalty, in closed form."""

import numpy as np
from pydantic import Field

from conceptseg.catalogue import technique
from conceptseg.concepts.contract import CavLearner


@technique(family="concept", source="Kim et al. 2018 (arXiv 1711.11279), linear model; closed form")
class Ridge(CavLearner):
    """Weights of a ridge regression of the concept label (+1, -1) on the embeddings.

    argmin_w sum (t - w.e - b)^2 + penalty * ||w||^2, solved in the smaller of the primal and the
    dual form, since there are usually fewer segments than units.
    """

    penalty: float = Field(1.0, gt=0, description="Weight of the squared norm.")

    def fit(self, embeddings: np.ndarray, is_concept: np.ndarray, seed: int) -> np.ndarray:
        rows = np.asarray(embeddings, dtype=np.float64)
        rows = rows - rows.mean(0)
        label = np.where(is_concept, 1.0, -1.0)
        label = label - label.mean()
        m, d = rows.shape
        if m < d:
            return rows.T @ np.linalg.solve(rows @ rows.T + self.penalty * np.eye(m), label)
        return np.linalg.solve(rows.T @ rows + self.penalty * np.eye(d), rows.T @ label)
