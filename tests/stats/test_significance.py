"""Intervals, tests and corrections against their definitions, by loops and by simulation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from conceptseg.stats.corrections import attainable, benjamini_hochberg, holm
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.family import Question, judge
from conceptseg.stats.intervals import (
    MIN_GROUPS,
    bootstrap_interval,
    units,
    wilson_interval,
)
from conceptseg.stats.p_values import (
    cost_p,
    detectable_cost,
    draws_for,
    exchangeable_p,
    joint_flips,
    prediction_p,
    sign_flip_floor,
    sign_flip_ps,
    smallest_p,
    tail_floor,
    tail_p,
)
from conceptseg.stats.ranks import auc

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def grouped(count: int, groups: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Values whose groups differ, and the groups' names, some larger than others."""
    rng = np.random.default_rng(seed)
    owner = np.concatenate(
        [np.arange(groups), rng.integers(0, groups, count - groups) ** 2 // groups]
    )
    return rng.normal(size=groups)[owner] + 0.3 * rng.normal(size=count), [f"g{i}" for i in owner]


def counting(groups) -> Sampling:
    return Sampling(tuple(map(str, range(len(groups)))), tuple(groups), "groups", 0)


def flip_p(values, groups, **options) -> float:
    """The p of values [n] whose groups' signs are flipped."""
    return sign_flip_ps(counting(groups).sums(values)[None], seed=0, **options)[0]


def detectable(values, groups) -> float:
    (test,) = judge([Question(values, counting(groups))], side="two", seed=0)
    return test.detectable


def test_units():
    ids = [f"i{n}" for n in range(2 * MIN_GROUPS)]
    few = [f"g{n % (MIN_GROUPS - 1)}" for n in range(len(ids))]
    many = [f"g{n % MIN_GROUPS}" for n in range(len(ids))]
    assert units(ids, few, "auto") == (tuple(ids), "image")
    assert units(ids, many, "auto") == (tuple(many), "group")
    assert units(ids, few, "group") == (tuple(few), "group")
    assert units(ids, many, "image") == (tuple(ids), "image")


def test_the_least_number_of_groups_leaves_room_for_a_correction():
    values, groups = np.ones(MIN_GROUPS), [str(n) for n in range(MIN_GROUPS)]
    assert flip_p(values, groups, side="greater") == 2.0**-MIN_GROUPS
    assert 2.0**-MIN_GROUPS * 10 < 0.05


def test_bootstrap_by_a_loop_over_draws_and_groups():
    """The same random numbers, each draw made of its groups' values one by one."""
    values, groups = grouped(25, 7)
    names = sorted(set(groups))
    rng = np.random.default_rng(3)
    picks = rng.integers(0, len(names), size=(400, len(names)))
    means = []
    for pick in picks:
        drawn = [v for i in pick for v, g in zip(values, groups, strict=True) if g == names[i]]
        means.append(sum(drawn) / len(drawn))
    each = stats.norm.cdf(-np.sqrt(7 / 6) * stats.t.ppf(0.95, 6))
    expected = np.quantile(means, [each, 1 - each])
    found = bootstrap_interval(values, groups, seed=3, draws=400, level=0.9)
    assert np.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("whole_groups", [True, False])
def test_coverage_of_the_bootstrap(whole_groups):
    """95 % where whole groups are drawn; far less where images of a group pass for independent."""
    rng, groups, of_each, hits = np.random.default_rng(0), 40, 5, 0
    trials = 300
    names = [str(n // of_each if whole_groups else n) for n in range(groups * of_each)]
    for trial in range(trials):
        shared = rng.normal(size=groups).repeat(of_each)
        values = 0.7 + shared + 0.3 * rng.normal(size=groups * of_each)
        low, high = bootstrap_interval(values, names, seed=trial, draws=400)
        hits += low <= 0.7 <= high
    if whole_groups:
        assert 0.90 <= hits / trials <= 0.98
    else:
        assert hits / trials < 0.75


def test_one_group_has_no_interval():
    assert np.isnan(bootstrap_interval([1.0, 2.0], ["a", "a"], seed=0)).all()
    assert np.isnan(detectable([1.0, 2.0], ["a", "a"]))


@pytest.mark.parametrize("side", ["two", "less", "greater"])
@pytest.mark.parametrize("seed", range(3))
def test_sign_flips_by_enumeration(side, seed):
    values, groups = grouped(14, 7, seed)
    names = sorted(set(groups))
    extreme, observed = 0, sum(values)
    for signs in product((1, -1), repeat=len(names)):
        flipped = sum(v * signs[names.index(g)] for v, g in zip(values, groups, strict=True))
        if side == "two":
            extreme += abs(flipped) >= abs(observed) - 1e-12
        elif side == "less":
            extreme += flipped <= observed + 1e-12
        else:
            extreme += flipped >= observed - 1e-12
    found = flip_p(values, groups, side=side)
    assert found == extreme / 2 ** len(names)


@pytest.mark.parametrize("side", ["two-sided", "less", "greater"])
def test_sign_flips_against_scipy(side):
    values = np.random.default_rng(2).normal(0.3, 1, size=9)
    peer = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=side
    )
    found = flip_p(values, [str(i) for i in range(9)], side=side.split("-")[0])
    # scipy doubles the smaller tail, which for a symmetric null is the two-sided p.
    assert found == pytest.approx(peer.pvalue, abs=1e-12)


def test_drawn_sign_flips_estimate_the_exact_p():
    values, groups = np.random.default_rng(4).normal(0.4, 1, 12), [str(i) for i in range(12)]
    exact = flip_p(values, groups)
    drawn = flip_p(values, groups, draws=2000)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2000) + 1 / 2000)


def test_among_many_tests_a_small_p_is_drawn_finely_enough():
    values, groups = np.linspace(1, 2, 40), [str(i) for i in range(40)]
    assert flip_p(values, groups) == 1 / 10000
    fine = flip_p(values, groups, tests=2000)
    assert fine == 1 / 80001 and holm([fine, *[1.0] * 1999])[0] <= 0.05
    # One that is not small stays; and where all patterns are used there is nothing to add.
    rng = np.random.default_rng(1)
    noise = rng.normal(size=40)
    once = flip_p(noise, groups)
    assert once > 0.01 and flip_p(noise, groups, tests=2000) == once
    few = flip_p(values[:9], groups[:9], side="greater", tests=2000)
    assert few == sign_flip_floor(9, "greater") == 1 / 512
    assert flip_p(values[:9], groups[:9]) == sign_flip_floor(9) == 2 / 512


def test_sign_flips_of_nothing_and_their_ties():
    groups = [str(i) for i in range(6)]
    assert flip_p(np.zeros(6), groups) == 1.0
    # 0.1 + 0.2 != 0.3: patterns of equal sum must count as equal.
    assert flip_p([0.1, 0.2, 0.3], groups[:3], side="greater") == 1 / 8
    assert flip_p([0.3, -0.1, -0.2], groups[:3], side="greater") == 5 / 8


def test_sign_flips_hold_their_level():
    rng = np.random.default_rng(5)
    names = [str(n // 3) for n in range(30)]
    p = [
        sign_flip_ps(counting(names).sums(values)[None], seed=trial, draws=199)[0]
        for trial in range(600)
        for values in [rng.normal(size=10).repeat(3) + rng.normal(size=30)]
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.07


def test_exchangeable_p_by_counting_and_uniform():
    assert exchangeable_p(2.0, [1.0, 2.0, 3.0]) == 3 / 4
    assert exchangeable_p(4.0, [1.0, 2.0, 3.0]) == 1 / 4
    draws = np.random.default_rng(6).normal(size=(1500, 100))
    p = np.array([exchangeable_p(row[0], row[1:]) for row in draws])
    assert stats.kstest(p - 0.005, "uniform").pvalue > 0.01
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) == pytest.approx(level, abs=3.5 * np.sqrt(level / 1500))


@given(P_VALUES)
def test_holm_by_its_definition(p):
    """The smallest level at which the step-down procedure rejects: max over smaller p's."""
    ordered = sorted(range(len(p)), key=lambda i: p[i])
    expected = [0.0] * len(p)
    for place, i in enumerate(ordered):
        steps = [(len(p) - before) * p[ordered[before]] for before in range(place + 1)]
        expected[i] = min(1.0, max(steps))
    assert holm(p) == pytest.approx(expected, abs=1e-15)


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_procedure_rejects(p, level):
    rejected, open_tests = set(), list(range(len(p)))
    while open_tests:
        least = min(open_tests, key=lambda i: p[i])
        if p[least] * len(open_tests) > level:
            break
        rejected.add(least)
        open_tests.remove(least)
    assert {i for i, value in enumerate(holm(p)) if value <= level} == rejected


@given(P_VALUES)
def test_benjamini_hochberg_by_its_definition(p):
    """min over thresholds t >= p_i of m t / #{p <= t}."""
    for i, value in enumerate(benjamini_hochberg(p)):
        shares = [len(p) * t / sum(other <= t for other in p) for t in p if t >= p[i]]
        assert value == pytest.approx(min(1.0, *shares, 1.0), abs=1e-15)


@given(P_VALUES)
def test_corrections_against_scipy(p):
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p), abs=1e-12)
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()
    assert (benjamini_hochberg(p) >= np.array(p) - 1e-12).all()


def test_corrections_against_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(7).random(40) ** 3
    assert np.allclose(holm(p), multitest.multipletests(p, method="holm")[1])
    assert np.allclose(benjamini_hochberg(p), multitest.multipletests(p, method="fdr_bh")[1])


def test_no_tests_need_no_correction():
    assert holm([]).size == benjamini_hochberg([]).size == 0


@settings(deadline=None)  # the first call imports scikit-learn
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
)
def test_auc_by_pairs_and_by_sklearn(positive, negative):
    pairs = [(a > b) + 0.5 * (a == b) for a in positive for b in negative]
    assert auc(positive, negative) == pytest.approx(np.mean(pairs), abs=1e-12)
    truth = [1] * len(positive) + [0] * len(negative)
    assert auc(positive, negative) == pytest.approx(roc_auc_score(truth, positive + negative))


def test_auc_of_nothing():
    assert np.isnan(auc([], [1.0])) and np.isnan(auc([1.0], []))


def test_what_can_be_tested_by_its_definition():
    floors = np.array([0.5**n for n in (3, 4, 5, 6, 7, 8, 10, 10)])
    # Of eight tests, 0.05 / 6 lets those of 1/128 and less pass, which are four; 0.05 / 5 too.
    assert attainable(floors).tolist() == [False] * 4 + [True] * 4
    assert attainable([0.2, 0.1]).sum() == 0
    assert attainable([1e-6] * 100).all() and attainable([]).size == 0
    rng = np.random.default_rng(0)
    for _ in range(50):
        floors = 0.5 ** rng.integers(1, 14, 12)
        k = next(k for k in range(1, 13) if (floors <= 0.05 / k).sum() <= k)
        assert (attainable(floors) == (floors <= 0.05 / k)).all()


def test_the_detectable_effect_is_detected_four_times_in_five():
    """Power of the two-sided test at that effect, over groups of unlike sizes of one image each."""
    rng, groups = np.random.default_rng(8), [str(n) for n in range(40)]
    pilot = rng.normal(0, 2, size=(200, 40))
    effect = np.mean([detectable(row, groups) for row in pilot])
    assert effect == pytest.approx(2.801585 * 2 / np.sqrt(40), rel=0.06)  # of normal quantiles
    trials = rng.normal(effect, 2, size=(300, 40))
    power = np.mean([flip_p(row, groups, draws=399) <= 0.05 for row in trials])
    assert 0.72 <= power <= 0.87


def test_the_detectable_effect_counts_groups_by_their_parts_of_the_mean():
    values, groups = grouped(60, 12)
    parts = [
        12 / 60 * sum(v - values.mean() for v, g in zip(values, groups, strict=True) if g == name)
        for name in sorted(set(groups))
    ]
    away = detectable(values, groups) / np.std(parts, ddof=1) * np.sqrt(12)
    assert stats.nct.sf(stats.t.ppf(0.975, 11), 11, away) == pytest.approx(0.8)


def test_prediction_p_is_calibrated_and_matches_students_t():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 11))
    p = np.array([prediction_p(row[0], row[1:]) for row in draws])
    assert abs((p <= 0.05).mean() - 0.05) < 0.012
    assert abs((p <= 0.5).mean() - 0.5) < 0.03
    # One value against a sample is the two-sample test with one sample of size one.
    for row in draws[:5]:
        expected = ttest_ind(row[:1], row[1:], alternative="less").pvalue
        assert prediction_p(row[0], row[1:]) == pytest.approx(expected)


def test_prediction_p_without_spread_or_draws():
    assert prediction_p(-1.0, [0.0, 0.0, 0.0]) == 0.0
    assert prediction_p(0.0, [0.0, 0.0]) == 0.5
    assert prediction_p(1.0, [0.0, 0.0]) == 1.0
    assert prediction_p(-1.0, [0.0]) == 1.0
    assert prediction_p(float("nan"), [0.0, 1.0]) == 1.0


def test_the_p_of_a_cost_is_exact_for_exponential_costs_from_any_value_on():
    draws = 0.2 * np.random.default_rng(0).exponential(size=(6000, 11)) - 0.3
    p = np.array([cost_p(row[0], row[1:]) for row in draws])
    for level in (0.5, 0.05, 0.01):
        assert abs((p <= level).mean() - level) < 3 * np.sqrt(level * (1 - level) / len(p))
    # Student's law takes one further cost for something else three times too often.
    student = np.array([prediction_p(-row[0], -row[1:]) for row in draws])
    assert (student <= 0.01).mean() > 0.03


def test_the_p_of_a_cost_of_normal_costs_is_too_large_never_too_small():
    draws = np.random.default_rng(1).normal(size=(6000, 11))
    p = np.array([cost_p(row[0], row[1:]) for row in draws])
    assert (p <= 0.05).mean() <= 0.05 and (p <= 0.01).mean() <= 0.01


def test_the_p_of_a_cost_without_spread_or_draws():
    assert cost_p(1.0, [0.0, 0.0, 0.0]) == 0.0
    assert cost_p(0.0, [0.0, 0.0]) == 2 / 3
    assert cost_p(-1.0, [0.0, 0.0]) == 1.0
    assert cost_p(1.0, [0.0]) == cost_p(float("nan"), [0.0, 1.0]) == 1.0


@pytest.mark.parametrize("r", [5, 10, 20])
def test_a_detectable_cost_is_found_four_times_in_five(r):
    """On average over data sets, a cost that is the detectable one in the median data set."""
    draws = 0.1 * np.random.default_rng(r).exponential(size=(2000, r))
    cost = np.median([detectable_cost(row, 1e-3) for row in draws])
    found = np.mean([cost_p(cost, row) <= 1e-3 for row in draws])
    assert 0.7 <= found <= 0.9
    assert np.isnan(detectable_cost([1.0], 0.05))


def test_tail_p_is_the_share_where_draws_tell_and_never_below_its_floor():
    null = np.random.default_rng(0).normal(size=999)
    for observed in np.sort(null)[-10:-300:-20]:
        assert tail_p(observed, null) == exchangeable_p(observed, null)
    assert tail_p(1e9, null) == tail_floor(999) == 1e-5
    assert tail_p(np.inf, null) == 1 / 1000
    assert tail_p(np.nan, null) == 1 and tail_p(9.0, [*null, np.nan]) == 2 / 1001
    assert tail_p(9.0, null[:50]) == tail_floor(50) == 1 / 51
    assert tail_p(1.0, np.zeros(200)) == 1 / 201, "a null that does not vary has no tail"
    p = [tail_p(x, null) for x in np.linspace(0, 9, 400)]
    assert (np.diff(p) <= 0).all(), "more is never less"


def test_as_few_draws_as_are_needed_let_as_many_tests_pass():
    for tests in (1, 2, 3, 10, 300, 5000, 40_000):
        draws = draws_for(tests)
        assert tests * tail_floor(draws) <= 0.05
        assert draws == 999 or tests * tail_floor(draws - 1) > 0.05
    assert (draws_for(1), draws_for(5), draws_for(51), draws_for(4000)) == (19, 99, 999, 999)


def beyond(draw, level, repeats=150, draws=999):
    """How often one more draw is at or below a level: by how many of many others are."""
    rng = np.random.default_rng(3)
    others = np.sort(draw(rng, 400_000))
    shares = []
    for _ in range(repeats):
        null = draw(rng, draws)
        low, high = 0, len(others)
        while low < high:  # p falls in what is observed
            middle = (low + high) // 2
            enough = tail_p(others[middle], null) <= level
            low, high = (low, middle) if enough else (middle + 1, high)
        shares.append(1 - low / len(others))
    return np.mean(shares) / level


@pytest.mark.parametrize("level", [5e-3, 5e-4, 1e-4])
def test_tail_p_holds_its_level_far_beyond_its_draws(level):
    """Means of forty parts, as effects of random concepts are: of few that count, and of skewed."""

    def few_count(rng, size):
        return np.abs(rng.binomial(40, 0.05, size) - 2 + 0.1 * rng.normal(size=size))

    def skewed(rng, size):
        return np.abs(rng.gamma(40 * 0.1, size=size) - 4)

    for draw in (few_count, skewed, lambda rng, size: np.abs(rng.normal(size=size))):
        assert 0.02 <= beyond(draw, level) <= 1.25
    assert 0.8 <= beyond(lambda rng, size: rng.exponential(size=size), level) <= 1.25
    # Of three degrees of freedom, which no mean of many parts has.
    assert beyond(lambda rng, size: np.abs(rng.standard_t(3, size)), level) <= 3.5


@given(st.floats(0, 1), st.floats(1, 1e4))
def test_wilson_ends_where_the_normal_test_does(share, n):
    z = 1.959964
    low, high = wilson_interval(share, n)
    assert 0 <= low <= share + 1e-9 and share - 1e-9 <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(z * np.sqrt(end * (1 - end) / n), abs=1e-6)
    if share in (0, 1):
        assert high - low > 0


def test_joint_flips_by_loops():
    """Free step-down: each test against the largest of itself and of those weaker than it."""
    rng = np.random.default_rng(3)
    sums = rng.normal(size=(6, 5)) + np.array([3, 1, 0, 0, -1, 0.5])[:, None]
    sums[2, 1:3] = 0
    sums[3] = 0
    statistics = []
    for signs in product([1, -1], repeat=5):
        with np.errstate(invalid="ignore"):
            statistics.append((sums * signs).sum(1) / np.sqrt((sums**2).sum(1)))
    null = np.nan_to_num(np.array(statistics))
    observed = null[0]
    adjusted, worst = np.zeros(6), 0.0
    for i in np.argsort(-observed):
        weaker = np.flatnonzero(observed <= observed[i] + 1e-9)
        worst = max(worst, (null[:, weaker].max(1) >= observed[i] - 1e-9).mean())
        adjusted[i] = worst
    found = joint_flips(sums, seed=0)
    assert np.allclose(found.adjusted, adjusted)
    assert np.allclose(found.p, (null >= observed - 1e-9).mean(0))
    assert found.p[3] == found.adjusted[3] == 1
    drawn = joint_flips(sums, seed=0, draws=31)
    assert (drawn.adjusted >= 1 / 32).all() and not np.array_equal(drawn.p, found.p)


def test_joint_flips_claim_anything_false_in_one_of_twenty_families():
    """With groups of any size, tests that share their groups' luck, and tests of few groups."""
    rng, wrong = np.random.default_rng(0), 0
    for draw in range(400):
        sums = (rng.normal(size=(30, 9)) + rng.normal(size=9)) * rng.integers(1, 6, 9)
        sums[:10, 5:] = 0
        wrong += bool((joint_flips(sums, seed=draw, draws=511).adjusted <= 0.05).any())
    assert 0.01 < wrong / 400 < 0.085


def test_joint_flips_find_with_few_groups_what_single_p_values_cannot():
    rng = np.random.default_rng(1)
    sums = rng.normal(size=(200, MIN_GROUPS))
    sums[:20] += 4
    found = joint_flips(sums, seed=0)
    assert (holm(found.p) > 0.05).all()
    assert (found.adjusted[:20] <= 0.05).mean() > 0.7
    assert found.adjusted[20:].min() > 0.05


def test_what_joint_flips_could_have_found():
    rng = np.random.default_rng(2)
    sums = rng.normal(size=(40, 12))
    sums[0, 4:] = 0
    found = joint_flips(sums, seed=0)
    assert found.least[0] > 0.05 and found.reach[0] == np.inf
    assert (found.least[1:] <= 0.05).all()
    for share, passes in ((0.97, False), (1.03, True)):
        own = rng.normal(size=12)
        sums[1] = (own - own.mean()) / own.std() + share * found.reach[1]
        again = joint_flips(sums, seed=0)
        assert (again.adjusted[1] <= 0.05) == passes
    sums[0, :4] = 1.0
    sums[1:] = np.abs(sums[1:]) * np.tile([1, -1], 6)
    alike = joint_flips(sums, seed=0)
    assert alike.adjusted[0] == alike.least[0] >= 1 / 16


def test_what_is_no_number_is_no_evidence():
    assert exchangeable_p(float("nan"), [0.0, 1.0]) == 1.0


def test_weights_of_a_bootstrap_are_as_many_equal_values():
    """A value of weight 3 is three values of weight 1."""
    values, groups = [0.1, 0.7, 0.4, 0.9], ["a", "a", "b", "c"]
    weights = [1, 3, 2, 1]
    repeated = np.repeat(values, weights), np.repeat(groups, weights).tolist()
    found = bootstrap_interval(values, groups, seed=0, draws=300, weights=weights)
    assert found == pytest.approx(bootstrap_interval(*repeated, seed=0, draws=300))
    assert np.isnan(bootstrap_interval([1.0, 2.0], ["a", "b"], seed=0, weights=[0, 0])).all()


def test_the_smallest_p_is_that_of_values_of_one_sign():
    for n in (3, 6, 20):
        groups = [str(i) for i in range(n)]
        for side in ("two", "greater"):
            found = flip_p(np.ones(n), groups, side=side)
            assert smallest_p(n, side=side) == pytest.approx(found, abs=1e-4)


def test_what_is_detectable_at_a_corrected_level():
    values, groups = np.random.default_rng(0).normal(size=30), [str(i) for i in range(30)]
    plain, asked = detectable(values, groups), Question(values, counting(groups))
    (one,) = judge([Question(values, counting(groups))], side="greater", seed=0)
    assert one.detectable < plain  # at 0.05 on one side, not at 0.025
    assert judge([asked] * 40, side="two", seed=0)[0].detectable > 1.4 * plain
    assert np.isnan(detectable(values[:1], groups[:1]))
