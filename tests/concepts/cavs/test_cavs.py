"""What every CAV learner promises, asked of each file of `conceptseg/cavs`; then each formula."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.linear_model import Ridge as SklearnRidge

from conceptseg import catalogue
from conceptseg.concepts.cavs.hinge import Hinge
from conceptseg.concepts.cavs.logistic import Logistic
from conceptseg.concepts.cavs.pattern import Pattern
from conceptseg.concepts.cavs.ridge import Ridge
from conceptseg.concepts.contract import CavLearner

ALL = pytest.mark.parametrize("name", catalogue.names("cavs"))


def planted(m: int = 200, d: int = 12, seed: int = 0, dtype: type = np.float64):
    """Isotropic noise; the concept's rows are moved by three along a unit direction."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    is_concept = rng.permutation(np.arange(m) < m // 3)
    rows = rng.normal(size=(m, d)) + 3 * is_concept[:, None] * direction
    return rows.astype(dtype), is_concept, direction


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@ALL
@pytest.mark.parametrize("seed", range(3))
def test_finds_a_planted_direction_and_its_sign(name, seed):
    rows, is_concept, direction = planted(seed=seed)
    learner = catalogue.load("cavs", name)()
    assert isinstance(learner, CavLearner)
    v = learner.fit(rows, is_concept, 0)
    assert cosine(v, direction) > 0.85
    assert cosine(learner.fit(rows, ~is_concept, 0), direction) < -0.85


@ALL
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float64_of_the_embeddings_width_and_inputs_untouched(name, dtype):
    rows, is_concept, _ = planted(dtype=dtype)
    before = rows.copy(), is_concept.copy()
    v = catalogue.load("cavs", name)().fit(rows, is_concept, 0)
    assert v.dtype == np.float64 and v.shape == (12,) and np.isfinite(v).all()
    assert (rows == before[0]).all() and (is_concept == before[1]).all()


@ALL
def test_the_same_seed_gives_the_same_bits_whatever_ran_before(name):
    rows, is_concept, _ = planted()
    learner = catalogue.load("cavs", name)()
    first = learner.fit(rows, is_concept, 7)
    np.random.seed(123)
    np.random.random(10)
    assert (learner.fit(rows, is_concept, 7) == first).all()


@ALL
def test_more_units_than_rows(name):
    rows, is_concept, direction = planted(m=30, d=100)
    v = catalogue.load("cavs", name)().fit(rows, is_concept, 0)
    assert np.isfinite(v).all() and cosine(v, direction) > 0.2


@ALL
def test_truths_may_be_numbers(name):
    """0 and 1 mean what False and True mean: they are no row numbers."""
    rows, is_concept, _ = planted()
    learner = catalogue.load("cavs", name)()
    as_numbers = learner.fit(rows, is_concept.astype(np.int64), 0)
    assert (as_numbers == learner.fit(rows, is_concept, 0)).all()


@ALL
def test_configuration_comes_back(name):
    learner = catalogue.load("cavs", name)()
    assert type(learner).model_validate(learner.model_dump()) == learner


def test_pattern_is_covariance_over_variance_by_loops():
    rows, is_concept, _ = planted(m=20, d=3)
    label = [float(t) for t in is_concept]
    middle = sum(label) / len(label)
    variance = sum((t - middle) ** 2 for t in label)
    for unit in range(3):
        values = [float(e) for e in rows[:, unit]]
        mean = sum(values) / len(values)
        covariance = sum((e - mean) * (t - middle) for e, t in zip(values, label, strict=True))
        found = Pattern().fit(rows, is_concept, 0)[unit]
        assert found == pytest.approx(covariance / variance, rel=1e-12)


def test_pattern_ignores_a_distractor_that_tilts_a_classifier():
    """Unit 1 holds the same noise as unit 0: weights use it to cancel, the pattern does not."""
    rng = np.random.default_rng(0)
    is_concept = np.arange(400) < 200
    noise = rng.normal(size=400)
    rows = np.stack([is_concept + noise, noise + 0.01 * rng.normal(size=400)], 1)
    assert abs(Pattern().fit(rows, is_concept, 0)[1]) < 0.25
    assert Ridge(penalty=0.01).fit(rows, is_concept, 0)[1] < -1


@pytest.mark.parametrize("shape", [(60, 9), (9, 60), (20, 20)])
@pytest.mark.parametrize("penalty", [0.1, 1.0, 50.0])
def test_ridge_in_both_forms_and_by_sklearn(shape, penalty):
    rows, is_concept, _ = planted(*shape)
    found = Ridge(penalty=penalty).fit(rows, is_concept, 0)
    centred = rows - rows.mean(0)
    label = 2.0 * is_concept - 1
    label = label - label.mean()
    primal = np.linalg.inv(centred.T @ centred + penalty * np.eye(shape[1])) @ centred.T @ label
    dual = centred.T @ np.linalg.inv(centred @ centred.T + penalty * np.eye(shape[0])) @ label
    peer = SklearnRidge(alpha=penalty, solver="svd").fit(rows, 2 * is_concept - 1).coef_
    for expected in (primal, dual, peer):
        assert np.allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_ridge_minimises_what_it_says():
    rows, is_concept, _ = planted(m=40, d=5)
    label = np.where(is_concept, 1.0, -1.0)

    def loss(w):
        b = (label - rows @ w).mean()
        return ((label - rows @ w - b) ** 2).sum() + 2.0 * w @ w

    w = Ridge(penalty=2.0).fit(rows, is_concept, 0)
    rng = np.random.default_rng(1)
    assert all(loss(w) < loss(w + 1e-3 * rng.normal(size=5)) for _ in range(50))


def test_logistic_is_sklearns_and_stationary():
    rows, is_concept, _ = planted(m=80, d=6)
    found = Logistic(inverse_penalty=0.5).fit(rows, is_concept, 0)
    peer = LogisticRegression(C=0.5, max_iter=1000).fit(rows, is_concept)
    assert (found == peer.coef_[0]).all()
    chance = 1 / (1 + np.exp(-(rows @ found + peer.intercept_[0])))
    slope = found + 0.5 * rows.T @ (chance - is_concept)
    assert np.abs(slope).max() < 1e-2 * np.abs(found).max()


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_hinge_is_sklearns_under_the_same_seed(seed):
    rows, is_concept, _ = planted(m=80, d=6)
    peer = SGDClassifier(loss="hinge", alpha=0.01, max_iter=1000, tol=1e-3, random_state=seed)
    assert (Hinge().fit(rows, is_concept, seed) == peer.fit(rows, is_concept).coef_[0]).all()
    other = Hinge().fit(rows, is_concept, seed + 1)
    assert not np.array_equal(other, peer.coef_[0])
