"""The last layer is found where the logits are its output, and nowhere else."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.errors import InputError
from conceptseg.network.model import SegmentationModel
from conceptseg.study.segnbdt.head import find_head
from tests.study.segnbdt.nets import ThreeGroups

CLASSES = tuple("abcdef")
IMAGES = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("upsample", [False, True])
def test_the_head_is_found_before_resizing_too(upsample):
    net = ThreeGroups(upsample)
    head = find_head(SegmentationModel(net, CLASSES), IMAGES)
    assert head is not None and head.name == "head" and head.inputs == 8
    assert torch.equal(torch.from_numpy(head.weight), net.head.weight.detach().flatten(1))
    assert head.feeds == ("body",) or head.feeds[-1] == "body"
    assert not net.head._forward_hooks and not net.body._forward_hooks


def test_the_head_is_found_behind_a_softmax():
    class Probabilities(ThreeGroups):
        def forward(self, images):
            return super().forward(images).softmax(1)

    net = Probabilities()
    head = find_head(SegmentationModel(net, CLASSES), IMAGES)
    assert head is not None and head.name == "head"
    assert torch.equal(torch.from_numpy(head.weight), net.head.weight.detach().flatten(1))


def test_what_enters_the_head_is_told_by_name():
    class Through(nn.Module):
        """The head reads what `act` puts out in place of `stem`; `aside` only looks alike."""

        def __init__(self):
            super().__init__()
            self.stem, self.act = nn.Conv2d(3, 8, 1), nn.ReLU(inplace=True)
            self.drop, self.aside = nn.Dropout(), nn.Conv2d(3, 8, 1)
            self.head, self.scaled = nn.Conv2d(8, 6, 1), False

        def forward(self, images):
            maps = self.drop(self.act(self.stem(images)))
            self.aside(images)
            return self.head(2 * maps if self.scaled else maps)

    net = Through()
    model = SegmentationModel(net, CLASSES)
    assert find_head(model, IMAGES).feeds == ("stem", "act", "drop")
    assert find_head(model, IMAGES, "head").feeds == ("stem", "act", "drop")
    net.scaled = True
    assert find_head(model, IMAGES).feeds == ()


class Two(nn.Module):
    """Two heads that are added: neither is the logits. With `apart`, one is for training only."""

    def __init__(self, apart=False):
        super().__init__()
        self.main, self.side, self.apart = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1), apart

    def forward(self, images):
        first, second = self.main(images), self.side(functional.avg_pool2d(images, 2))
        if self.apart:
            return {"out": first, "aux": second}
        return first + functional.interpolate(second, first.shape[2:])


def test_no_head_is_named_where_there_is_none():
    torch.manual_seed(0)
    assert find_head(SegmentationModel(Two(), CLASSES), IMAGES) is None


def test_a_side_output_that_runs_last_is_not_the_head():
    torch.manual_seed(0)
    head = find_head(SegmentationModel(Two(apart=True), CLASSES), IMAGES)
    assert head is not None and head.name == "main"


def test_a_named_layer_must_have_as_many_outputs():
    model = SegmentationModel(ThreeGroups(), CLASSES)
    assert find_head(model, IMAGES, "head").name == "head"
    with pytest.raises(InputError, match="'body.0' is no convolution or linear layer of 6"):
        find_head(model, IMAGES, "body.0")
