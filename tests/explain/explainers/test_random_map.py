import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.random_map import RandomMap
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.small_models import images, seeded, wrapped

WHOLE = Target(1, Everything())


def net():
    return wrapped(seeded(nn.Conv2d, 3, 2, 1), 2)


def drawn(count=60, size=(40, 30), **fields):
    """Maps [count, h, w] of one image by seeds."""
    x = images(1, *size)
    return torch.cat([RandomMap(seed=s, **fields)(net(), x, WHOLE) for s in range(count)])


def test_white_noise():
    found = drawn(kind="white", size=(16, 24))
    assert abs(found.mean()) < 5 / found.numel() ** 0.5
    assert found.var().item() == pytest.approx(1, abs=5 * (2 / found.numel()) ** 0.5)
    for shift in (found[:, 1:] * found[:, :-1], found[:, :, 1:] * found[:, :, :-1]):
        assert abs(shift.mean()) < 5 / shift.numel() ** 0.5


def test_correlation_of_smooth_noise():
    """exp(-d^2 / (4 s^2)) at every distance, with unit variance up to the borders."""
    found, s = drawn(count=300, width=0.04), 0.04 * 50
    square = found.square().mean(0)
    assert square.mean().item() == pytest.approx(1, abs=0.05)
    for border in (square[0], square[-1], square[:, 0], square[:, -1]):
        assert border.mean().item() == pytest.approx(1, abs=0.1)
    for d in (1, 2, 4, 8):
        expected = torch.tensor(-(d**2) / (4 * s**2)).exp().item()
        for pairs in (found[:, d:] * found[:, :-d], found[:, :, d:] * found[:, :, :-d]):
            assert pairs.mean().item() == pytest.approx(expected, abs=0.05)


def test_what_it_is_keyed_by():
    model, x = net(), images(2)
    scene = Scene(model, torch.cat([x, x[:1]]))
    maps = RandomMap().on(scene, [Target(1), WHOLE, Target(0, Everything())])
    assert torch.equal(maps[1, 0], maps[1, 2])
    assert torch.equal(maps[0, 0], maps[1, 0])
    assert not torch.allclose(maps[1, 0], maps[1, 1])
    assert not torch.allclose(maps[1, 0], maps[2, 0])
    assert not torch.allclose(RandomMap(seed=1).on(scene, [WHOLE])[0], maps[1])
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(RandomMap()(model, last, WHOLE), maps[1, :2])
