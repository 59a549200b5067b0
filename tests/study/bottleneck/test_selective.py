"""Areas under risk and coverage by hand, by loops, and of what is known in closed form."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.bottleneck.selective import (
    area,
    best_score,
    risk_table,
    risks,
    selective,
    selective_table,
)


def by_loops(score, loss, times):
    """The mean, over images with their numbers of times, of the risk at their own score."""
    rows = [i for i, count in enumerate(times) for _ in range(count)]
    risk = []
    for i in rows:
        accepted = [loss[j] for j in rows if score[j] >= score[i]]
        risk.append(sum(accepted) / len(accepted))
    return sum(risk) / len(risk)


@pytest.mark.parametrize("seed", range(5))
def test_area_by_loops(seed):
    rng = np.random.default_rng(seed)
    score, loss = rng.integers(0, 6, 25) / 5, rng.random(25)
    times = rng.integers(0, 3, (7, 25))
    found = area(score, loss, times)
    expected = [by_loops(score.tolist(), loss.tolist(), row.tolist()) for row in times]
    np.testing.assert_allclose(found, expected)


def test_a_known_area():
    """Half of the images are lost. Known in advance: 1/2 - ln 2 / 2 of many; unknown: 1/2."""
    n = 4000
    loss, once = (np.arange(n) >= n // 2).astype(float), np.ones((1, n), int)
    assert area(-loss, loss, once)[0] == pytest.approx(0.25, abs=1e-3)  # each half is one score
    told = area(best_score(loss), loss, once)[0]
    assert told == pytest.approx(0.5 - np.log(2) / 2, abs=1e-3)
    assert area(np.zeros(n), loss, once)[0] == pytest.approx(0.5)
    mixed = np.random.default_rng(0).permutation(n)
    assert area(mixed, loss, once)[0] == pytest.approx(0.5, abs=0.02)


def test_risks_of_ties_are_those_of_a_random_order():
    loss = np.array([0.0, 1.0, 0.5, 0.5])
    found = risks(np.array([1.0, 1.0, 0.0, -1.0]), loss, np.array([0.25, 0.5, 0.75, 1.0]))
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, 0.5])
    found = risks(np.array([4.0, 1.0, 3.0, 2.0]), loss, np.array([0.25, 0.5, 0.75, 1.0]))
    np.testing.assert_allclose(found, [0, 0.25, 1 / 3, 0.5])


def test_a_better_score_is_less_than_confidence_and_none_beats_the_best():
    rng = np.random.default_rng(0)
    loss = rng.beta(1, 6, 120)
    names = tuple(f"s{i}" for i in range(120))
    scores = {
        "raw": rng.normal(size=(1, 120)),
        "confidence": -loss + rng.normal(0, 0.3, (2, 120)),
        "layer": -loss + rng.normal(0, 0.02, (2, 120)),
    }
    found = selective(scores, loss, Sampling(names, names, "images", 0, 300), "confidence")
    raw, confidence, layer = found
    assert confidence.less is None and layer.less.low > 0 > raw.less.value
    assert all(one.excess.value >= 0 for one in found)
    table = selective_table(found, loss)
    best = next(row for row in table.rows if row["score"] == "at best")
    for row, one in zip(table.rows, found, strict=False):
        assert row["area"] - best["area"] == pytest.approx(one.excess.value)
    curve = risk_table(scores, loss)
    last = {round(curve.rows[-1][name], 12) for name in curve.columns[1:]}
    assert last == {round(float(loss.mean()), 12)}
