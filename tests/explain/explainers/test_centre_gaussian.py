from math import exp

import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.centre_gaussian import CentreGaussian
from conceptseg.explain.regions import Everything
from conceptseg.explain.target import Target
from tests.small_models import images, seeded, wrapped


def net():
    return wrapped(seeded(nn.Conv2d, 3, 2, 1), 2)


def test_closed_form():
    found = CentreGaussian(width=0.3)(net(), images(2, 12, 20), Target(1, Everything()))
    for y, x in ((0, 0), (5, 9), (11, 3)):
        far = ((y - 5.5) / 12) ** 2 + ((x - 9.5) / 20) ** 2
        assert found[0, y, x].item() == pytest.approx(exp(-far / (2 * 0.3**2)), rel=1e-5)
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found, found.flip(1, 2))


def test_its_top_is_the_middle():
    found = CentreGaussian()(net(), images(1, 15, 23), Target(1, Everything()))[0]
    assert found[7, 11] == found.max() == 1
