"""Tokens that are no part of the image: before it they are left out, behind it they are refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.network.tokens import check_tokens
from tests.small_models import wrapped


class Tokens(nn.Module):
    """Patches of 4 px with `before` and `after` tokens of its own around them, mixed by `deep`
    layers of attention; classes are read from the patches."""

    def __init__(self, before, after, deep):
        super().__init__()
        torch.manual_seed(before + 10 * after)
        self.before, self.after = before, after
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.own = nn.Parameter(torch.randn(1, before + after, 16))
        self.body = nn.Sequential(
            *(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(deep))
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        grid = self.patches(x)
        own = self.own.expand(len(x), -1, -1)
        tokens = grid.flatten(2).transpose(1, 2)
        tokens = self.body(torch.cat([own[:, : self.before], tokens, own[:, self.before :]], 1))
        tokens = tokens[:, self.before : tokens.shape[1] - self.after]
        maps = self.head(tokens).transpose(1, 2).unflatten(2, grid.shape[2:])
        return F.interpolate(maps, x.shape[2:], mode="bilinear")


IMAGES = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("deep", [1, 3])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_tokens_before_the_image_are_left_out(before, deep):
    model = wrapped(Tokens(before, 0, deep))
    assert model.layer_name("body", IMAGES) == "body"


@pytest.mark.parametrize("deep", [1, 3])
@pytest.mark.parametrize(("before", "after"), [(0, 1), (0, 4), (1, 2)])
def test_tokens_behind_the_image_are_refused_and_counted(before, after, deep):
    model = wrapped(Tokens(before, after, deep))
    told = f"the image and {before + after} more, of which {before} come before .* {after} after"
    with pytest.raises(InputError, match=told):
        model.layer_name("body", IMAGES)
    assert model.layer_name("patches", IMAGES) == "patches"


def test_a_layer_that_is_chosen_is_looked_at_as_well():
    """The only candidates have tokens behind the image."""
    model = wrapped(Tokens(0, 2, 2))
    try:
        assert model.layer_name("auto", IMAGES) == "patches"
    except InputError as error:
        assert "0 come before the image's and 2 after" in str(error)


def test_nothing_behind_the_layer_runs():
    model, ran = wrapped(Tokens(1, 0, 2)), []
    model.module.head.register_forward_hook(lambda *_: ran.append(1))
    model.settle(IMAGES[:1])
    ran.clear()
    check_tokens(model, IMAGES[:1], "body")
    assert not ran and not model.module.body._forward_hooks
