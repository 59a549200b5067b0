"""The last layer is found where the logits are its output, and nowhere else."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.config import Reading
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


def pixels(output, grid=(6, 5)):
    """What a layer of places puts out, as a map."""
    return output.transpose(1, 2).unflatten(2, grid)


KINDS = {
    "transposed": (nn.ConvTranspose2d(4, 6, 2, 2), lambda layer, x: layer(x)),
    "linear of tokens": (nn.Linear(4, 6), lambda layer, x: pixels(layer(x.flatten(2).mT))),
    "linear in place": (
        nn.Linear(4, 6),
        lambda layer, x: layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    ),
    "convolution of places": (
        nn.Conv1d(4, 6, 1),
        lambda layer, x: layer(x.flatten(2)).unflatten(2, (6, 5)),
    ),
    "pixel shuffle": (
        nn.Conv2d(4, 24, 3, padding=1),
        lambda layer, x: functional.pixel_shuffle(layer(x), 2),
    ),
}


class Any(nn.Module):
    def __init__(self, layer, use):
        super().__init__()
        self.body, self.head, self.use = nn.Conv2d(3, 4, 2, 2), layer, use

    def forward(self, images):
        logits = self.use(self.head, self.body(images))
        return functional.interpolate(logits, images.shape[2:], mode="bilinear")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_linear_layer_of_any_kind_are_what_each_class_reads(kind):
    """The oracle: with all but one class's row at zero, no other logit is left but its bias."""
    layer, use = KINDS[kind]
    model = SegmentationModel(Any(layer, use), CLASSES)
    head = find_head(model, IMAGES)
    assert head is not None and head.name == "head" and head.inputs == 4
    rows = head.weight.reshape(6, 4, -1)
    body = model.module.body(IMAGES)
    with torch.no_grad():
        layer.bias.zero_()
        one = torch.zeros_like(body)
        for feature in range(4):
            one.zero_()
            one[:, feature] = body[:, feature].abs().mean()
            out = use(layer, one)[..., 2:-2, 2:-2]
            # Of a map that is the same everywhere, each logit is the sum of its row's places, of
            # a transposed convolution or a pixel shuffle their mean over the block.
            blocks = {"transposed": 4, "pixel shuffle": 4}.get(kind, 1)
            sums = rows[:, feature].sum(1) / blocks * float(one[0, feature, 0, 0])
            assert torch.allclose(out.mean((0, 2, 3)), torch.from_numpy(sums), atol=1e-4)


def test_the_head_is_found_where_an_output_is_dropped():
    torch.manual_seed(0)
    net = ThreeGroups()
    full = SegmentationModel(net, CLASSES)
    dropped = SegmentationModel(net, CLASSES, reading=Reading(drop=(CLASSES[2],)))
    head = find_head(dropped, IMAGES)
    rows = find_head(full, IMAGES).weight
    assert head is not None and head.weight.shape[0] == 5
    assert torch.equal(torch.from_numpy(head.weight), torch.from_numpy(rows)[[0, 1, 3, 4, 5]])
