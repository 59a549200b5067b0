"""Other padding, against maps that were padded by hand; and nothing is left of it."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.network.padding import MODES, padded
from tests.small_models import wrapped


class Net(nn.Module):
    def __init__(self, mode="zeros", kernel=3, padding=1):
        super().__init__()
        self.body = nn.Conv2d(3, 4, kernel, padding=padding, padding_mode=mode)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.head(torch.relu(self.body(images)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [1, "same"])
def test_it_is_as_if_the_input_had_been_padded_so(mode, padding):
    torch.manual_seed(0)
    net, images = Net(padding=padding), torch.rand(2, 3, 7, 9)
    model, before = wrapped(net), net(images)
    by_hand = functional.pad(images, (1, 1, 1, 1), mode=mode)
    body = functional.conv2d(by_hand, net.body.weight, net.body.bias)
    expected = net.head(torch.relu(body))
    with padded(model, mode) as count:
        torch.testing.assert_close(net(images), expected)
    assert count == 1 and not torch.allclose(before, expected)
    torch.testing.assert_close(net(images), before)
    assert net.body.padding_mode == "zeros" and not net.body._forward_pre_hooks


def test_after_an_error_too():
    net = Net()
    with pytest.raises(ZeroDivisionError), padded(wrapped(net), "reflect"):
        _ = 1 / 0
    assert net.body.padding_mode == "zeros" and not net.body._forward_pre_hooks


def test_an_image_without_a_border_has_none_that_is_padded():
    net, images = Net("circular"), torch.rand(1, 3, 6, 6)
    before = net(images)
    with padded(wrapped(net), "reflect") as count:
        assert count == 0 and (net(images) == before).all()


def test_a_map_that_is_too_small_to_be_reflected_is_replicated():
    net, images = Net(kernel=5, padding=2), torch.rand(1, 3, 2, 6)
    with padded(wrapped(net), "reflect"):
        found = net(images)
    with padded(wrapped(net), "replicate"):
        assert (net(images) == found).all()
