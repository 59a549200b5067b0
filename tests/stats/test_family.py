"""Families of tests against enumeration of signs, the corrections' definitions, and simulation."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import fisher_exact, nct, norm
from scipy.stats import t as student

from conceptseg.stats.corrections import benjamini_hochberg, holm
from conceptseg.stats.enrichment import enriched
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.family import (
    Question,
    by_bh,
    by_holm,
    by_joint_flips,
    few,
    fewest,
    given,
    judge,
)
from conceptseg.stats.intervals import ALPHA
from conceptseg.stats.p_values import detectable_draw, prediction_p, sign_flip_ps

NAN = float("nan")


def sampling(groups):
    names = tuple(f"g{n:03d}" for n in range(groups))
    return Sampling(names, names, "groups", 0)


def questions(values):
    """A question for each row of values [m, g], one value a group."""
    return [Question(row, sampling(len(row))) for row in np.asarray(values, float)]


def drawn(m, g, seed, mean=0.0, shared=0.0):
    rng = np.random.default_rng(seed)
    return mean + rng.normal(size=(m, g)) + shared * rng.normal(size=g)


def by_enumeration(values, side):
    """p of each row [m, g] alone and by step-down maxT, from all sign patterns."""
    values = np.asarray(values, float)
    if side == "less":
        values = -values
    size = abs if side == "two" else lambda t: t
    scale = np.sqrt((values**2).sum(1))
    observed = [size(t) for t in values.sum(1) / scale]
    null = [
        [size((np.array(s) * row).sum() / c) for row, c in zip(values, scale, strict=True)]
        for s in product((1, -1), repeat=values.shape[1])
    ]
    alone = [np.mean([d[j] >= observed[j] - 1e-9 for d in null]) for j in range(len(values))]
    order = sorted(range(len(values)), key=lambda j: -observed[j])
    adjusted, so_far = [0.0] * len(values), 0.0
    for place, j in enumerate(order):
        left = order[place:]
        p = np.mean([max(d[k] for k in left) >= observed[j] - 1e-9 for d in null])
        so_far = max(so_far, p)
        adjusted[j] = so_far
    return alone, adjusted


@pytest.mark.parametrize("side", ["two", "less", "greater"])
def test_joint_flips_by_enumeration(side):
    values = drawn(4, 9, seed=2, mean=0.9 if side == "greater" else -0.9)
    tests = judge(questions(values), side=side, seed=0, policy=by_joint_flips)
    alone, adjusted = by_enumeration(values, side)
    assert [t.p for t in tests] == pytest.approx(alone)
    assert [t.adjusted for t in tests] == pytest.approx(adjusted)
    assert all(t.by == "joint flips" and (t.n, t.of) == (9, "groups") for t in tests)


@pytest.mark.parametrize("side", ["two", "less", "greater"])
def test_holm_and_benjamini_hochberg_by_their_definitions(side):
    values = drawn(6, 12, seed=3, mean=0.4)
    asked = questions(values)
    p = sign_flip_ps(values, seed=0, side=side).tolist()
    floor = (2 if side == "two" else 1) / 2**12
    for policy, correction in ((by_holm, holm), (by_bh, benjamini_hochberg)):
        tests = judge(asked, side=side, seed=0, policy=policy)
        assert [t.p for t in tests] == p
        assert [t.adjusted for t in tests] == pytest.approx(correction(p))
        assert {t.floor for t in tests} == {floor}
        assert {t.level for t in tests} == {ALPHA / 6}
    assert {t.least for t in judge(asked, side=side, seed=0, policy=by_holm)} == {6 * floor}
    assert judge(asked, side=side, seed=0) == judge(asked, side=side, seed=0, policy=by_holm)


def test_detectable_is_at_the_level_that_the_correction_leaves():
    """Rule (b): by the power of Student's test at alpha / m, and larger than that of one test."""
    values = drawn(5, 40, seed=1)
    for side, tails in (("two", 2), ("less", 1)):
        alone, *_ = judge(questions(values)[:1], side=side, seed=0)
        first, *_ = judge(questions(values), side=side, seed=0)
        for test, m in ((alone, 1), (first, 5)):
            centre = test.detectable / values[0].std(ddof=1) * np.sqrt(40)
            bar = student.ppf(1 - ALPHA / m / tails, 39)
            assert nct.sf(bar, 39, centre) == pytest.approx(0.8)
            z = norm.ppf(1 - ALPHA / m / tails) + norm.ppf(0.8)
            normal = z * values[0].std(ddof=1) / np.sqrt(40)
            assert normal < test.detectable < 1.15 * normal
        assert first.detectable > alone.detectable


@pytest.mark.parametrize(("groups", "m", "by"), [(9, 15, "joint flips"), (13, 8, "holm")])
def test_what_is_detectable_is_found_four_times_in_five(groups, m, by):
    rng = np.random.default_rng(0)
    families = rng.normal(size=(160, m, groups))
    tests = [judge(questions(f), side="less", seed=0)[0] for f in families[:80]]
    assert {t.by for t in tests} == {by}
    families[:, 0] -= np.mean([t.detectable for t in tests])
    found = [judge(questions(f), side="less", seed=0)[0].passed for f in families]
    assert 0.7 <= np.mean(found) <= 0.9


def test_what_is_detectable_of_groups_of_unlike_sizes_is_found_nearly_as_often():
    """Of twelve groups two hold more than half of all values, and move the mean most."""
    place = np.repeat(np.arange(12), [12, 12, *(10 * [2])])
    ids, groups = tuple(f"i{n}" for n in range(len(place))), tuple(f"g{p:02d}" for p in place)
    sampling = Sampling(ids, groups, "groups", 0)
    values = np.random.default_rng(0).normal(size=(160, 12))[:, place]
    tests = [judge([Question(row, sampling)], side="less", seed=0)[0] for row in values[:80]]
    values -= np.mean([test.detectable for test in tests])
    found = [judge([Question(row, sampling)], side="less", seed=0)[0].passed for row in values]
    assert np.mean(found) >= 0.7


def test_few_groups_are_judged_by_joint_flips():
    """Rule (f): 8 groups and 15 concepts, of which Holm could pass none (0.059 at best)."""
    values = drawn(15, 8, seed=0) * 0.05
    values[5] = -0.9 + 0.01 * values[5]
    singly = judge(questions(values), side="less", seed=0, policy=by_holm)
    assert {t.least for t in singly} == {15 / 256}
    assert not any(t.testable or t.passed for t in singly)
    assert all(np.isnan([t.p, t.adjusted, t.detectable]).all() for t in singly)
    together = judge(questions(values), side="less", seed=0)
    assert together[5].passed and together[5].adjusted >= together[5].least
    assert all(t.testable and t.by == "joint flips" for t in together)
    assert [t.passed for t in together].count(True) == 1


def test_what_nothing_helps_is_not_testable():
    tests = judge(questions(-1 - drawn(3, 4, 0) ** 2), side="less", seed=0)
    assert not any(t.testable or t.passed for t in tests)
    assert all(t.least >= 1 / 16 and np.isnan(t.adjusted) for t in tests)


@pytest.mark.parametrize(
    ("side", "families", "least"), [("less", 1, 5), ("less", 3, 6), ("two", 2, 7)]
)
def test_the_fewest_groups_are_the_fewest_that_pass(side, families, least):
    assert fewest(side, families) == least
    for groups in (least - 1, least):
        partners = [given([1e-9] * 9, 0.0, n=99, of="draws")] * (families - 1)
        values = drawn(9, groups, 0) * 0.1
        values[3] = -1.0
        test = judge(questions(values), side=side, seed=0, also=partners)[3]
        assert test.passed == test.testable == (groups == least)
        assert test.needs == ("" if test.testable else f"{least} groups")


def test_too_few_draws_are_named_as_what_is_needed():
    short = given([0.02] * 4, 0.02, n=49, of="draws")
    tests = judge(questions(drawn(4, 30, 2, mean=-2)), side="less", seed=0, also=[short])
    # Holm over four tests: 4 / (1 + r) has to be half of 0.05.
    assert {t.needs for t in tests} == {"159 draws"}


def test_a_question_of_too_few_groups_leaves_holms_family():
    many = questions(drawn(3, 30, 1, mean=-1))
    lone = Question(np.full(3, -1.0), sampling(3))
    tests = judge([*many, lone], side="less", seed=0)
    assert tests[:3] == judge(many, side="less", seed=0)
    assert not tests[3].testable and (tests[3].n, tests[3].by) == (3, "holm")


@pytest.mark.parametrize("groups", [5, 8, 12])
def test_the_least_is_reached_by_an_effect_without_spread(groups):
    values = drawn(4, groups, 0)
    values[2] = -1.0
    for policy in (by_holm, by_joint_flips):
        test = judge(questions(values), side="less", seed=0, policy=policy)[2]
        assert not test.testable or test.adjusted == pytest.approx(test.least)


def test_a_claim_of_two_effects_needs_both():
    values = drawn(4, 30, 2, mean=-2)
    other = given([0.9, 1e-4, NAN, 1e-4], 1e-4, n=99, of="draws")
    tests = judge(questions(values), side="less", seed=0, also=[other])
    assert [t.p for t in tests[:3]] == [0.9, pytest.approx(1e-4), 1.0]
    assert [t.passed for t in tests] == [False, True, False, True]
    blunt = given([0.02] * 4, 0.02, n=49, of="draws")
    assert not any(t.testable for t in judge(questions(values), side="less", seed=0, also=[blunt]))


@pytest.mark.parametrize("policy", [by_holm, by_bh])
def test_a_partner_that_could_not_be_tested_spoils_no_other_claim(policy):
    strong = questions(drawn(3, 30, 0, mean=3.0))
    partner = judge(strong, side="greater", seed=0)
    partner[0] = replace(partner[0], p=NAN, adjusted=NAN)
    tests = judge(strong, side="greater", seed=0, policy=policy, also=[partner])
    assert [one.passed for one in tests] == [False, True, True]
    assert tests[0].adjusted == 1.0


def test_benjamini_hochberg_of_few_groups():
    """All at the floor pass together; alone one could not, so `few` flips jointly."""
    strong = questions(np.full((20, 6), 1.0) + drawn(20, 6, 0) * 0.1)
    assert all(t.passed for t in judge(strong, side="greater", seed=0, policy=by_bh))
    lone = drawn(20, 8, 1) * 0.1
    lone[3] = 1.0
    assert not judge(questions(lone), side="greater", seed=0, policy=by_bh)[3].passed
    assert judge(questions(lone), side="greater", seed=0, policy=few(by_bh))[3].passed


def false_claims(families, groups, m, side, also=False, shared=1.0):
    """Share of families in which anything is claimed, where half of what is needed is not there."""
    rng = np.random.default_rng([groups, m])
    wrong = 0
    for _ in range(families):
        values = rng.exponential(size=(1, groups)) * (
            rng.normal(size=(m, groups)) + shared * rng.normal(size=groups)
        )
        others = []
        if also:  # of the first half only the other effect is there, of the rest only this one
            values[m // 2 :] -= 3
            p = rng.uniform(size=m)
            p[: m // 2] = 0.0
            others = [given(p, 0.0, n=99, of="draws")]
        tests = judge(questions(values), side=side, seed=int(rng.integers(99)), also=others)
        wrong += any(t.passed for t in tests)
    return wrong / families


@pytest.mark.parametrize(
    ("groups", "m", "side", "also"),
    [
        (8, 15, "less", False),  # joint flips, which all 256 patterns make
        (8, 15, "two", False),
        (9, 12, "less", True),  # the same, with a second effect
        (13, 4, "less", True),  # Holm
    ],
)
def test_families_claim_anything_false_in_one_of_twenty(groups, m, side, also):
    families = 300
    bound = 0.05 + 2 * np.sqrt(0.05 * 0.95 / families)
    assert false_claims(families, groups, m, side, also) <= bound


def test_what_a_further_draw_must_be_to_be_found():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        null = rng.normal(size=200)
        observed = null.mean() - detectable_draw(null, 0.01) + rng.normal()
        found.append(prediction_p(observed, null) <= 0.01)
    assert 0.74 <= np.mean(found) <= 0.86
    assert np.isnan(detectable_draw([1.0], 0.05))


@pytest.mark.parametrize("side", ["two", "less", "greater"])
def test_questions_of_different_groups_are_flipped_as_each_alone(side):
    """Also where a small p is drawn again, finely: of 300 tests, 40 times as often."""
    rows = [drawn(1, g, g, mean=m)[0] for g in (16, 20, 16, 9) for m in (0.2, 0.5, 1.0)]
    asked = [Question(row, sampling(len(row))) for row in [*rows, *drawn(288, 16, 1)]]
    tests = judge(asked, side=side, seed=4, policy=by_bh)
    kept = sum(t.testable for t in tests)
    for one, test in list(zip(asked, tests, strict=True))[:12]:
        alone = sign_flip_ps(one.values[None], seed=4, side=side, tests=kept)
        assert test.p == alone[0]


def test_nothing_is_a_family():
    for policy in (by_holm, by_bh, by_joint_flips, few(by_bh)):
        assert judge([], side="two", seed=0, policy=policy) == []
    assert given([], 0.1, n=0, of="draws") == []


def test_enrichment_counts_groups_by_fishers_test():
    """Rule (c): images of one scene are no further evidence."""
    scenes = np.repeat(np.arange(12), 10)
    groups = [f"g{s}" for s in scenes]
    weather = ["rain" if s < 6 else "sun" for s in scenes]
    concept = np.isin(scenes, (0, 1, 2, 3, 7)) & (np.arange(120) % 10 < 8)
    rows = enriched({"concept 1": concept}, {"weather": weather}, groups)
    rain = rows[0]
    assert (rain.value, rain.both, rain.inside, rain.having, rain.n) == ("rain", 4, 5, 6, 12)
    assert rain.p == pytest.approx(fisher_exact([[4, 1], [2, 5]], alternative="greater").pvalue)
    assert (rain.share_inside, rain.share_outside, rain.share) == (4 / 5, 2 / 7, 0.5)
    single = enriched({"c": concept}, {"weather": weather}, [str(i) for i in range(120)])[0]
    assert single.p < 1e-4 < 0.05 < rain.p
    adjusted = benjamini_hochberg([one.p for one in rows])
    assert [one.p_adjusted for one in rows] == adjusted.tolist()


def test_sets_of_few_images_of_many():
    """A concept's few exemplars are never most of a group; there, more than its share counts."""
    scenes = np.repeat(np.arange(10), 20)
    groups = [f"g{s}" for s in scenes]
    core = (scenes < 5) & (np.arange(200) % 20 < 3)
    values = {"light": ["low" if s < 5 else "high" for s in scenes]}
    by_most = {one.value: one for one in enriched({"c": core}, values, groups)}
    by_share = {one.value: one for one in enriched({"c": core}, values, groups, most=None)}
    assert by_most["low"].inside == 0 and by_most["low"].p == 1
    assert by_share["low"].both == 5
    assert by_share["low"].p == pytest.approx(fisher_exact([[5, 0], [0, 5]], "greater").pvalue)


def test_groups_that_do_not_react_count_in_what_is_detectable():
    """Joint flips know nothing of them, the mean does: both ways promise the same power."""
    ids = tuple(f"i{i:02d}" for i in range(20))
    of_images, values = Sampling(ids, ids, "images", 0), np.zeros(20)
    values[:10] = np.random.default_rng(0).normal(0.5, 1, 10)
    (joint,), (holm,) = (
        judge([Question(values, of_images)], side="two", seed=0, policy=policy)
        for policy in (by_joint_flips, by_holm)
    )
    assert joint.detectable == pytest.approx(holm.detectable, rel=0.1)
    drawn = np.zeros((300, 20))
    spread = values[:10].std(ddof=1)
    drawn[:, :10] = np.random.default_rng(1).normal(2 * joint.detectable, spread, (300, 10))
    assert 0.7 <= (sign_flip_ps(drawn, seed=1, side="two") <= 0.05).mean() <= 0.92
