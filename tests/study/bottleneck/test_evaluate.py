"""Cross-validated numbers on data whose ceiling is known, and on data without any."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, r2_score

from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.intervals import effective_number
from conceptseg.study.bottleneck import evaluate
from conceptseg.study.bottleneck.regress import (
    Features,
    Search,
    crossed,
    from_log_odds,
    log_odds,
)

IDS = tuple(f"{n:03d}" for n in range(200))
RIDGE = Search(("ridge",), inner=3, components=5, seed=0)


def sampling(groups, draws=1000):
    names = tuple(f"{group:03d}" for group in groups)
    return Sampling(tuple(map(str, range(len(names)))), names, "groups", (0, 11), draws)


def fitted(predicted):
    return evaluate.Fitted(np.asarray(predicted), (), ())


def synthetic(n=300, noise=1.0, seed=0):
    """q = sigmoid(w . phi + noise); the best predictor knows w."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 5))
    signal = rows @ np.array([1.0, -0.8, 0.5, 0.0, 0.0])
    return rows, signal, from_log_odds(signal + noise * rng.normal(size=n))


def test_explained_variance_reaches_its_ceiling():
    rows, signal, quality = synthetic()
    one = crossed(RIDGE, Features(rows, 5), quality, np.arange(300), 5, 1)
    value = evaluate.averaged(evaluate.r_squared, quality, one.predicted)
    found = sampling(range(300)).statistic(value)
    ceiling = evaluate.r_squared(quality, from_log_odds(signal))
    assert found.low <= ceiling <= found.high
    assert found.value == pytest.approx(ceiling, abs=0.05)


def test_permuted_quality_is_not_predicted():
    rows, _, quality = synthetic()
    found = []
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(quality)
        search = Search(("ridge", "neighbours"), 3, 5, 0)
        one = crossed(search, Features(rows, 5), mixed, np.arange(300), 5, 1)
        found.append(evaluate.r_squared(mixed, one.predicted[0]))
    assert np.mean(found) <= 0


def test_measures_are_those_of_scipy_and_scikit_learn():
    rng = np.random.default_rng(0)
    q, p = rng.random(50), np.round(rng.random(50), 1)
    assert evaluate.r_squared(q, p) == pytest.approx(r2_score(q, p))
    assert evaluate.spearman(q, p) == pytest.approx(spearmanr(q, p).statistic)


def test_a_gain_is_paired_and_signed():
    quality = np.linspace(0, 1, 40)
    near, far, further = (fitted(quality[None] + d) for d in (0.1, 0.3, 0.4))
    both = {"layer": near, "confidence": far}
    (layer, confidence) = evaluate.standings(
        both, further.predicted, quality, sampling(np.arange(40) // 2), 0
    )
    assert layer.beats.value == pytest.approx(0.2) and layer.beats.low == pytest.approx(0.2)
    assert layer.gain.value == pytest.approx(0.3) and layer.test.p < 0.001
    assert confidence.beats is None and confidence.test is None
    turned = {"layer": far, "confidence": near}
    (layer, _) = evaluate.standings(
        turned, further.predicted, quality, sampling(np.arange(40) // 2), 0
    )
    assert layer.beats.value == pytest.approx(-0.2)


def test_the_gain_on_the_mean_knows_that_the_mean_was_measured():
    """Of images six in ten are segmented well, the others not at all; `truth` is of 200,000."""

    def drawn(seed, n):
        rng = np.random.default_rng(seed)
        well = rng.random(n) < 0.6
        quality = np.where(well, rng.beta(30, 2, n), rng.beta(1, 60, n))
        return quality, np.abs(0.1 * rng.normal(size=n))

    def plain(quality):
        return np.abs(quality - from_log_odds(log_odds(quality).mean()))

    quality, errors = drawn(0, 200_000)
    truth = plain(quality).mean() - errors.mean()
    held, certain = [], []
    for seed in range(1, 151):
        quality, errors = drawn(seed, 200)
        own = Sampling(IDS, IDS, "images", seed, 200)
        found = evaluate.above_mean(plain(quality), errors, quality, own)
        fixed = own.mean(plain(quality) - errors)
        held.append(found.low <= truth <= found.high)
        certain.append(fixed.low <= truth <= fixed.high)
        assert found.value == fixed.value
    assert np.mean(certain) <= 0.85 and np.mean(held) >= 0.92, (np.mean(certain), np.mean(held))


def test_of_four_groups_nothing_is_tested_and_no_interval_is_given():
    """Both were, once: intervals, and a p-value of draws that can be as small as 2 / 1001."""
    quality, scores = np.linspace(0, 1, 40), np.linspace(0, 1, 40)[None]
    few = sampling(np.arange(40) // 10)
    (layer, _) = evaluate.standings(
        {"layer": fitted(scores), "confidence": fitted(scores + 0.1)}, scores + 0.2, quality, few, 0
    )
    assert layer.beats.ci is None and (layer.beats.n, layer.beats.of) == (4, "groups")
    assert not layer.test.testable and np.isnan(layer.test.adjusted)
    found = evaluate.flagging(
        {"confidence": -scores, "layer": scores}, quality, few, below=0.2, budget=0.1,
        reference="confidence",
    )  # fmt: skip
    assert found.precision["layer"].ci is None and found.gains["layer"].value == 1
    assert not found.tests["layer"].testable and np.isnan(found.p["layer"])


def test_flagging_compares_with_the_reference():
    rng = np.random.default_rng(0)
    quality = rng.random(200)
    scores = {"raw": rng.random((1, 200)), "layer": quality[None] + 0.01 * rng.random((2, 200))}
    found = evaluate.flagging(
        scores, quality, sampling(range(200)), below=0.2, budget=0.1, reference="raw"
    )
    assert found.precision["layer"].value == 1.0
    gained = found.gains["layer"]
    assert gained.value == pytest.approx(1 - found.precision["raw"].value)
    assert gained.low > 0 and found.tests["layer"].passed and set(found.gains) == {"layer"}
    # All of the 20 that are reviewed fail, whatever is drawn.
    reach = 1.959964**2 / (20 + 1.959964**2)
    precise = found.precision["layer"]
    assert (precise.low, precise.high) == (pytest.approx(1 - reach), 1.0)


def test_r2_that_few_images_decide_has_no_interval():
    """Nearly all are perfect: of such data sets its interval held in a third."""
    rng = np.random.default_rng(0)
    spread, perfect = rng.random(60), np.ones(60)
    perfect[:3] = [0.2, 0.5, 0.6]
    given = Estimate(0.3, 0.1, 0.5, 60)
    for quality, groups, kept in ((spread, 60, True), (perfect, 60, False), (spread, 10, False)):
        predicted = np.stack([quality + 0.1 * rng.normal(size=60) for _ in range(3)])
        one = evaluate.told(given, quality, predicted, sampling(np.arange(60) % groups))
        assert one.value == 0.3 and (one.ci is not None) == kept
    astray, each = spread[None] + 9.0 * (np.arange(60) == 5), sampling(np.arange(60))
    assert evaluate.told(given, spread, astray, each).ci is None, "one image makes the errors"
    assert effective_number(np.array([2.0, 2, 2, 2, 0, 0])) == 4
    assert effective_number(np.array([5.0, 0, 0])) == 1 and effective_number(np.zeros(3)) == 0


def test_the_interval_of_an_average_precision_near_one_holds_it():
    """Sixty images of which six fail, whose scores lie 3.5 deviations lower: 0.96 in the mean."""
    names, held, truth = tuple(f"{i:02d}" for i in range(60)), [], []
    for seed in range(400):
        rng = np.random.default_rng([seed, 3])
        quality = np.where(np.arange(60) < 6, 0.1, 0.9)
        score = rng.normal(size=60) + 3.5 * (quality > 0.5)
        truth.append(average_precision_score(quality < 0.5, -score))
        if seed >= 60:
            continue
        sampling = Sampling(names, names, "images", seed, 100)
        found = evaluate.flagging(
            {"confidence": score[None]}, quality, sampling, below=0.5, budget=0.1,
            reference="confidence",
        )  # fmt: skip
        held.append(found.average["confidence"])
    mean = np.mean(truth)
    assert mean == pytest.approx(0.96, abs=0.02)
    assert np.mean([one.low <= mean <= one.high for one in held]) >= 0.92


@pytest.mark.parametrize(("failures", "told"), [(4, False), (5, True)])
def test_of_few_failures_no_interval_is_told_however_many_images_there_are(failures, told):
    quality = np.where(np.arange(80) < failures, 0.1, 0.9)
    scores = {"confidence": np.random.default_rng(0).random((1, 80))}
    found = evaluate.flagging(
        scores, quality, sampling(range(80), 100), below=0.5, budget=0.1, reference="confidence"
    )
    for each in (found.recall, found.average):
        assert (each["confidence"].ci is not None) == told
    assert found.precision["confidence"].ci is not None
