"""What is tested of changes by edits: a class that has nothing to lose takes nothing of others."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.stats.family import given
from conceptseg.study.shared.edits import Change, beyond_random
from conceptseg.study.shared.verdicts import verdict

SMALLEST = 0.02


def change(rng, images, clean, cost):
    """Images of a class of that IoU, which the edit costs `cost` and ten random ones nothing."""
    ids = tuple(f"i{n:02d}" for n in range(images))
    iou = np.clip(clean + 0.01 * clean * rng.normal(size=images), 0, 1)
    edited = -cost * rng.uniform(0.2, 1.8, images)
    random = 0.02 * clean * rng.normal(size=(images, 10))
    return Change(edited, random, iou, Sampling(ids, ids, "images", 0, 200))


@pytest.mark.parametrize("images", [6, 20])
@pytest.mark.parametrize("partner", [False, True])
def test_a_class_that_is_hardly_ever_right_takes_nothing_from_the_others(images, partner):
    rng = np.random.default_rng(images)
    classes = [change(rng, images, 0.8, 0.1), change(rng, images, 0.5, 0.0)]
    none = [change(rng, images, 0.001, 0.001) for _ in range(30)]

    def tested(changes):
        also = [given([1e-6] * len(changes), 1e-7, n=10**7 - 1, of="concepts")] if partner else ()
        return beyond_random(changes, seed=0, also=also, gains=False, smallest=SMALLEST)

    alone, beside = tested(classes), tested([none[0], *classes, *none[1:]])
    assert [one.p for one in beside[1:3]] == [one.p for one in alone]
    assert [one.adjusted for one in beside[1:3]] == [one.adjusted for one in alone]
    for one in (beside[0], *beside[3:]):
        assert not one.testable and not one.passed and np.isnan(one.detectable)
        assert verdict(one, 0.001, used=False) == "not testable"
        assert one.needs == "0.02 IoU to lose on the images"


def test_whatever_counts_at_all_is_tested_where_no_loss_is_too_small():
    rng = np.random.default_rng(1)
    (one,) = beyond_random([change(rng, 20, 0.001, 0.001)], seed=0)
    assert one.testable and one.passed


def test_an_edit_that_hardly_ever_gains_is_not_said_to_gain_nothing():
    """One image of fifty gains 0.1, by any edit: of 16, seven sets of ten hold no such one."""
    rng, held, at_zero, seen = np.random.default_rng(0), 0, 0, 0
    ids = tuple(f"{i:02d}" for i in range(16))
    for trial in range(200):
        own, random = (np.where(rng.random((16, r)) < 0.02, 0.1, 0.0) for r in (1, 10))
        sampling = Sampling(ids, ids, "images", trial, 100)
        one = Change(own[:, 0], random, np.full(16, 0.9), sampling).estimate
        held += one.low <= 0.002 <= one.high
        seen += random.max() > 0 or own.max() > 0
        at_zero += own.max() == 0
        no_edit_gains = Change(own[:, 0] * 0 - 0.1, random * 0, np.full(16, 0.9), sampling).estimate
        assert no_edit_gains.high < 0
    assert at_zero >= 130, "an interval that ends at 0 fails in all of these"
    assert held == seen >= 188
