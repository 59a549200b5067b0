"""How networks lie in memory."""

import pytest
import torch
from torch import nn

from conceptseg.config import Reading
from conceptseg.engine.reading import lay_out
from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel


class Mixed(nn.Module):
    """Weights of one to five dimensions; the first image's row is a film of one frame."""

    def __init__(self):
        super().__init__()
        self.film = nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1))
        self.flat = nn.Conv2d(4, 2, 3, padding=1)
        self.row = nn.Conv1d(2, 2, 1)
        self.register_buffer("offset", torch.rand(1, 2, 1, 1))

    def forward(self, x):
        maps = self.flat(self.film(x[:, :, None])[:, :, 0]) + self.offset
        return self.row(maps.flatten(2)).unflatten(2, maps.shape[2:])


def test_weights_of_four_dimensions_are_laid_out_and_all_stay_what_they_are():
    torch.manual_seed(0)
    model = SegmentationModel(Mixed(), ("a", "b"), reading=Reading(values="logits"))
    images = torch.rand(2, 3, 8, 10)
    before, print_ = model(images), model.fingerprint()
    lay_out(model)
    assert model.module.flat.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.module.film.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert isinstance(model.module.flat.weight, nn.Parameter)
    assert model.fingerprint() == print_
    torch.testing.assert_close(model(images), before)


def test_a_network_of_volumes_comes_as_far_as_its_own_message():
    model = SegmentationModel(nn.Sequential(nn.Conv3d(3, 2, 3), nn.ReLU()), ("a", "b"), name="v")
    lay_out(model)
    with pytest.raises(InputError, match="'v' takes volumes"):
        model(torch.rand(1, 3, 8, 8))
