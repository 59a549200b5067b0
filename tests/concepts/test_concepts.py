"""What every concept finder promises, asked of each file of `conceptseg/concepts`."""

import numpy as np
import pytest

from conceptseg import catalogue
from conceptseg.concepts.contract import ConceptFinder, Concepts
from tests.concepts.finders.blobs import blobs, jaccard

SMALL = {
    "kmeans": {"counts": (3, 4, 5), "draws": 3, "seeds": 3},
    "nmf": {"counts": (3, 4, 5)},
    "batch_topk_sae": {"counts": (4,), "active": 1, "draws": 2, "steps": 300},
}
"""Settings with which a finder suits a few hundred rows; its own defaults where it has no line."""

ALL = pytest.mark.parametrize("name", catalogue.names("concepts"))


def finder(name: str) -> ConceptFinder:
    return catalogue.load("concepts", name)(**SMALL.get(name, {}))


@ALL
def test_finds_planted_groups(name):
    rows, images, truth = blobs(4)
    found = finder(name).fit(rows, images, 0)
    assert isinstance(found, Concepts)
    for group in range(4):
        best = max(jaccard(found.members == q, truth == group) for q in range(len(found.centres)))
        assert best > 0.95


@ALL
def test_shapes_and_ranges(name):
    rows, images, _ = blobs(4)
    found = finder(name).fit(rows, images, 0)
    q = len(found.centres)
    assert found.members.shape == found.distances.shape == (len(rows),)
    assert found.members.dtype == np.int64
    assert set(found.members.tolist()) <= {*range(q), -1}
    assert (found.distances[found.members >= 0] >= 0).all()
    assert found.stability.shape == (q,)
    assert ((found.stability >= 0) & (found.stability <= 1)).all()


@ALL
def test_seeded_and_inputs_untouched(name):
    rows, images, _ = blobs(4)
    before = rows.copy(), images.copy()
    first = finder(name).fit(rows, images, 3)
    np.random.seed(0)
    second = finder(name).fit(rows, images, 3)
    for key in ("centres", "members", "distances", "stability"):
        assert (getattr(first, key) == getattr(second, key)).all()
    assert first.choices == second.choices
    assert (rows == before[0]).all() and (images == before[1]).all()


@ALL
def test_configuration_comes_back(name):
    one = finder(name)
    assert type(one).model_validate(one.model_dump()) == one
