"""Tests of removals: which can be shown, how they are corrected, what would have been detected."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.stats.corrections import holm
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.segnbdt.evidence import EVIDENCE, counted_images
from conceptseg.study.segnbdt.grown import GROWN
from conceptseg.study.segnbdt.judge import JUDGED
from conceptseg.study.segnbdt.removal import REMOVALS, assess, family

ROW = {"node": 0, "question": "a | b", "branch": "a"}
SAMPLING = Sampling(
    tuple(f"i{i}" for i in range(40)), tuple(f"i{i}" for i in range(40)), "images", 0
)


def measured(count, images, effect, seed):
    """Branches by number, with normal changes of their margins in the first images."""
    rng = np.random.default_rng(seed)
    names = [f"i{i}" for i in range(images)]
    return [(ROW | {"edge": n}, (names, effect + rng.normal(size=images))) for n in range(count)]


def assessed(rows, side, sampling=SAMPLING):
    return family([(row, *one) for row, one in rows], sampling, side, 0)


def test_changes_in_too_few_images_have_no_p_and_cost_the_others_nothing():
    many, few = measured(3, 24, -2.0, 0), measured(40, 3, -2.0, 1)
    done = assessed([*few, *many], "less")
    for one in done[:40]:
        assert not one.test.testable and one.effect.ci is None
        assert np.isnan([one.test.p, one.test.adjusted, one.test.detectable]).all()
    tests = [one.test for one in done[40:]]
    p = [test.p for test in tests]
    assert [test.adjusted for test in tests] == pytest.approx(holm(p).tolist())
    assert all(test.passed for test in tests)
    assert [one.edge for one in done] == [*range(40), *range(3)]


def test_one_change_among_hundreds_can_be_shown():
    rows = [*measured(1, 30, 3.0, 2), *measured(700, 30, 0.0, 3)]
    shown = [one.test.passed for one in assessed(rows, "two")]
    assert shown[0] and sum(shown) <= 2


@pytest.mark.slow
def test_what_would_have_been_shown_is_shown_four_times_in_five():
    found = []
    for seed in range(60):
        rows = measured(20, 40, 0.0, seed)
        size = assessed(rows, "two")[0].test.detectable
        drawn = np.random.default_rng(1000 + seed).normal(size=40) - size
        rows[0] = (rows[0][0], (rows[0][1][0], drawn))
        found.append(assessed(rows, "two")[0].test.passed)
    assert 0.6 <= np.mean(found) <= 0.97


def test_eight_groups_of_images_test_many_branches_jointly_and_are_what_n_counts():
    """Singly 1/256 times 15 branches could never pass: nothing was tested before."""
    groups = tuple(f"g{i % 8}" for i in range(40))
    sampling = Sampling(SAMPLING.ids, groups, "groups", 0)
    done = assessed(measured(15, 40, -2.0, 0), "less", sampling)
    assert all(one.test.by == "joint flips" and one.test.passed for one in done)
    assert {(one.effect.n, one.effect.of, one.images) for one in done} == {(8, "groups", 40)}


def bare(kind, **values):
    """One of a class of which some values are enough."""
    one = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(one, name, value)
    return one


def test_images_that_were_picked_for_their_mistakes_take_no_part_in_means():
    """Without their evidence three times as much is lost here: the mean is that of the drawn."""
    ids = SAMPLING.ids
    study = SimpleNamespace(evidence_images=24, seed=0, masks={})
    drawn = set(counted_images(study, ids))
    assert len(drawn) == 24 and drawn == set(counted_images(study, ids[::-1]))
    own = np.random.default_rng(0).normal(-2, 0.5, len(ids))
    rows = {}
    for name, value in zip(ids, own, strict=True):
        cost = value if name in drawn else 3 * value
        rows[name] = {
            "edge": np.array([0]),
            "margin": np.array([5.0]),
            "removed": np.array([[cost, 0.0, 0.0]]),
            "part": np.array([7]),
            "parts": np.array([[[cost], [0.1]]]),
        }
    tree = SimpleNamespace(
        edges=[(0, 0)], node_name=lambda n, c: "a | b", branch_name=lambda n, b, c: "a"
    )
    known = EVIDENCE(SampleTable.each(rows))
    known |= JUDGED(bare(JUDGED.kind, ids=ids, sampling=SAMPLING))
    known |= GROWN(bare(GROWN.kind, tree=tree))
    context = SimpleNamespace(model=SimpleNamespace(classes=list("abcdefgh")))
    found = assess(study, context, known)[REMOVALS]
    mean = np.mean([value for name, value in zip(ids, own, strict=True) if name in drawn])
    for one in (*found.evidence, *found.parts):
        assert one.images == 24 and one.effect.value == pytest.approx(mean)
        assert one.effect.low < mean < one.effect.high
