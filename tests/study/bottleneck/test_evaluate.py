"""Cross-validated numbers on data whose ceiling is known, and on data without any."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from conceptseg.study.bottleneck import evaluate
from conceptseg.study.bottleneck.regress import Features, from_log_odds

OPTIONS = {"folds": 5, "inner": 3, "repeats": 1, "components": 5, "seed": 0}


def synthetic(n=300, noise=1.0, seed=0):
    """q = sigmoid(w . phi + noise); the best predictor knows w."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 5))
    signal = rows @ np.array([1.0, -0.8, 0.5, 0.0, 0.0])
    return rows, signal, from_log_odds(signal + noise * rng.normal(size=n))


def test_explained_variance_reaches_its_ceiling():
    rows, signal, quality = synthetic()
    fitted = evaluate.crossed(("ridge",), Features(rows, 5), quality, np.arange(300), **OPTIONS)
    found = evaluate.standing({"layer": fitted}, quality, np.arange(300), 0)["layer"]["r2"]
    ceiling = evaluate.r_squared(quality, from_log_odds(signal))
    assert found.low <= ceiling <= found.high
    assert found.value == pytest.approx(ceiling, abs=0.05)


def test_permuted_quality_is_not_predicted():
    rows, _, quality = synthetic()
    found = []
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(quality)
        one = evaluate.crossed(
            ("ridge", "neighbours"), Features(rows, 5), mixed, np.arange(300), **OPTIONS
        )
        found.append(evaluate.r_squared(mixed, one.predicted[0]))
    assert np.mean(found) <= 0


def test_measures_are_those_of_scipy_and_scikit_learn():
    rng = np.random.default_rng(0)
    q, p = rng.random(50), np.round(rng.random(50), 1)
    assert evaluate.r_squared(q, p) == pytest.approx(r2_score(q, p))
    assert evaluate.spearman(q, p) == pytest.approx(spearmanr(q, p).statistic)


def test_fast_draws_are_those_of_loops():
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=30), rng.integers(0, 9, 30)
    slow = evaluate.estimate(lambda rows: float(values[rows].mean()), groups, 3)
    fast = evaluate.estimate_mean(values, groups, 3)
    assert fast.value == pytest.approx(slow.value)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.08)
    inside = groups < 4
    gap = evaluate.estimate_difference(values, inside, groups, 3)
    assert gap.value == pytest.approx(values[inside].mean() - values[~inside].mean())
    assert gap.low < gap.value < gap.high


@pytest.mark.parametrize(("held", "far"), [(True, 0), (False, 1)])
def test_a_share_of_all_or_none_has_an_interval_that_is_wilsons(held, far):
    """20 images of 10 groups: z^2 / (10 + z^2) from the share, not one point."""
    reach = 1.959964**2 / (10 + 1.959964**2)
    found = evaluate.estimate_share(np.full(20, held), np.arange(20) // 2, 0)
    ends = (found.low, found.high)
    assert ends[far] == pytest.approx(1 - reach if held else reach) and ends[1 - far] == held
    one = evaluate.Estimate(1.0, 1.0, 1.0)
    uneven = evaluate.opened(one, np.array([0] * 9 + [1]))  # hardly more than one group
    assert uneven.low == pytest.approx(1 - 1.959964**2 / (100 / 82 + 1.959964**2))
    mixed = evaluate.estimate_share(np.arange(20) < 8, np.arange(20), 0)
    assert 0 < mixed.low < 0.4 < mixed.high < 1


def test_a_gain_is_paired_and_signed():
    quality = np.linspace(0, 1, 40)
    near, far = quality[None] + 0.1, quality[None] + 0.3
    groups = np.arange(40) // 2
    better = evaluate.gain(near, far, quality, groups, 0)
    assert better.value == pytest.approx(0.2) and better.low == pytest.approx(0.2)
    assert better.p < 0.001
    assert evaluate.gain(far, near, quality, groups, 0).value == pytest.approx(-0.2)


def test_flagging_compares_with_the_reference():
    rng = np.random.default_rng(0)
    quality = rng.random(200)
    scores = {"raw": rng.random((1, 200)), "layer": quality[None] + 0.01 * rng.random((2, 200))}
    found = evaluate.flagging(
        scores, quality, np.arange(200), below=0.2, budget=0.1, reference="raw", seed=0
    )
    assert found.precision["layer"].value == 1.0
    gained = found.gains["layer"]
    assert gained.value == pytest.approx(1 - found.precision["raw"].value)
    assert gained.low > 0 and gained.p < 0.05 and set(found.gains) == {"layer"}
    # All of the 20 that are reviewed fail, whatever is drawn.
    reach = 1.959964**2 / (20 + 1.959964**2)
    precise = found.precision["layer"]
    assert (precise.low, precise.high) == (pytest.approx(1 - reach), 1.0)
