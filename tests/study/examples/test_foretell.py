"""Nearness out of fold against loops, areas against counted pairs, and how often they claim."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from conceptseg.stats.estimate import Estimate, Sampling, jackknifed
from conceptseg.study.examples import assess, foretell
from conceptseg.study.examples.config import BLOCKS, Examples
from conceptseg.study.examples.critic import Likeness
from conceptseg.study.examples.findings import findings


def test_folds_never_part_a_group_and_are_even():
    groups = [f"g{i % 11}" for i in range(60)]
    fold = foretell.fold_of(groups, 4, 0)
    assert all(len({f for f, g in zip(fold, groups, strict=True) if g == one}) == 1
               for one in set(groups))  # fmt: skip
    counts = np.bincount([fold[groups.index(g)] for g in set(groups)])
    assert counts.max() - counts.min() <= 1
    assert (foretell.fold_of(groups[::-1], 4, 0)[::-1] == fold).all()


def test_nearness_is_what_loops_give():
    rng = np.random.default_rng(0)
    blocks = {"embedding": rng.normal(size=(30, 3)), "place": rng.random((30, 2))}
    weights = {"embedding": 1.0, "place": 2.0}
    wrong, fold = rng.integers(-1, 2, 30), rng.integers(0, 3, 30)
    score, nearest = foretell.nearness(foretell.across(blocks, weights, fold), wrong, 2)
    for i in range(30):
        others = [j for j in range(30) if fold[j] != fold[i]]
        like = Likeness.fit({n: b[others] for n, b in blocks.items()}, weights)
        near = {
            j: like({n: b[[i]] for n, b in blocks.items()}, {n: b[[j]] for n, b in blocks.items()})
            for j in others
        }
        means = []
        for outcome in (0, 1):
            ranked = sorted(
                (j for j in others if wrong[j] == outcome), key=lambda j: -near[j][0, 0]
            )
            assert nearest[i, outcome] == ranked[0]
            means.append(np.mean([near[j][0, 0] for j in ranked[:2]]))
        assert score[i] == pytest.approx(means[1] - means[0], abs=1e-12)


def test_without_a_wrong_object_elsewhere_there_is_no_score():
    places = {"place": np.random.default_rng(0).random((6, 2))}
    like = foretell.across(places, {"place": 1.0}, np.array([0, 0, 0, 1, 1, 1]))
    score, nearest = foretell.nearness(like, np.array([1, 0, 0, 0, 0, 0]), 1)
    assert np.isnan(score[:3]).all() and np.isfinite(score[3:]).all()
    assert (nearest[:3, 1] == -1).all() and (nearest[3:, 1] == 0).all()


def test_the_jackknife_of_a_mean_is_its_own_error():
    """Student's interval of a mean of n values, each left out once."""
    values = np.random.default_rng(5).normal(size=12)
    left = (values.sum() - values) / 11
    found = jackknifed(Estimate(float(values.mean()), 0, 0, 12), left)
    ends = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    np.testing.assert_allclose([found.low, found.high], ends)


def objects(rng, groups, effect=0.0):
    """Objects of two classes whose neighbours and doubt say nothing of what is wrong.

    A group's objects share part of both, and how often they are wrong. `effect`: how much more the
    embedding of wrong objects is.
    """
    held = np.repeat(np.arange(groups), rng.integers(1, 8, groups))
    n = len(held)
    level = rng.normal(size=groups)
    wrong = (rng.random(n) < 1 / (1 + np.exp(-level[held]))).astype(int)
    common = rng.normal(size=(groups, 3))[held]
    blocks = {name: rng.normal(size=(n, 3)) + common for name in BLOCKS}
    blocks["embedding"] += effect * wrong[:, None]
    ids = tuple(f"s{i}" for i in range(n))
    names = tuple(f"g{one}" for one in held)
    return assess.Objects(
        ids=ids,
        class_id=np.arange(n) % 2 + 1,
        box=np.zeros((n, 4), int),
        area=np.ones(n, int),
        confidence=1 / (1 + np.exp(-rng.normal(size=groups)[held] - rng.normal(size=n))),
        right=1.0 - wrong,
        wrong=wrong,
        blocks=blocks,
        sampling=Sampling(ids, names, "groups", 0),
    )


def concluded(made, seed=0):
    samples = {
        name: SimpleNamespace(group=group)
        for name, group in zip(made.ids, made.sampling.groups, strict=True)
    }
    context = SimpleNamespace(
        seed=seed,
        manifest=SimpleNamespace(sample=samples.get),
        model=SimpleNamespace(classes=["ground", "one", "two"]),
    )
    study = Examples.model_construct(
        weights=dict.fromkeys(BLOCKS, 1.0), prototypes=3, criticisms=1, neighbours=3, folds=5
    )
    known = assess.LISTED(made)
    for step in (assess.portray, assess.find_neighbours):
        known = known | step(study, context, known)
    return known


def claims(known):
    every = findings(
        known[assess.PORTRAITS], known[assess.FORETOLD], ["ground", "one", "two"], "predicted"
    )
    return [one for one in every if one.standing == "evidence"]


@pytest.mark.parametrize("sets", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_of_nothing_little_is_claimed(sets):
    """Neither what prototypes stand for nor what foretells errors, each in at most 5 %."""
    strategies = warnings = 0
    for seed in range(sets):
        found = claims(concluded(objects(np.random.default_rng([7, seed]), 40)))
        strategies += any(one.by == "test" for one in found)
        warnings += any(one.by == "interval" for one in found)
    print(f"of {sets}: {strategies} with a prototype, {warnings} with a warning")
    allowed = (0.05 + 2 * np.sqrt(0.05 * 0.95 / sets)) * sets
    assert strategies <= allowed and warnings <= allowed


def test_what_is_there_is_found():
    known = concluded(objects(np.random.default_rng(3), 40, effect=4.0))
    overall = known[assess.FORETOLD][0].areas
    assert overall["nearness"].value > 0.9 > 0.7 > overall["doubt"].value
    kinds = {one.by for one in claims(known)}
    assert kinds == {"test", "interval"}
