"""Presence as a task of its own: counts by hand, AUC of a layer that knows and of noise."""

import numpy as np
import pytest

from conceptseg.study.bottleneck.presence import told_apart


def case(knows, seed=0):
    rng = np.random.default_rng(seed)
    held = np.arange(80) < 40
    layer = rng.normal(size=(80, 4))
    layer[:, 0] += 6.0 * held * knows
    shared = np.where(held, 0.1, 0.0)
    shared[:10] = 0  # missed altogether
    predicted = np.where(held, 0.1, 0.0)
    predicted[40:44] = 0.05  # seen where there is none
    return told_apart(
        3, held, ~held, shared, predicted, rng.random(80), layer, np.arange(80), np.arange(80),
        folds=4, least=10, least_pixels=0.001, seed=0,
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
    found = told_apart(
        0, held, ~held, held * 0.1, held * 0.1, np.zeros(20), np.zeros((20, 2)), np.arange(20),
        np.arange(20), folds=4, least=10, least_pixels=0.001, seed=0,
    )  # fmt: skip
    assert found.layer is None and found.peak is None and found.missed.value == 0
    assert found.missed.low == 0 and found.missed.high == pytest.approx(0.56, abs=0.01)  # none of 3


def test_folds_do_not_cut_what_they_were_told_to_keep():
    """The layer tells the place alone, and a place holds the class or not: nothing to learn."""
    rng = np.random.default_rng(1)
    place = np.repeat(np.arange(16), 5)
    held, layer = place % 2 == 0, np.eye(16)[place] + 0.01 * rng.normal(size=(80, 16))
    given = (0, held, ~held, held * 0.1, held * 0.1, rng.random(80), layer, np.arange(80))
    options = {"folds": 4, "least": 10, "least_pixels": 0.001, "seed": 0}
    assert told_apart(*given, np.arange(80), **options).layer.value > 0.95
    assert told_apart(*given, place, **options).layer.value < 0.7
