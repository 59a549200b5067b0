"""What exchanges cost, by planted costs: which are found, of how many groups, at what ratio."""

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.data.manifest import Sample
from conceptseg.study.permutation import assess
from conceptseg.study.permutation.deltas import Deltas
from conceptseg.study.permutation.features import Feature
from conceptseg.study.permutation.survey import Variant

PARTS = 12


def deltas(overlap, clean):
    """`overlap` [n, v, k], made once."""
    n, v, k = overlap.shape
    parts = tuple(Variant(Feature(f"p{i}", "channels", (i,)), "swap") for i in range(v))
    ids = tuple(f"s{i:02}" for i in range(n))
    nothing = np.zeros((n, v, 2, k))
    return Deltas(ids, parts, clean, overlap[:, :, None], nothing[:, 0], nothing)


def told(given, group_of, unit="group"):
    samples = {name: Sample(id=name, group=group_of(i)) for i, name in enumerate(given.ids)}
    context = SimpleNamespace(manifest=SimpleNamespace(sample=samples.get), seed=0)
    study = SimpleNamespace(unit=unit, smallest_effect=0.005)
    classes = range(given.clean.shape[1])
    return {(o.variant, o.class_id): o for o in assess.tested(study, context, given, classes)}


def test_eight_groups_are_enough_for_what_is_plain():
    """Of 24 images in 8 groups, half the parts cost much, half nothing; 5 tests of each part."""
    rng = np.random.default_rng(0)
    overlap = 0.01 * rng.normal(size=(24, PARTS, 4))
    overlap[:, : PARTS // 2] += 0.3
    found = told(deltas(overlap, np.full((24, 4), 0.2)), lambda i: f"g{i % 8}")
    assert all(found[v, c].p_adjusted <= 0.05 for v in range(6) for c in (None, 0, 1, 2, 3))
    assert all(found[v, c].p_adjusted > 0.05 for v in range(6, 12) for c in (None, 0, 1, 2, 3))
    assert all(one.groups == 8 and one.p_least <= 0.05 for one in found.values())
    assert 0.005 < found[7, None].detectable < 0.05


def test_a_class_in_too_few_groups_is_said_to_be_so():
    rng = np.random.default_rng(1)
    overlap = 0.3 + 0.01 * rng.normal(size=(24, PARTS, 2))
    overlap[4:, :, 1] = np.nan
    clean = np.where(np.isnan(overlap[:, 0]), np.nan, 0.2)
    found = told(deltas(overlap, clean), lambda i: f"g{i}")
    one = found[0, 1]
    assert (one.groups, one.images) == (4, 4) and one.p_least > 0.05 and one.p_adjusted > 0.05
    assert np.isnan([one.low, one.high, one.detectable]).all()
    assert found[0, 0].p_adjusted <= 0.05 and found[0, None].groups == 24


def test_the_ratio_of_a_loss_that_doubles_is_two():
    """Also where images of several classes lose less than those of one."""
    clean = np.full((20, 2), np.nan)
    clean[:10] = 0.05
    clean[10:, 0] = 0.6
    found = told(deltas(clean[:, None].copy(), clean), lambda i: f"g{i}")
    assert found[0, None].ratio == pytest.approx(2)
    assert found[0, 0].ratio == pytest.approx(2)


def test_no_interval_of_fewer_than_five_groups():
    values = np.random.default_rng(0).normal(size=(40, 3))
    assert np.isnan(assess.interval(values, np.arange(40) % 4, 0)).all()
    assert np.isfinite(assess.interval(values, np.arange(40) % 5, 0)).all()
