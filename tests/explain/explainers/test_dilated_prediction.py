import torch
from torch import nn

from conceptseg.explain.explainers.dilated_prediction import DilatedPrediction
from conceptseg.explain.regions import UserMask
from conceptseg.explain.target import Target
from tests.small_models import images, seeded, wrapped


def net():
    return wrapped(seeded(nn.Conv2d, 3, 2, 1), 2)


def test_loops_over_all_pixels():
    mask = torch.rand(9, 13, generator=torch.Generator().manual_seed(1)) > 0.9
    found = DilatedPrediction()(net(), images(1, 9, 13), Target(1, UserMask(mask)))[0]
    inside = mask.nonzero().tolist()
    for y in range(9):
        for x in range(13):
            d = min(((y - a) ** 2 + (x - b) ** 2) ** 0.5 for a, b in inside)
            assert abs(found[y, x].item() - 1 / (1 + d)) < 1e-6


def test_its_most_salient_pixels_are_the_region_and_then_its_rim():
    mask = torch.zeros(9, 13, dtype=torch.bool)
    mask[4, 5:8] = True
    found = DilatedPrediction()(net(), images(1, 9, 13), Target(1, UserMask(mask)))[0]
    top = found.flatten().topk(3 + 8).indices
    rim = mask.clone()
    rim[3, 5:8] = rim[5, 5:8] = rim[4, 4] = rim[4, 8] = True
    assert set(top.tolist()) == set(rim.flatten().nonzero()[:, 0].tolist())
