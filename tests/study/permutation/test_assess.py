"""What exchanges cost, by planted costs: which are found, of how many groups, at what ratio."""

import numpy as np
import pytest

from conceptseg.stats.estimate import Sampling
from conceptseg.study.permutation.assess import estimate, reported
from conceptseg.study.permutation.config import EVERYTHING, OVERALL
from conceptseg.study.permutation.findings import findings
from tests.study.permutation.small import assessed, deltas

PARTS = 12


def test_eight_groups_are_enough_for_what_is_plain():
    """Of 24 images in 8 groups, half the parts cost much, half nothing; 5 tests of each part."""
    rng = np.random.default_rng(0)
    overlap = 0.01 * rng.normal(size=(24, PARTS, 4))
    overlap[:, : PARTS // 2] += 0.3
    rows = assessed(deltas(overlap, np.full((24, 4), 0.2)), lambda i: f"g{i % 8}")
    classes = (OVERALL, "c0", "c1", "c2", "c3")
    assert all(rows[v, c].test.passed for v in range(6) for c in classes)
    assert not any(rows[v, c].test.passed for v in range(6, 12) for c in classes)
    assert all(one.loss.n == 8 and one.test.least <= 0.05 for one in rows.values())
    assert 0.005 < rows[7, OVERALL].detectable < 0.05


def test_rule_b_what_is_detectable_is_found_four_times_in_five():
    """Of a family of 12 parts, one costs exactly what its test is said to detect."""
    rng = np.random.default_rng(0)
    families = 0.005 + 0.05 * rng.normal(size=(50, 10, PARTS))
    clean = np.full((10, 1), 0.2)

    def first(family):
        return assessed(deltas(family[:, :, None], clean), lambda i: f"g{i}")[0, "c0"]

    rise = np.mean([first(family).detectable for family in families[:15]]) - 0.005
    families[:, :, 0] += rise
    assert 0.66 <= np.mean([first(family).test.passed for family in families]) <= 0.94


def test_a_fall_is_told_beside_what_was_lost_before():
    """From an IoU of 0.8 to 0.5: the loss is 2.5 times what it was, and falls by 1.5 times it."""
    rows = assessed(deltas(np.full((24, 1, 1), 0.3), np.full((24, 1), 0.2)), lambda i: f"g{i}")
    found = next(one for one in findings(list(rows.values())) if "c0" in one.claim)
    assert "IoU falls by 0.300 (1 - IoU becomes 2.5 times what it was)" in found.claim


def test_a_part_whose_interval_holds_no_loss_is_not_called_needed():
    """Few images that all lose a little do not tell that a rare one gains nothing by it."""
    rng = np.random.default_rng(3)
    overlap = 0.03 + 0.002 * rng.normal(size=(8, 1, 1))
    (one, *_) = assessed(deltas(overlap, np.full((8, 1), 0.4)), lambda i: f"g{i}").values()
    assert one.test.passed and one.loss.low < 0 < one.loss.value
    assert findings([one]) == []


def test_rule_d_findings_say_that_groups_are_counted():
    overlap = 0.3 + 0.01 * np.random.default_rng(2).normal(size=(24, 2, 1))
    rows = assessed(deltas(overlap, np.full((24, 1), 0.2)), lambda i: f"g{i % 8}")
    listed = findings(list(rows.values()))
    assert listed and {(one.n, one.of, one.standing) for one in listed} == {
        (8, "groups", "evidence")
    }
    assert not any(one.details["part"] == EVERYTHING for one in listed)


def test_rule_f_a_class_in_too_few_groups_is_not_testable():
    rng = np.random.default_rng(1)
    overlap = 0.3 + 0.01 * rng.normal(size=(24, PARTS, 2))
    overlap[4:, :, 1] = np.nan
    clean = np.where(np.isnan(overlap[:, 0]), np.nan, 0.2)
    rows = assessed(deltas(overlap, clean), lambda i: f"g{i}")
    rare = rows[0, "c1"]
    assert (rare.loss.n, rare.images) == (4, 4) and rare.test.least > 0.05
    assert not rare.test.testable and np.isnan([rare.test.p, rare.test.adjusted]).all()
    assert np.isnan([rare.loss.low, rare.loss.high, rare.detectable]).all()
    assert rows[0, "c0"].test.passed and rows[0, OVERALL].loss.n == 24


def test_the_ratio_of_a_loss_that_doubles_is_two():
    """Also where images of several classes lose less than those of one."""
    clean = np.full((20, 2), np.nan)
    clean[:10] = 0.05
    clean[10:, 0] = 0.6
    rows = assessed(deltas(clean[:, None].copy(), clean), lambda i: f"g{i}")
    assert rows[0, OVERALL].ratio == pytest.approx(2)
    assert rows[0, "c0"].ratio == pytest.approx(2)


def test_no_interval_of_fewer_than_five_groups():
    values = np.random.default_rng(0).normal(size=(40, 3))
    names = tuple(f"s{i}" for i in range(40))
    for groups in (4, 5):
        sampling = Sampling(names, tuple(f"g{i % groups}" for i in range(40)), "groups", 0, 1000)
        assert (estimate(values, sampling).ci is None) == (groups == 4)


def test_no_more_is_detectable_than_there_is_to_lose():
    """A class of IoU 0.1 cannot lose 0.2: nothing would have been detected, and none is named."""
    overlap = 0.2 * np.random.default_rng(0).normal(size=(24, 4, 2))
    clean = np.tile([0.9, 0.2], (24, 1))
    rows = assessed(deltas(overlap, clean), lambda i: f"g{i}")
    for part in range(4):
        assert np.isnan(rows[part, "c0"].detectable) and rows[part, "c0"].test.testable
        assert 0.1 < rows[part, "c1"].detectable < 0.8


def test_intervals_hold_where_few_images_lose_anything():
    """One image in ten loses all: a third of sets of 12 hold none, and told a loss of nothing."""
    held = {"reported": 0, "drawn": 0}
    names = tuple(f"s{i:02}" for i in range(12))
    for seed in range(120):
        rng = np.random.default_rng(seed)
        lost = np.repeat(0.9 * (rng.random((12, 1)) < 0.1), 3, 1)
        sampling = Sampling(names, names, "images", seed, 400)
        clean = np.full((12, 1), 0.1)
        for name, told in (
            ("reported", reported(lost, clean, sampling)), ("drawn", estimate(lost, sampling)),
        ):  # fmt: skip
            held[name] += told.low <= 0.09 <= told.high
    assert held["drawn"] / 120 < 0.8 and held["reported"] / 120 >= 0.92


def test_no_interval_tells_of_more_than_all_of_an_overlap():
    names = tuple(f"s{i}" for i in range(8))
    sampling = Sampling(names, names, "images", 0, 400)
    lost = np.repeat(np.array([1.0] * 7 + [0.9])[:, None], 3, 1)
    clean = np.zeros((8, 1))
    assert sampling.bounded(lost.mean(1), 0.0, 1.0).high == 1.0
    told = reported(lost, clean, sampling)
    assert told.low < told.value < told.high == 1.0
    assert reported(-lost, 1 - clean, sampling).low == -1.0
