"""Influence of concepts against loops, and the calibration of its test by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from conceptseg.concepts.cavs.hinge import Hinge
from conceptseg.concepts.cavs.pattern import Pattern
from conceptseg.concepts.cavs.ridge import Ridge
from conceptseg.concepts.contract import CavLearner
from conceptseg.stats.corrections import holm
from conceptseg.stats.p_values import tail_p
from conceptseg.study.ace import tcav
from conceptseg.study.ace.pool import TAGS, Pool, belongs, random_concepts, random_sets, tags
from conceptseg.study.ace.tcav import Influence, concept_step, published_p


class MeanDifference(CavLearner):
    """The pattern by another name, so that it takes the path of learners; length is arbitrary."""

    scale: float = 1.0

    def fit(self, embeddings, is_concept, seed):
        inside = np.asarray(embeddings, np.float64)[is_concept].mean(0)
        return self.scale * (inside - np.asarray(embeddings, np.float64)[~is_concept].mean(0))


def pool(images: int = 30, of_each: int = 9, units: int = 6, seed: int = 0) -> Pool:
    """Segments of all tags in every image, whose embeddings differ by tag."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), of_each)
    tag = np.tile(np.arange(of_each) % len(TAGS), images)
    embeddings = rng.normal(size=(len(image), units)) + 5 * tag[:, None]
    return Pool.of(embeddings.astype(np.float32), image, tag)


def gradients(n: int = 20, units: int = 6, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = 0.3 * rng.normal(size=units)
    inside, outside = shared + rng.normal(size=(2, n, units))
    return inside.astype(np.float32), outside.astype(np.float32)


def test_tags_by_hand():
    share = np.array([1.0, 0.5, 0.49, 0.3, 0.0, 0.0, 0.4])
    around = np.array([0.0, 0.5, 0.51, 0.1, 0.5, 0.4, 0.1])
    expected = ["inside", "inside", "ring", "elsewhere", "ring", "elsewhere", "ring"]
    assert [TAGS[t] for t in tags(share, around)] == expected


def test_rows_and_residuals_by_loops():
    """Inside the region a segment is compared with all, elsewhere with those of its tag."""
    rng = np.random.default_rng(0)
    embeddings, tag = rng.normal(size=(12, 3)).astype(np.float32), np.array([0, 2, 1] * 4)
    one = Pool.of(embeddings, np.arange(12), tag)
    rows = one.rows(np.arange(12))
    assert rows.tolist() == [s + 12 if tag[s] == 0 else s for s in range(12)]
    found = one.residuals(np.arange(24))
    for row in range(24):
        s = row % 12
        rivals = [o for o in range(12) if row >= 12 or tag[o] == tag[s]]
        mean = sum(embeddings[o].astype(float) for o in rivals) / len(rivals)
        assert np.allclose(found[row], embeddings[s] - mean, atol=1e-6)


def test_a_tag_that_no_segment_has():
    one = Pool.of(np.eye(4, dtype=np.float32), np.arange(4), np.array([0, 2, 0, 2]))
    assert np.isfinite(one.means).all()
    assert np.allclose(one.residuals(np.arange(8)).mean(0), 0)


def test_where_a_concept_lies_outside_the_region_is_no_concept():
    """Embeddings that differ by tag alone leave nothing to test there, and do inside."""
    tag = np.arange(30) % 3
    one = Pool.of(np.eye(3, dtype=np.float32)[tag], np.arange(30), tag)
    tester = tcav.Tester(one, np.eye(3), np.zeros((3, 3)))
    rng = np.random.default_rng(0)
    for t, name in enumerate(TAGS):
        found = tester.test(np.flatnonzero(tag == t)[:4], 99, rng)
        assert (np.abs(found.derivatives).max() < 1e-6) == (name != "inside")


def test_moves_are_residuals_times_gradients():
    one, (inside, outside) = pool(), gradients()
    expected = one.residuals(np.arange(2 * len(one))) @ (inside + outside).T.astype(float)
    assert np.allclose(one.moves(inside + outside), expected, atol=1e-4)


def test_influence_by_loops():
    """d_i = mean over the concept of r_s . g_i, and every count of the two tests."""
    one, (inside, outside) = pool(), gradients()
    rng = np.random.default_rng(2)
    rows = one.rows(rng.choice(len(one), 7, replace=False))
    null = one.rows(np.array([rng.choice(len(one), 7, replace=False) for _ in range(40)]))
    found = tcav.Tester(one, inside, outside).against(rows, null)
    residual = one.residuals(np.arange(2 * len(one)))

    def derivatives(rows, part):
        return [sum(float(residual[s] @ g.astype(float)) for s in rows) / len(rows) for g in part]

    total = np.array(derivatives(rows, inside + outside))
    assert np.allclose(found.derivatives, total, atol=1e-5)
    assert np.allclose(found.inside, derivatives(rows, inside), atol=1e-5)
    assert np.allclose(found.outside, derivatives(rows, outside), atol=1e-5)
    assert found.effect == pytest.approx(sum(total) / len(total), abs=1e-6)
    assert found.tcav == sum(d > 0 for d in total) / len(total)
    outer = derivatives(rows, outside)
    assert found.tcav_outside == sum(d > 0 for d in outer) / len(outer)
    moved = [derivatives(one_null, inside + outside) for one_null in null]
    effects = [sum(row) / len(row) for row in moved]
    shares = [sum(d > 0 for d in row) / len(row) for row in moved]
    assert np.allclose(found.null_effect, effects, atol=1e-5)
    assert np.allclose(found.null_tcav, shares)
    more = sum(abs(effect) >= abs(found.effect) for effect in effects)
    farther = sum(abs(share - 0.5) >= abs(found.tcav - 0.5) for share in shares)
    assert found.p_effect == (1 + more) / 41 and found.p_tcav == (1 + farther) / 41


def test_a_concept_is_tested_as_its_rows():
    one, (inside, outside) = pool(), gradients()
    members = np.arange(0, 40, 5)
    tester = tcav.Tester(one, inside, outside)
    found = tester.test(members, 30, np.random.default_rng(1))
    null = random_concepts(one, members, 30, np.random.default_rng(1))
    expected = tester.against(one.rows(members), null)
    assert (found.derivatives == expected.derivatives).all()
    assert (found.null_effect == expected.null_effect).all()


def test_influence_in_numbers():
    one = Influence(
        np.array([2.0, -1.0, 1.0, 0.0]),
        np.array([1.0, -2.0, 1.0, 0.0]),
        np.array([1.0, 1.0, 0.0, 0.0]),
        0.1,
        0.2,
        np.zeros(3),
        np.zeros(3),
    )
    assert (one.effect, one.tcav, one.tcav_outside) == (0.5, 0.5, 0.5)
    assert one.outside_share == 2 / 6
    spread = np.sqrt(6 / 4)
    expected = np.mean([1 / (1 + np.exp(-d / spread)) for d in (2, -1, 1, 0)])
    assert one.smooth_tcav == pytest.approx(expected)


def test_influence_of_a_direction_that_does_nothing():
    nothing = np.zeros(4)
    one = Influence(nothing, nothing, nothing, 1.0, 1.0, np.zeros(2), np.zeros(2))
    assert (one.smooth_tcav, one.outside_share, one.effect, one.tcav) == (0.5, 0.0, 0.0, 0.0)


def make_up(one: Pool, rows: np.ndarray) -> list[tuple[int, ...]]:
    """Of each image of the rows, how many are compared with all, and with each other tag."""
    counts: dict[int, list[int]] = {}
    for row in rows:
        kind = 0 if row >= len(one) else one.tag[row]
        counts.setdefault(int(one.image[row % len(one)]), [0, 0, 0])[kind] += 1
    return sorted(map(tuple, counts.values()))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    images=st.integers(6, 14),
    concept_images=st.integers(1, 6),
    of_each=st.integers(1, 3),
)
def test_random_concepts_are_made_up_alike(seed, images, concept_images, of_each):
    """As many distinct images, each with as many segments of each kind, and no row twice."""
    one = pool(images=images, of_each=9, seed=seed)
    rng = np.random.default_rng(seed)
    owners = rng.choice(images, concept_images, replace=False)
    members = np.concatenate(
        [rng.choice(np.flatnonzero(one.image == i), of_each, replace=False) for i in owners]
    )
    drawn = random_concepts(one, members, 25, rng)
    assert drawn.shape == (25, len(members))
    for rows in drawn:
        assert make_up(one, rows) == make_up(one, one.rows(members))
        assert len(set(rows.tolist())) == len(rows)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), segments=st.integers(12, 60))
def test_random_concepts_keep_the_tags_where_images_are_scarce(seed, segments):
    """Unlike stocks of tags: the tags are always kept, if need be by taking an image twice."""
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, 7, segments))
    image = np.unique(image, return_inverse=True)[1]
    tag = rng.integers(0, 3, segments)
    one = Pool.of(rng.normal(size=(segments, 2)).astype(np.float32), image, tag)
    members = rng.choice(segments, 6, replace=False)
    for rows in random_concepts(one, members, 20, rng):
        kinds = np.where(rows >= segments, 0, tag[rows % segments])
        assert sorted(kinds.tolist()) == sorted(tag[members].tolist())


@pytest.mark.parametrize("tag", range(3))
def test_every_image_and_segment_that_fits_is_drawn_as_often(tag):
    """Chi-square over many calls: images of equal stock, then segments of an image."""
    one = pool(images=8, of_each=6)
    members = np.flatnonzero((one.image < (7 if tag == 0 else 3)) & (one.tag == tag))[::2]
    assert belongs(one, members) == (TAGS[tag] == "inside")
    counts = np.zeros(len(one))
    for seed in range(200):
        rows = random_concepts(one, members, 20, np.random.default_rng(seed))
        counts += np.bincount(rows.ravel() % len(one), minlength=len(counts))
    fits = (one.tag == tag) | (TAGS[tag] == "inside")
    assert counts[~fits].sum() == 0
    assert stats.chisquare(counts[fits].reshape(8, -1).sum(1)).pvalue > 0.01
    assert stats.chisquare(counts[fits]).pvalue > 0.001


def test_an_image_with_too_few_segments_of_a_tag_is_not_drawn():
    image = np.repeat(np.arange(10), 3)
    tag = np.array([1, 1, 2] * 5 + [1, 2, 2] * 5)
    one = Pool.of(np.zeros((30, 1), np.float32), image, tag)
    rows = random_concepts(one, np.array([0, 1, 3, 4]), 50, np.random.default_rng(0))
    assert set(one.image[rows].ravel().tolist()) == set(range(5))


def null_p_values(repeats: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """P-values of concepts that are themselves random, each against its own random concepts."""
    one = pool(images=60, units=24)
    inside, outside = gradients(n=501, units=24)
    tester = tcav.Tester(one, inside, outside)
    rng = np.random.default_rng(3)
    template = np.concatenate([np.flatnonzero(one.image == i)[[0, 4]] for i in range(12)])
    effect, shares = [], []
    for _ in range(repeats):
        concept = random_concepts(one, template, 1, rng)[0]
        found = tester.against(concept, random_concepts(one, template, draws, rng))
        effect.append(found.p_effect)
        shares.append(found.p_tcav)
    return np.array(effect), np.array(shares)


def test_p_values_of_random_concepts_are_uniform():
    """Both statistics: Kolmogorov-Smirnov, and 5 % +- 2 % at the level 0.05.

    Shares of images are often equal, which counts against a concept: their p may be too large.
    """
    sides = ("two-sided", "greater")
    for p, side in zip(null_p_values(repeats=700, draws=199), sides, strict=True):
        # p is a multiple of 1/200: take the middle of its step.
        assert stats.kstest(p - 1 / 400, "uniform", alternative=side).pvalue > 0.01
        assert 0.03 <= (p <= 0.05).mean() <= 0.07


def object_pool(images: int = 60) -> Pool:
    """Of each image twelve segments, one or two inside a class whose segments all look alike."""
    rng = np.random.default_rng(8)
    image = np.repeat(np.arange(images), 12)
    tag = np.where(rng.random(len(image)) < 0.6, 2, 1)
    tag[::12] = 0
    tag[6::24] = 0
    embeddings = rng.normal(size=(len(image), 8)).astype(np.float32)
    embeddings[tag == 0] += np.array([4.0, *[0.0] * 7], np.float32)
    return Pool.of(embeddings, image, tag)


@pytest.mark.slow
def test_random_sets_that_hold_some_of_the_object_are_no_concept():
    """With any segments in place of those inside, 10 to 40 % of these had p <= 0.05."""
    one, sets = object_pool(), 600
    inside, outside = gradients(n=60, units=8)
    inside[:, 0] += 2  # the class's score rises with what all its segments share
    tester = tcav.Tester(one, inside, outside)
    rng = np.random.default_rng(3)
    drawn = random_sets(one, np.arange(0, 720, 18), sets, rng)
    p = np.array([tester.test(segments, 199, rng).p_effect for segments in drawn])
    some = (one.tag[drawn] == 0).any(1)
    assert 0.5 < some.mean() < 1
    for own in (p[some], p[~some], p):
        assert (own <= 0.05).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(own))
    assert (p <= 0.05).mean() >= 0.01


def test_what_the_object_is_made_of_moves_its_score():
    one = object_pool()
    inside, outside = gradients(n=60, units=8)
    inside[:, 0] += 2
    members = np.flatnonzero(one.tag == 0)[:40]
    assert belongs(one, members) and not belongs(one, np.arange(40))
    found = tcav.Tester(one, inside, outside).test(members, 199, np.random.default_rng(0))
    assert found.p_effect <= 1 / 200 and found.effect > 0


def test_a_class_that_is_nearly_everywhere_owns_no_concept():
    one = object_pool()
    wide = Pool.of(one.embeddings, one.image, np.where(np.arange(len(one)) % 12 == 11, 2, 0))
    everywhere = Pool.of(one.embeddings, one.image, np.zeros(len(one), int))
    assert not belongs(wide, np.arange(0, 720, 60)) and not belongs(everywhere, np.arange(40))


def test_the_measured_false_positive_rate():
    """`null_p`: random sets of segments, each with random concepts of its own."""
    one = pool(images=60, units=24)
    tester = tcav.Tester(one, *gradients(n=60, units=24))
    members = np.concatenate([np.flatnonzero(one.image == i)[[0, 4]] for i in range(12)])
    p = tester.null_p(members, 199, 600, np.random.default_rng(0))
    assert len(p) == 600 and len(tester.null_p(members, 199, 0, np.random.default_rng(0))) == 0
    assert stats.kstest(p - 1 / 400, "uniform").pvalue > 0.01
    assert 0.03 <= (p <= 0.05).mean() <= 0.07


@pytest.mark.parametrize("learner", [None, Ridge()])
def test_the_mean_effects_of_random_concepts_are_those_of_the_whole_test(learner):
    one = pool()
    tester = tcav.Tester(one, *gradients(), learner)
    null = random_concepts(one, np.arange(0, 60, 4), 30, np.random.default_rng(0))
    expected = tester.against(null[0], null).null_effect
    assert np.allclose(
        tester._null_effects(null, np.unique(null[:5])), expected, rtol=1e-5, atol=1e-5
    )


def test_families_of_random_concepts_hold_the_level():
    """Ten concepts of several make-ups, all random: in 5 % +- 2 % of families one is claimed."""
    one = pool(images=60, units=24)
    tester = tcav.Tester(one, *gradients(n=60, units=24))
    rng = np.random.default_rng(5)
    nulls, observed = [], []
    for j in range(10):
        images = range(4 + 2 * j)
        members = np.concatenate([np.flatnonzero(one.image == i)[[j % 9, 4]] for i in images])
        sets = random_concepts(one, members, 999 + 600, rng)
        effects = tester.against(sets[0], sets).null_effect
        nulls.append(effects[:999])
        observed.append(effects[999:])
    families = np.stack(observed).T
    nulls = np.abs(nulls)
    smallest = [
        holm([tail_p(*each) for each in zip(np.abs(family), nulls, strict=True)]).min()
        for family in families
    ]
    assert 0.01 <= (np.array(smallest) <= 0.05).mean() <= 0.07


def test_random_segments_outside_the_region_are_no_concept():
    """The whole way from segments: two of one tag in each of some images, drawn anew each time."""
    one = pool(images=40, units=12)
    tester = tcav.Tester(one, *gradients(n=201, units=12))
    rng = np.random.default_rng(5)
    p = []
    for _ in range(500):
        owners = rng.choice(40, 10, replace=False)
        stock = [np.flatnonzero((one.image == i) & (one.tag == 1 + i % 2)) for i in owners]
        members = np.concatenate([rng.choice(rows, 2, replace=False) for rows in stock])
        p.append(tester.test(members, 199, rng).p_effect)
    assert stats.kstest(np.array(p) - 1 / 400, "uniform").pvalue > 0.01
    assert 0.03 <= (np.array(p) <= 0.05).mean() <= 0.07


@pytest.mark.parametrize("tag", range(3))
def test_the_test_finds_a_planted_concept(tag):
    """Segments that hold one direction more, and a class that reads it: the least p there is."""
    one, (inside, outside) = pool(images=40), gradients(n=30)
    members = np.flatnonzero((one.image < 10) & (one.tag == tag))[::2]
    tagged = np.zeros_like(one.embeddings)
    tagged[members, 0] = 2
    inside[:, 0] = 1
    embeddings = tagged + np.random.default_rng(0).normal(size=tagged.shape).astype(np.float32)
    for sign in (1, -1):
        planted = Pool.of(sign * embeddings, one.image, one.tag)
        tester = tcav.Tester(planted, inside, outside)
        found = tester.test(members, 199, np.random.default_rng(0))
        assert found.effect * sign > 1 and found.p_effect <= 1 / 200


def test_a_learner_of_mean_differences_is_the_pattern_scaled():
    """Its contrast is what the first five nulls hold. Where these are all rows of one tag, their
    residuals sum to zero, and mean(Q) - mean(rest) = mean(Q) * S / (S - m)."""
    one, (inside, outside) = pool(images=10), gradients()
    here = np.flatnonzero(one.tag == 2)
    members = here[::4]
    null = np.random.default_rng(0).permutation(here).reshape(5, 6)
    pattern = tcav.Tester(one, inside, outside, Pattern()).against(members, null)
    learnt = tcav.Tester(one, inside, outside, MeanDifference(scale=-7.0)).against(members, null)
    ratio = 30 / (30 - len(members))
    assert np.allclose(learnt.derivatives, ratio * pattern.derivatives, rtol=1e-4, atol=1e-5)
    assert np.allclose(learnt.inside, ratio * pattern.inside, rtol=1e-4, atol=1e-5)
    ratio = 30 / (30 - 6)
    assert np.allclose(learnt.null_effect, ratio * pattern.null_effect, rtol=1e-4, atol=1e-5)
    assert learnt.tcav == pattern.tcav and learnt.p_tcav == pattern.p_tcav
    assert (learnt.null_tcav == pattern.null_tcav).all()


@pytest.mark.parametrize("learner", [MeanDifference(scale=3.0), Ridge(), Hinge()])
def test_the_path_of_learners_by_loops(learner):
    """Each concept's and each null's direction is learnt against the same other rows."""
    one, (inside, outside) = pool(), gradients()
    members = np.arange(0, 40, 5)
    null = random_concepts(one, members, 12, np.random.default_rng(4))
    tester = tcav.Tester(one, inside, outside, learner, seed=5)
    found = tester.against(one.rows(members), null)

    def derivatives(rows):
        contrast = sorted(set(null[:5].ravel().tolist()) - set(rows.tolist()))
        concept, rest = one.residuals(rows), one.residuals(np.array(contrast))
        data = np.concatenate([concept, rest])
        v = learner.fit(data, np.arange(len(data)) < len(rows), 5)
        v = v / np.sqrt((v**2).sum())
        return np.array(
            [(v @ (concept.mean(0) - rest.mean(0))) * (v @ g) for g in inside + outside]
        )

    assert np.allclose(found.derivatives, derivatives(one.rows(members)), rtol=1e-4, atol=1e-5)
    expected = np.array([derivatives(rows) for rows in null])
    assert np.allclose(found.null_effect, expected.mean(1), rtol=1e-4, atol=1e-5)
    assert (found.null_tcav == (expected > 0).mean(1)).all()


def test_a_learners_random_concepts_are_calibrated_too():
    one = pool(images=40, units=8)
    tester = tcav.Tester(one, *gradients(n=30, units=8), learner=MeanDifference())
    members = np.concatenate([np.flatnonzero(one.image == i)[[0, 4]] for i in range(8)])
    p = tester.null_p(members, 99, 400, np.random.default_rng(1))
    assert stats.kstest(p - 1 / 200, "uniform").pvalue > 0.01
    assert 0.02 <= (p <= 0.05).mean() <= 0.08


@pytest.mark.parametrize("learner", [Pattern(), Ridge(), Hinge(), MeanDifference(scale=-0.01)])
def test_a_step_is_the_difference_of_means_along_the_direction(learner):
    rng = np.random.default_rng(0)
    concept, contrast = rng.normal(1, 1, size=(20, 5)), rng.normal(size=(60, 5))
    step = concept_step(learner, concept, contrast, 3)
    rows = np.concatenate([concept, contrast])
    v = learner.fit(rows, np.arange(80) < 20, 3)
    difference = concept.mean(0) - contrast.mean(0)
    assert abs(step @ v) == pytest.approx(np.linalg.norm(step) * np.linalg.norm(v))
    assert step @ v / np.linalg.norm(v) == pytest.approx(difference @ v / np.linalg.norm(v))
    assert np.linalg.norm(step) <= np.linalg.norm(difference) + 1e-12
    if isinstance(learner, Pattern | MeanDifference):
        assert np.allclose(step, difference)
    other = concept_step(learner, concept.astype(np.float32), contrast.astype(np.float32), 3)
    assert other.dtype == np.float64 and np.allclose(other, step, atol=1e-4)


def test_a_step_between_equal_sets_is_nothing():
    rows = np.ones((4, 3))
    assert (concept_step(Pattern(), rows, rows, 0) == 0).all()


def test_the_published_test_is_scipys():
    rng = np.random.default_rng(0)
    concept, random = rng.normal(0.6, 0.1, 20), rng.normal(0.5, 0.2, 20)
    peer = stats.ttest_ind(concept, random, equal_var=False).pvalue
    assert published_p(concept, random) == pytest.approx(peer, rel=1e-9)
    # Welch by hand.
    a, b = concept.var(ddof=1) / 20, random.var(ddof=1) / 20
    t = (concept.mean() - random.mean()) / np.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / 19 + b**2 / 19)
    assert published_p(concept, random) == pytest.approx(2 * stats.t.sf(abs(t), freedom))


def test_the_published_test_where_nothing_varies():
    half, full = np.full(20, 0.5), np.ones(20)
    assert published_p(half, half) == 1.0 and published_p(full, half) == 0.0


def test_the_published_test_rejects_random_concepts_and_ours_does_not():
    """Concepts and partners drawn alike, 128 units, 40 segments each, 100 images."""
    rng, runs, trials, size = np.random.default_rng(0), 20, 150, 40
    g = 0.1 * rng.normal(size=128) + rng.normal(size=(100, 128))
    published, ours = [], []
    for _ in range(trials):
        concept = rng.normal(size=(size, 128)).mean(0)
        partners = rng.normal(size=(runs, size, 128)).mean(1)
        scores = ((concept - partners) @ g.T > 0).mean(1)
        random = ((partners - np.roll(partners, 1, axis=0)) @ g.T > 0).mean(1)
        published.append(published_p(scores, random))
        segments = np.concatenate([rng.normal(size=(size, 128)), rng.normal(size=(400, 128))])
        image, tag = np.arange(len(segments)), np.full(len(segments), 2)
        one = Pool.of(segments.astype(np.float32), image, tag)
        tester = tcav.Tester(one, g.astype(np.float32), np.zeros_like(g, np.float32))
        ours.append(tester.test(np.arange(size), 199, rng).p_effect)
    assert np.mean(np.array(published) <= 0.05) > 0.2
    assert np.mean(np.array(ours) <= 0.05) < 0.1


def test_inputs_are_left_alone():
    one, (inside, outside) = pool(), gradients()
    before = [x.copy() for x in (one.embeddings, one.image, one.tag, inside, outside)]
    members = np.arange(0, 40, 5)
    tcav.Tester(one, inside, outside).test(members, 50, np.random.default_rng(0))
    after = (one.embeddings, one.image, one.tag, inside, outside)
    assert all((x == y).all() for x, y in zip(before, after, strict=True))
    assert (members == np.arange(0, 40, 5)).all()


def test_the_same_seed_gives_the_same_nulls():
    one, (inside, outside) = pool(), gradients()
    found = [
        tcav.Tester(one, inside, outside).test(np.arange(0, 40, 5), 50, np.random.default_rng(9))
        for _ in range(2)
    ]
    assert (found[0].null_effect == found[1].null_effect).all()
