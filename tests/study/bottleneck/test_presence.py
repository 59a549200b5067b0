"""Presence as a task of its own: counts by hand, AUC of a layer that knows and of noise."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.presence import presence


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
