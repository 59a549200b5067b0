"""Presence as a task of its own: counts by hand, AUC of a layer that knows and of noise."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.stats.ranks import auc
from conceptseg.study.bottleneck.presence import presence, told_apart


def images(count):
    ids = tuple(f"{number:02d}" for number in range(count))
    return Sampling(ids, ids, "images", (0, 11), 1000)


def case(knows, seed=0):
    rng = np.random.default_rng(seed)
    held = np.arange(80) < 40
    layer = rng.normal(size=(80, 4))
    layer[:, 0] += 6.0 * held * knows
    errs = np.zeros(80, bool)
    errs[:10] = True  # missed altogether
    errs[40:44] = True  # seen where there is none
    return presence(
        3, held.astype(int), errs, rng.random(80), layer, images(80), np.arange(80),
        folds=4, least=10, seed=0,
    )  # fmt: skip


def test_what_is_missed_and_what_is_seen_for_nothing():
    found = case(True)
    assert (found.class_id, found.present, found.absent) == (3, 40, 40)
    assert found.missed.value == pytest.approx(0.25)
    assert found.alarms.value == pytest.approx(0.1)
    assert found.missed.low < 0.25 < found.missed.high


def test_a_layer_that_knows_tells_presence_and_noise_does_not():
    assert case(True).layer.value > 0.97
    assert case(False).layer.value == pytest.approx(0.5, abs=0.2)


def test_too_few_of_either_kind_are_not_judged():
    held = np.arange(20) < 3
    found = presence(
        0, held.astype(int), held & False, np.zeros(20), np.zeros((20, 2)), images(20),
        np.arange(20), folds=4, least=10, seed=0,
    )  # fmt: skip
    assert found.layer is None and found.peak is None and found.missed.value == 0
    assert found.alarms.low == 0 and found.alarms.high == pytest.approx(0.184, abs=0.001)  # of 17


def test_a_share_of_three_images_has_no_interval_where_it_had_one_of_0_to_0_56():
    held = np.arange(20) < 3
    errs, layer, ids = held & False, np.zeros((20, 2)), np.arange(20)
    found = presence(
        0, held.astype(int), errs, np.zeros(20), layer, images(20), ids, folds=4, least=10, seed=0
    )
    assert (found.missed.n, found.missed.of, found.missed.ci) == (3, "images", None)


def test_folds_do_not_cut_what_they_were_told_to_keep():
    """The layer tells the place alone, and a place holds the class or not: nothing to learn."""
    rng = np.random.default_rng(1)
    place = np.repeat(np.arange(16), 5)
    held, layer = place % 2 == 0, np.eye(16)[place] + 0.01 * rng.normal(size=(80, 16))
    given = (0, held.astype(int), np.zeros(80, bool), rng.random(80), layer, images(80))
    options = {"folds": 4, "least": 10, "seed": 0}
    assert presence(*given, np.arange(80), **options).layer.value > 0.95
    assert presence(*given, place, **options).layer.value < 0.7


@pytest.mark.slow
def test_the_interval_of_an_auc_near_one_holds_it():
    """One image in thirty of the class is not seen at all: the AUC is 1 - 1/60."""
    rng, held, n = np.random.default_rng(0), [], 40
    for seed in range(120):
        truth = np.arange(n) < n // 2
        seen = truth & (rng.random(n) >= 1 / 30)
        scores = np.where(truth, np.where(seen, 9.0, 0.0), 0.0) + rng.random(n)
        names = tuple(f"{i:02d}" for i in range(n))
        sampling = Sampling(names, names, "images", seed, 200)
        one = told_apart(sampling, scores, truth)
        drawn = sampling.statistic(lambda r, s=scores, t=truth: auc(s[r][t[r]], s[r][~t[r]]))
        assert one.value == drawn.value
        held.append([each.low <= 1 - 1 / 60 <= each.high for each in (one, drawn)])
    new, plain = np.mean(held, 0)
    assert new >= 0.95 and plain < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_of_usual_scores_the_interval_of_an_auc_covers_about_as_promised(mean):
    from scipy.stats import norm

    rng, held, n = np.random.default_rng(1), [], 60
    names = tuple(f"{i:02d}" for i in range(n))
    for seed in range(150):
        truth = np.arange(n) < n // 2
        one = told_apart(
            Sampling(names, names, "images", seed, 200), rng.normal(size=n) + mean * truth, truth
        )
        held.append(one.low <= norm.cdf(mean / np.sqrt(2)) <= one.high)
    assert np.mean(held) >= 0.91
