"""How far positions act, against sums of what each convolution adds."""

import pytest
import torch
from torch import nn

from conceptseg.network.reach import reach
from conceptseg.network.record import Tail
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
