"""Units that respond alike are one atom, whatever their scale."""

import numpy as np
import pytest

from conceptseg.concepts.finders.kmeans import KMeans
from conceptseg.study.graph.atoms import profiles


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_profiles_have_the_units_correlations(scale):
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 9))
    cells = scale * (cells - cells.mean(0)) / cells.std(0)
    rows = profiles(cells / scale)
    np.testing.assert_allclose(rows @ rows.T, np.corrcoef(cells.T), atol=1e-9)


def test_three_causes_of_thirty_units_are_three_atoms():
    rng = np.random.default_rng(1)
    cause = np.arange(30) % 3
    cells = rng.normal(size=(500, 3))[:, cause] * rng.uniform(0.1, 9, 30)
    cells += 0.2 * cells.std(0) * rng.normal(size=cells.shape)
    rows = profiles(cells / cells.std(0))
    found = KMeans(counts=(3, 5), draws=3, seeds=2).fit(rows, np.arange(30), 0).members
    assert len({(a, b) for a, b in zip(cause.tolist(), found.tolist(), strict=True)}) == 3
