"""What norms are given is compared by integration and by hand, and no hook is left."""

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.network.model import SegmentationModel
from conceptseg.network.norms import norms_with_statistics, squared_hellinger, watched


def test_distance_is_one_less_the_overlap_of_two_normal_distributions():
    x = np.linspace(-60, 60, 400_001)

    def density(mean, variance):
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    for one in ((0.0, 1.0, 0.5, 4.0), (3.0, 0.2, -1.0, 0.3), (2.0, 5.0, 2.0, 5.0)):
        overlap = np.trapezoid(np.sqrt(density(*one[:2]) * density(*one[2:])), x)
        assert squared_hellinger(*map(np.array, one)) == pytest.approx(1 - overlap, abs=1e-6)
    far = squared_hellinger(np.array([0.0, np.inf]), np.array([0.0, 1.0]), np.zeros(2), np.ones(2))
    assert far.tolist() == [1, 1]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU())
        self.made = nn.BatchNorm2d(5)
        self.twice = nn.BatchNorm2d(5)

    def forward(self, x):
        return self.twice(self.twice(self.made(self.first(x))))


def trained():
    torch.manual_seed(0)
    net = Net().train()
    for norm in (net.first[1], net.twice):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    net.first[1].running_var[3] = 0
    return SegmentationModel(net, [str(k) for k in range(5)])


def test_what_norms_are_given_is_their_first_call():
    model = trained()
    assert list(norms_with_statistics(model.module)) == ["first.1", "twice"]
    images = torch.rand(3, 3, 8, 10)
    model.settle(images)
    hooks = [len(one._forward_pre_hooks) for one in model.module.modules()]
    with watched(model) as given, torch.no_grad():
        model(images)
    assert [one.name for one in given] == ["first.1", "twice"]
    alive = [0, 1, 2, 4]
    with torch.no_grad():
        x = model.module.first[0](images)
        y = model.module.made(model.module.first(images))
    for one, seen, keep in zip(given, (x, y), (alive, range(5)), strict=True):
        seen = seen.numpy()[:, list(keep)]
        np.testing.assert_allclose(one.mean, seen.mean((2, 3)), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(one.variance, seen.var((2, 3)), rtol=1e-3, atol=1e-7)
        pooled = squared_hellinger(
            seen.mean((0, 2, 3)), seen.var((0, 2, 3)), one.kept_mean, one.kept_variance
        )
        assert one.pooled() == pytest.approx(pooled.mean(), rel=1e-3)
    assert [len(one._forward_pre_hooks) for one in model.module.modules()] == hooks


def test_a_pass_ends_after_so_many_norms():
    model = trained()
    images = torch.rand(1, 3, 8, 8)
    model.settle(images)
    reached = []
    model.module.made.register_forward_pre_hook(lambda *_: reached.append(1))
    with watched(model, 1) as given:
        model(images)
    assert [one.name for one in given] == ["first.1"] and not reached
    with watched(model, among=["twice"]) as given:
        model(images)
    assert [one.name for one in given] == ["twice"]
    with pytest.raises(ZeroDivisionError), watched(model):
        raise ZeroDivisionError
    assert not model.module.first[1]._forward_pre_hooks


def test_what_all_images_but_one_give_is_what_they_give_by_themselves():
    model, images = trained(), torch.rand(4, 3, 6, 6)
    model.settle(images)

    def given(some):
        with torch.no_grad(), watched(model) as found:
            model(some)
        return found

    for place, one in enumerate(given(images)):
        others = [given(images[[i for i in range(4) if i != k]])[place].pooled() for k in range(4)]
        assert one.pooled_without() == pytest.approx(others, abs=1e-6)
    (alone, *_) = given(images[:1])
    assert np.isnan(alone.pooled_without()).all()
