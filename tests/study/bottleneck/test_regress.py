"""Folds, choices and predictions against scikit-learn's own cross-validation."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline

from conceptseg.errors import InputError
from conceptseg.study.bottleneck import regress
from conceptseg.study.bottleneck.regress import Features, Search


def data(n=60, units=6, extra=2, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, units + extra)) * np.geomspace(0.1, 10, units + extra)
    groups = np.repeat(np.arange(n // 4), 4)
    quality = regress.from_log_odds(rows[:, 0] * 8 + 0.3 * rng.normal(size=n))
    return Features(rows, units), quality, groups


@pytest.mark.parametrize("name", ["ridge", "neighbours", "forest", "boosting"])
def test_folds_reproduce_cross_val_predict(name):
    features, quality, groups = data()
    target = regress.log_odds(quality)
    outer = regress.splits(groups, 4, seed=3)
    done = list(
        regress.nested([Search((name,), 3, 4, 3)] * len(outer), features, target, groups, outer)
    )
    found = regress.out_of_fold(done, features)
    for fold in done:
        one = regress.pipeline(fold.chosen, features[fold.fit], 4, 3)
        expected = cross_val_predict(one, features.rows, target, cv=outer)
        np.testing.assert_allclose(found[fold.held], expected[fold.held], rtol=1e-10)


def test_the_choice_is_that_of_a_grid_search():
    features, quality, groups = data()
    target = regress.log_odds(quality)
    by = Search(("ridge", "neighbours"), inner=3, components=4, seed=1)
    candidates, chosen = by.candidates, regress.choose(by, features, target, groups)
    pipe = regress.pipeline(candidates[0], features, 4, 1)
    assert isinstance(pipe, Pipeline)
    grid = [{"regress": [regress.regressor(one, 1, 40)]} for one in candidates]
    search = GridSearchCV(
        pipe, grid, cv=regress.splits(groups, 3, 1), scoring="neg_mean_squared_error"
    )
    search.fit(features.rows, target)
    assert chosen == candidates[search.best_index_]


@pytest.mark.parametrize("name", ["mean", "ridge", "neighbours", "forest", "boosting"])
def test_of_one_row_nothing_is_learnt_but_its_quality(name):
    """Two groups of one image each: an inner fold has a single row to fit on."""
    features, quality, _ = data(n=4)
    two, target = features[np.arange(2)], regress.log_odds(quality[:2])
    by = Search(("mean", name), inner=3, components=4, seed=0)
    assert str(regress.choose(by, two, target, np.arange(2))).startswith("mean")
    (fold,) = regress.nested([by], two, target, np.arange(2), [(np.array([0]), np.array([1]))])
    np.testing.assert_allclose(fold.fitted.predict(features.rows), target[0])


def test_no_group_is_cut():
    groups = np.array([0, 0, 1, 1, 1, 2, 3, 3, 4, 5])
    for fit, held in regress.splits(groups, 3, 0):
        assert not set(groups[fit]) & set(groups[held])
        assert len(fit) + len(held) == len(groups)


def test_too_few_groups_are_refused_in_one_line():
    with pytest.raises(InputError, match="folds: 5, but the images are of only 1 groups"):
        regress.splits(np.zeros(20, int), 5, 0)


def test_log_odds_and_back():
    q = np.array([0.01, 0.3, 0.99])
    np.testing.assert_allclose(regress.from_log_odds(regress.log_odds(q)), q, rtol=1e-12)
    assert regress.log_odds(np.array([0.0]))[0] == pytest.approx(np.log(0.01 / 0.99))


def test_units_that_do_not_vary_are_dropped():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 4))
    rows[:, 1] = 0.0
    rows[:, 2] = 5 + 1e-7 * rows[:, 2]
    assert regress.varying(rows).tolist() == [True, False, False, True]
