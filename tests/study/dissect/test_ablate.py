"""Ablations: what is edited, and what counts as a loss."""

import numpy as np
import pytest
import torch

from conceptseg.config import DataConfig, ModelConfig
from conceptseg.stats.corrections import holm
from conceptseg.stats.estimate import Sampling
from conceptseg.study.dissect import ablate
from conceptseg.study.dissect.ablate import ablated, replacement
from conceptseg.study.dissect.config import Dissect
from tests.study.dissect.small import plan, vocabulary


def study(**changes):
    data, model = DataConfig(manifest="none.yaml"), ModelConfig(source="factory", name="none")
    return Dissect(data=data, model=model, **changes)


def test_only_the_units_that_are_named_change():
    activation = torch.rand(2, 5, 3, 4) + 1
    values = np.array([0.0, 7.0, 0.0, 0.5, 0.0])
    before = activation.clone()
    edited = ablated(activation, np.array([3, 1]), values)
    assert torch.equal(activation, before)
    assert (edited[:, 3] == 0.5).all() and (edited[:, 1] == 7).all()
    assert torch.equal(edited[:, [0, 2, 4]], activation[:, [0, 2, 4]])


def test_auto_takes_the_mean_where_units_go_below_zero():
    given = plan(3, vocabulary(2), ["a"], [0])
    object.__setattr__(given, "mean", np.array([1.0, 2.0, 3.0]))
    assert not replacement(study(), given).any()
    object.__setattr__(given, "lowest", -0.1)
    assert replacement(study(), given).tolist() == [1, 2, 3]
    assert not replacement(study(ablate="zero"), given).any()
    object.__setattr__(given, "lowest", 0.0)
    assert replacement(study(ablate="mean"), given).tolist() == [1, 2, 3]


def losses(study, clean, edited, random, sampling):
    """All of a change is of the class's own pixels."""
    return ablate.losses(study, clean, edited, random, sampling, edited - clean[:, None])


def each(images):
    """Images that count as themselves."""
    names = tuple(f"m{i}" for i in range(images))
    return Sampling(names, names, "images", 0)


def made(seed, loss, images=24, classes=2, edits=3):
    """IoU around 0.8; edit 0 costs class 0 `loss`; random sets cost nothing in the mean."""
    rng = np.random.default_rng(seed)
    clean = 0.8 + 0.05 * rng.normal(size=(images, classes))
    edited = clean[:, None] + 0.02 * rng.normal(size=(images, edits, classes))
    edited[:, 0, 0] -= loss
    random = clean[:, None] + 0.02 * rng.normal(size=(images, 10, classes))
    return losses(study(), clean, edited, [random] * edits, each(images))


def test_a_real_loss_counts_and_others_do_not():
    found = made(0, 0.3)
    assert [(one.edit, one.class_id) for one in found if one.used] == [(0, 0)]
    one = next(one for one in found if one.used)
    assert one.change.value == pytest.approx(-0.3, abs=0.02)
    assert one.change.low < one.change.value < one.change.high < 0
    assert one.test.p <= one.test.adjusted <= 0.05 and one.images == one.change.n == 24


def test_a_loss_that_random_units_cost_as_well_is_none():
    rng = np.random.default_rng(1)
    clean = np.full((24, 1), 0.8)
    edited = 0.5 + 0.02 * rng.normal(size=(24, 1, 1))
    random = 0.5 + 0.02 * rng.normal(size=(24, 10, 1)) + 0.1 * rng.normal(size=(1, 10, 1))
    (one,) = losses(study(), clean, edited, [random], each(24))
    assert one.change.value < -0.25 and not one.used


def test_a_gain_is_no_loss_even_where_random_units_gain_more():
    rng = np.random.default_rng(4)
    clean = np.full((24, 1), 0.5)
    edited = 0.6 + 0.01 * rng.normal(size=(24, 1, 1))
    random = 0.8 + 0.01 * rng.normal(size=(24, 10, 1))
    (one,) = losses(study(), clean, edited, [random], each(24))
    assert one.test.p == 1 and not one.used


def test_nothing_is_rarely_called_a_loss():
    called = [any(one.used for one in made(seed, 0.0)) for seed in range(60)]
    assert np.mean(called) <= 0.05


def test_classes_that_are_in_no_image_are_left_out():
    clean = np.full((6, 2), 0.8)
    clean[:, 1] = np.nan
    edited = np.repeat(clean[:, None], 2, 1)
    found = losses(study(), clean, edited, [edited, edited], each(6))
    assert {one.class_id for one in found} == {0}


def test_one_loss_among_many_tests_can_be_shown():
    """With 600 tests, ten thousand sign flips alone would leave Holm's p above 0.05."""
    found = made(2, 0.4, images=30, classes=30, edits=20)
    assert len(found) == 600
    assert [(one.edit, one.class_id) for one in found if one.used] == [(0, 0)]


def test_a_class_in_few_images_is_not_tested_and_costs_the_others_nothing():
    rng = np.random.default_rng(5)
    clean = 0.8 + 0.05 * rng.normal(size=(24, 2))
    clean[4:, 1] = np.nan  # at best 1/16, which no correction lets pass
    edited = clean[:, None] + 0.02 * rng.normal(size=(24, 4, 2))
    edited[:, 0] -= 0.3
    random = clean[:, None] + 0.02 * rng.normal(size=(24, 10, 2))
    found = losses(study(), clean, edited, [random] * 4, each(24))
    few = [one for one in found if one.class_id == 1]
    assert all(np.isnan([one.test.p, one.test.adjusted]).all() and not one.used for one in few)
    assert not any(one.test.testable for one in few)
    own = [one for one in found if one.class_id == 0]
    np.testing.assert_allclose([o.test.adjusted for o in own], holm([o.test.p for o in own]))
    assert own[0].used


@pytest.mark.slow
def test_the_smallest_loss_that_would_be_shown_is_shown_four_times_in_five():
    """Where images decide, where random sets do, and among twenty tests."""
    for images, spread, sets in ((0.1, 0.0, 10), (0.02, 0.05, 10)):
        shown, least = [], []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            clean = np.full((40, 1), 0.8)
            levels = spread * rng.normal(size=(1, sets, 1))
            random = clean[:, None] + levels + images * rng.normal(size=(40, sets, 1))
            noise = images * rng.normal(size=(40, 20, 1))
            trial = losses(study(), clean, clean[:, None] + noise, [random] * 20, each(40))
            least.append(trial[0].test.detectable)
            noise[:, 0] -= np.mean(least)
            trial = losses(study(), clean, clean[:, None] + noise, [random] * 20, each(40))
            shown.append(trial[0].test.adjusted <= 0.05)
        assert 0.6 <= np.mean(shown) <= 0.97


def test_eight_groups_can_show_a_loss_among_sixteen_where_holm_could_show_none():
    """16 tests of 8 groups: at best 16/256 by Holm, so signs are flipped for all together."""
    loss = made(6, 0.3, images=8, edits=8)
    assert {one.test.by for one in loss} == {"joint flips"}
    assert [(one.edit, one.class_id) for one in loss if one.used] == [(0, 0)]


def test_what_could_never_pass_has_no_p_and_no_detectable_loss():
    loss = made(7, 0.3, images=4)
    assert not any(one.test.testable or one.used for one in loss)
    assert np.isnan([[one.test.p, one.test.adjusted, one.test.detectable] for one in loss]).all()


def test_under_five_groups_there_is_no_interval():
    assert all(one.change.ci is None for one in made(8, 0.3, images=4))
    assert all(one.change.ci is not None for one in made(8, 0.3, images=5))
