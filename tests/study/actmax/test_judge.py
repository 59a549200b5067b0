from dataclasses import replace

import numpy as np
import pytest

from conceptseg.stats.corrections import benjamini_hochberg
from conceptseg.stats.family import given
from conceptseg.study.actmax.judge import able, alike, likeness, percentile, verdict

F, K, D = 6, 4, 16


def embeddings(signal, seed=0):
    """Real images around F centres; pictures at the centres, scaled by `signal`, with noise."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(F, D))
    feature = np.repeat(np.arange(F), K)
    real = centres[feature] + 0.3 * rng.normal(size=(F * K, D))
    made_feature = np.repeat(np.arange(F), 2)
    made = signal * centres[made_feature] + 0.3 * rng.normal(size=(2 * F, D))
    return made, made_feature, real, feature


def judged(signal, seed=0, same=None):
    return likeness(*embeddings(signal, seed), np.eye(F, dtype=bool) if same is None else same)


def test_likeness_by_loops():
    made, made_feature, real, feature = embeddings(1.0)
    found = judged(1.0)
    m = real.mean(0)
    for f in range(F):
        for g in range(F):
            values = [
                (made[s] - m) @ (real[r] - m)
                / (np.linalg.norm(made[s] - m) * np.linalg.norm(real[r] - m))
                for s in np.flatnonzero(made_feature == f)
                for r in np.flatnonzero(feature == g)
            ]  # fmt: skip
            assert found.matrix[f, g] == pytest.approx(np.mean(values))


def test_planted_likeness_is_found_and_noise_is_not():
    found = judged(1.0)
    assert (
        (found.above == 1).all()
        and all(t.p == pytest.approx(1 / F) for t in found.tests)
        and (found.agree > 0.5).all()
    )
    # By chance all ranks are as likely, which random sets of images in place of those of other
    # features would not give: images of one feature are alike.
    p = np.array([t.p for seed in range(200) for t in judged(0.0, seed).tests])
    for rank in range(1, F + 1):
        assert (p <= rank / F + 1e-9).mean() == pytest.approx(rank / F, abs=0.06)


def test_features_with_the_same_images_are_not_compared():
    same = alike([["a", "b", "c"], ["b", "x", "y"], ["c1", "d", "e"]])
    assert same.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    alone = judged(1.0, same=np.ones((F, F), bool))
    assert np.isnan(alone.above).all() and all(t.p == 1 for t in alone.tests)


def test_who_could_have_passed():
    def made(p, compared):
        tests = given(p, 1 / (1 + compared), benjamini_hochberg, n=compared, of="units")
        return replace(judged(1.0), tests=tuple(tests))

    # Alone at its floor of 1/100, a picture among four stands at 0.04 after correction.
    assert able(made([0.5, 0.6, 0.7, 0.01], 99)).all()
    # At a floor of 1/80 it would be at 0.05 with one, and above it with none beside it.
    assert able(made([0.5, 0.6, 0.7, 0.9], 79)).all()
    assert not able(made([0.5, 0.6, 0.7, 0.8, 0.9], 79)).any()
    assert able(made([0.5, 0.6, 0.7, 1 / 80, 0.9], 79)).tolist() == [True] * 3 + [False, True]
    # Nothing to compare with: no picture can pass, however alike.
    assert not able(made([1.0, 1.0], 0)).any()


def test_percentiles_count_ties_half():
    values = np.array([[0.0], [1.0], [2.0], [2.0]])
    assert percentile(values, np.array([2.0]))[0] == 0.75


@pytest.mark.parametrize(
    "case, word",
    [
        ((False, 2.0, 1.0, 0.01, True), "not started"),
        ((True, 2.0, 1.0, 0.01, True), "representative"),
        ((True, 2.0, 1.0, 0.2, True), "beyond the data"),
        ((True, 0.5, 1.0, 0.2, True), "not shown to be representative"),
        ((True, 0.5, 1.0, 0.2, False), "not testable"),
        ((True, 2.0, 1.0, 0.2, False), "not testable"),
    ],
)
def test_verdicts(case, word):
    assert verdict(*case) == word


def test_features_that_share_images_do_not_make_any_picture_representative(sets=400):
    """Features lie on a ring, and share images with their neighbours: whatever direction a picture
    of nothing has, several are next to it, and not compared with each other. Counted against those
    alone that it is compared with, each of them would come first."""
    rng = np.random.default_rng(3)
    features, near = 40, 5
    apart = np.abs(np.subtract.outer(np.arange(features), np.arange(features)))
    same = np.minimum(apart, features - apart) <= near
    angle = 2 * np.pi * np.arange(features) / features
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    feature, found, counted = np.repeat(np.arange(features), 3), 0, 0
    for _ in range(sets):
        order = rng.permutation(features)  # of which feature the picture is
        real = ring[order][feature] + 0.01 * rng.normal(size=(3 * features, 2))
        made, alike = rng.normal(size=(1, 2)), same[np.ix_(order, order)]
        one = likeness(made, np.zeros(1, int), real, feature, alike)
        found += one.tests[0].p <= 0.05
        compared = one.compared[0].sum()
        counted += (1 + compared - one.above[0] * compared) / (1 + compared) <= 0.05
    bar = 0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)
    assert found / sets <= bar and counted / sets > 0.15
