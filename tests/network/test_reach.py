"""How far positions act, against sums of what each convolution adds."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.network.choice import chosen, with_worth
from conceptseg.network.reach import reach, with_reach
from conceptseg.network.record import Tail
from tests.network.test_choice import Dilated, Shared, blocks
from tests.small_models import images, wrapped

SIDE = 48


class Net(nn.Module):
    """A first convolution, which is the layer, and what follows it."""

    def __init__(self, *tail, stride=1):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride, 1)
        self.tail = nn.Sequential(*tail)

    def forward(self, x):
        return self.tail(self.first(x))


def conv(size, outputs=4, dilation=1):
    return nn.Conv2d(4, outputs, size, padding=dilation * (size // 2), dilation=dilation)


class Pooled(nn.Module):
    """Adds the mean over the whole map."""

    def forward(self, x):
        return x + x.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(
    ("tail", "stride", "expected"),
    [
        ((conv(1), nn.ReLU(), conv(1, 3)), 1, 0),
        ((conv(3), nn.ReLU(), conv(5, 3)), 1, 1 + 2),
        ((conv(3, dilation=4), conv(1, 3)), 1, 4),
        ((conv(1, 3), nn.Upsample(scale_factor=4, mode="nearest")), 4, 0),
        ((conv(3), nn.Upsample(scale_factor=4, mode="nearest"), conv(3, 3)), 4, 4 + 1),
        # Of a pixel half a cell behind the line between two cells both are mixed.
        ((conv(1, 3), nn.Upsample(scale_factor=4, mode="bilinear")), 4, 2),
        ((conv(3), Pooled(), conv(1, 3)), 1, float("inf")),
        ((conv(49), conv(1, 3)), 1, float("inf")),
    ],
)
def test_it_is_what_all_that_follows_adds(tail, stride, expected):
    torch.manual_seed(0)
    model = wrapped(Net(*tail, stride=stride).eval())
    pictures = images(2, SIDE, SIDE)
    with torch.no_grad():
        found = Tail.of(model, pictures, "first")
        far = reach(found, torch.zeros(4, 1, 1))
        assert far.tolist() == [expected] * 2
        assert torch.equal(found.resume(found.activation), found.logits), "nothing was written into"


def test_of_one_row_of_positions_nothing_is_known():
    model = wrapped(Net(conv(1, 3), nn.Upsample(scale_factor=4), stride=4).eval())
    with torch.no_grad():
        found = Tail.of(model, images(1, 4, SIDE), "first")
        assert found.activation.shape[2:] == (1, SIDE // 4)
        assert reach(found, found.activation.mean()).tolist() == [float("inf")]


class Smeared(Shared):
    """What is found is spread over two pixels each way."""

    def forward(self, x):
        return F.avg_pool2d(super().forward(x), 5, 1, 2)


def test_how_far_layers_act_is_asked_of_those_that_were_weighed():
    """Of a row of dilated convolutions the stem acts by what all of them add: 1 + 2 + 4 px."""
    torch.manual_seed(3)
    model, pictures = wrapped(Dilated(), 3, 1), torch.rand(5, 1, 32, 32)
    before = chosen(model, pictures, layer="body.0")
    choice = with_reach(before, model, pictures, 2)
    far = {name: one.reach for name, one in choice.weighed.items()}
    assert far == {"stem": 7, "body": 0, "body.0": 6}
    assert choice.passed == before.passed + 3 * 2 * len(far)
    assert with_reach(choice, model, pictures, 2) == choice
    infos = with_worth(model.layers(pictures), choice)
    assert {one.name: one.reach for one in infos if one.worth is not None} == far
    one = with_reach(dataclasses.replace(before, images=2), model, pictures, 2)
    assert one.passed == before.passed + 3 * len(far), "of one image, where so few were weighed"
    assert {row["layer"]: row["reach_px"] for row in choice.recorded()["layers"]} == far
    assert before.from_outside(0) is None, "nothing is known yet"
    assert [choice.from_outside(px) for px in (0, 6, 7)] == ["body.0", "stem", None]


@pytest.mark.parametrize(("deep", "layer"), [(1.0, "deep"), (0.1, "last")])
def test_what_acts_from_outside_is_asked_where_most_of_the_decision_passes(deep, layer):
    model, pictures = wrapped(Smeared(deep), 2, 1), blocks()
    choice = with_reach(chosen(model, pictures), model, pictures)
    assert choice.weighed["deep"].reach == 2 and (choice.share("deep") > 0.5) is (deep == 1)
    asked = with_reach(chosen(model, pictures), model, pictures, only="last")
    assert (asked.weighed["deep"].reach is None) is (deep != 1)
    assert asked.from_outside(1) == layer
    assert choice.from_outside(1) == layer and choice.from_outside(2) is None
