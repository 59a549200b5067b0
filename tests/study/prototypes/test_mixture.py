"""Mixtures against scikit-learn's and scipy's, and how many Gaussians they have."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from conceptseg.study.prototypes.mixture import Mixture, fit


def rows(rng, centres, each=60, spread=0.05):
    return np.concatenate([c + spread * rng.normal(size=(each, len(c))) for c in centres])


def test_density_on_the_axes_is_scikit_learns():
    rng = np.random.default_rng(0)
    given = rows(rng, [np.zeros(3), np.array([1.0, 0, 0.5])], spread=0.3)
    made = fit(given, [str(i) for i in range(len(given))], (2,), 64, 0)[0]
    points = made.points(given)
    assert points.shape == (120, 3)
    other = GaussianMixture(2, random_state=0).fit(points)
    other.weights_, other.means_ = made.weights, made.means
    other.covariances_ = made.covariances
    other.precisions_cholesky_ = np.stack(
        [np.linalg.inv(np.linalg.cholesky(one)).T for one in made.covariances]
    )
    np.testing.assert_allclose(
        made.log_density(given) - outside(made, given), other.score_samples(points), rtol=1e-9
    )
    assert (made.assigned(given) == other.predict(points)).all()


def outside(made, given):
    """What the axes leave, of a Gaussian of equal variance, by scipy."""
    if not made.rest:
        return 0.0
    shifted = (given - made.centre) / made.scale
    left = shifted - made.points(given) @ made.axes
    lengths = (left**2).sum(1)
    one = multivariate_normal(np.zeros(made.rest), made.noise * np.eye(made.rest))
    along = np.zeros((len(given), made.rest))
    along[:, 0] = np.sqrt(lengths)
    return one.logpdf(along)


def test_one_gaussian_on_two_of_five_axes_is_scipys_with_that_covariance():
    rng = np.random.default_rng(1)
    given = (
        rng.normal(size=(200, 5))
        * [3.0, 2.0, 0.3, 0.3, 0.3]
        @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
    )
    made = fit(given, [str(i) for i in range(200)], (1,), 2, 0)[0]
    assert made.axes.shape == (2, 5) and made.rest == 3
    beyond = np.eye(5) - made.axes.T @ made.axes
    covariance = made.axes.T @ made.covariances[0] @ made.axes + made.noise * beyond
    whole = multivariate_normal(
        made.centre + made.scale * made.means[0] @ made.axes, made.scale**2 * covariance
    )
    expected = whole.logpdf(given) + 5 * np.log(made.scale)
    np.testing.assert_allclose(made.log_density(given), expected, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_are_as_many_gaussians_as_kinds(count):
    rng = np.random.default_rng(count)
    given = rows(rng, np.eye(4)[:count])
    kind = np.repeat(np.arange(count), 60)
    made, tried = fit(given, [str(i % 30) for i in range(len(given))], (1, 2, 3, 4), 8, 0)
    assert made.count == count
    assert {one.count for one in tried} == {1, 2, 3, 4}
    found = made.assigned(given)
    assert all(len(set(found[kind == k].tolist())) == 1 for k in range(count))


@pytest.mark.parametrize("seed", range(3))
def test_a_few_rows_like_no_others_do_not_decide_how_many_there_are(seed):
    """Three kinds, and four rows far off: by several narrow Gaussians each is very unlikely."""
    rng = np.random.default_rng([3, seed])
    kinds = rows(rng, np.eye(4)[:3], 20)
    given = np.concatenate([kinds, 0.5 + rng.normal(size=(4, 4))])
    made, tried = fit(given, [str(i) for i in range(len(given))], (1, 2, 3), 8, 0)
    assert tried[-1].behind == 0 and tried[0].behind > 2 * tried[0].error
    found = made.assigned(kinds)
    assert len({tuple(set(found[20 * k : 20 * k + 20].tolist())) for k in range(3)}) == 3


def test_a_lone_row_is_no_way_of_deciding():
    """A Gaussian of its own would call it likely."""
    given = np.concatenate([rows(np.random.default_rng(4), np.eye(4)[:2]), 3 * np.eye(4)[3:]])
    made, _ = fit(given, [str(i) for i in range(len(given))], (3,), 8, 0)
    assert made.count == 2 and made.weights.sum() == pytest.approx(1)
    density = made.log_density(given)
    assert density[-1] < density[:-1].min() - 10


def test_a_single_number_is_taken_as_it_is():
    given = rows(np.random.default_rng(0), [np.zeros(4)])
    made, tried = fit(given, ["a"] * len(given), (3,), 8, 0)
    assert made.count == 3 and tried == ()


def test_regions_all_alike_are_one_gaussian():
    made, _ = fit(np.tile([0.5, 0.5, 0.0], (40, 1)), [str(i) for i in range(40)], (1, 2, 4), 8, 0)
    assert made.count == 1
    density = made.log_density(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    assert np.isfinite(density).all() and density[0] > density[1] + 10


def test_a_concept_that_was_never_used_is_seen():
    """It lies off all axes, where a density on the axes alone does not look."""
    rng = np.random.default_rng(2)
    given = rng.dirichlet([4, 4, 1], 100) @ np.eye(3, 6)
    made = fit(given, [str(i) for i in range(100)], (1, 2), 8, 0)[0]
    assert isinstance(made, Mixture)
    strange = given.mean(0) * 0.6 + 0.4 * np.eye(6)[5]
    assert made.log_density(strange[None])[0] < made.log_density(given).min() - 10
