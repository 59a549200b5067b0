from itertools import product

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from conceptseg.explain.explainers.grid_saliency import GridSaliency
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.planted.exact import exact_sample
from conceptseg.planted.generator import (
    BIASED_CLASS,
    BIASED_DIGIT,
    render,
    sample,
    with_context,
)
from conceptseg.planted.nets import load_net
from conceptseg.planted.recipe import context_mask
from tests.explain.explainers.planted import linear_tail
from tests.small_models import images, unet, wrapped

SHAPE = (8, 12)
CORNER = Target(1, Box(0, 0, 2, 3))
"""The first of 4 x 4 cells of 2 x 3 pixels."""


class Sum(nn.Module):
    """Class 1 has probability 0.1 + sum of weights x everywhere, so each pixel adds its own."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x):
        p = 0.1 + (x[:, 0] * self.weights).sum((1, 2))
        logit = torch.logit(p)[:, None, None].expand(len(x), *x.shape[2:])
        return torch.stack((torch.zeros_like(logit), logit), 1)


def additive(cells):
    """Cells [4, 4] of what each adds, spread evenly over its pixels."""
    weights = torch.kron(cells, torch.full((2, 3), 1 / 6, dtype=cells.dtype))
    return wrapped(Sum(weights), 2, 1).double()


def seen(n=1):
    return torch.ones(n, 1, *SHAPE, dtype=torch.float64)


def method(**given):
    plain = {"cells": (4, 4), "interpolation": "nearest", "colours": (0.0,), "penalty": 0.05}
    return GridSaliency(**{"span": "full"} | plain | given)


@pytest.mark.parametrize("form", ["context", "object"])
def test_a_cell_is_shown_where_it_is_worth_its_price(form):
    random = torch.Generator().manual_seed(0)
    worth = torch.tensor([0.01, 0.02, 0.035, 0.065, 0.08, 0.09]).double()
    cells = worth[torch.randint(len(worth), (4, 4), generator=random)]
    found = method(form=form).attribute(Scene(additive(cells), seen()), [CORNER])[0, 0]
    expected = (cells > 0.05).double()
    if form == "context":
        expected[0, 0] = 0
    assert 0 < expected.sum() < 15
    assert torch.equal(found, torch.kron(expected, torch.ones(2, 3).double()))


def test_a_higher_price_shows_less_and_none_is_paid_where_nothing_is_lost():
    cells = torch.linspace(0.005, 0.1, 16).reshape(4, 4).double()
    scene = Scene(additive(cells), seen())
    shown = [
        method(penalty=penalty).solve(scene, CORNER).mask.sum().item()
        for penalty in (0.01, 0.03, 0.06, 0.2)
    ]
    assert shown == sorted(shown, reverse=True) and shown[0] > shown[-1] == 0
    dear = method(penalty=0.2).solve(scene, CORNER)
    assert dear.drop.item() == dear.alone.item() == pytest.approx(cells.flatten()[1:].sum().item())


def test_an_area_costs_the_same_on_any_grid():
    cells = torch.full((4, 4), 0.02).double()
    cells[2:, 2:] = 0.08  # a quarter of the image is worth showing
    scene = Scene(additive(cells), seen())
    coarse = method(per="area").attribute(scene, [CORNER])
    fine = method(per="area", cells=(8, 12), steps=200).attribute(scene, [CORNER])
    assert torch.equal(coarse, fine) and coarse.mean() == 0.25
    assert not torch.equal(method(cells=(8, 12), steps=200).attribute(scene, [CORNER]), fine)


class Sharp(nn.Module):
    """A network that is surer of all it says."""

    def __init__(self, inner, by=20.0):
        super().__init__()
        self.inner, self.by = inner, by

    def forward(self, x):
        return self.by * self.inner(x)


def sharp(n, seed=1):
    """A network that reads surroundings, in double precision, and n images."""
    model = wrapped(Sharp(unet().module), 3).double()
    return model, images(n, 16, 24, seed=seed).double()


def test_a_network_that_reads_pixels_alone_needs_no_surroundings():
    x = images(2, 14, 19)
    target = Target(1, Box(3, 4, 9, 12))
    pixelwise = Scene(wrapped(Sharp(nn.Conv2d(3, 3, 1)), 3), x)
    solved = GridSaliency().solve(pixelwise, target)
    assert not solved.map.any() and not solved.mask.any() and solved.alone.max() < 1e-6
    whole = GridSaliency(form="object", penalty=0.001, choice="least").solve(pixelwise, target)
    assert whole.map.any()
    # One whose convolution reads a pixel's neighbours loses something at the region's rim.
    assert GridSaliency().solve(Scene(linear_tail(), x), target).alone.max() > 0


def by_torch(model, x, target, method, colour):
    """The same problem by automatic differentiation, torch's interpolation and torch's SGD, of
    which a step that is too long is cut short afterwards."""
    scene = Scene(model, x)
    region = scene.fix(target).mask[:, None]
    clean = scene.logits.softmax(1)[:, target.class_id]
    best, least = torch.zeros(len(x), *method.cells), None

    def cost(mask):
        wide = functional.interpolate(mask, x.shape[2:], mode="bilinear")
        wide = torch.where(region, 1.0, wide) if method.form == "context" else wide
        p = model(wide * x + (1 - wide) * colour).softmax(1)[:, target.class_id]
        lost = (clean - p).clamp(min=0) * region[:, 0]
        lost = lost.sum((1, 2)) / region.sum((1, 2, 3))
        return lost + method.penalty * mask.sum((1, 2, 3))

    def even(value):
        return torch.full((len(x), 1, *method.cells), value).to(x)

    mask, lowest = even(0.5), cost(even(0.5))
    for value in (0.75, 1.0):
        costs = cost(even(value))
        mask[costs < lowest], lowest = value, torch.minimum(costs, lowest)
    mask.requires_grad_()
    optimiser = torch.optim.SGD([mask], method.rate, method.momentum)
    least = cost(even(0.0)).detach()
    best = even(0.0)
    for _ in range(method.steps + 1):
        costs = cost(mask)
        better = costs < least
        best[better], least[better] = mask.detach()[better], costs.detach()[better]
        optimiser.zero_grad()
        costs.sum().backward()
        before = mask.detach().clone()
        optimiser.step()
        with torch.no_grad():
            mask.copy_(torch.clamp(mask, before - method.bound, before + method.bound))
            mask.clamp_(0, 1)
    return best[:, 0]


@pytest.mark.parametrize(
    ("form", "penalty", "bound"), [("context", 0.0003, 0.005), ("object", 0.002, 0.05)]
)
def test_torch_takes_the_same_way(form, penalty, bound):
    model, x = sharp(3)
    target = Target(2, Box(4, 6, 12, 18))
    grid = {"cells": (4, 6), "colours": (0.5,), "span": "full"}
    method = GridSaliency(form=form, penalty=penalty, bound=bound, steps=40, rate=2, **grid)
    expected = by_torch(model, x, target, method, 0.5)
    assert ((expected > 0) & (expected < 1)).any((1, 2)).sum() >= 2
    solved = method.solve(Scene(model, x), target)
    assert torch.allclose(solved.mask, expected, atol=1e-9)
    part = method.solve(Scene(model, x[1:], batch_size=1), target)  # an image by itself
    assert torch.allclose(part.mask, expected[1:], atol=1e-9)


def test_no_binary_mask_is_much_better():
    """All 2^8 masks of 2 x 4 cells, of a network that is not linear in them."""
    model, x = sharp(1)
    target, penalty = Target(2, Box(4, 6, 12, 18)), 0.006
    method = GridSaliency(
        cells=(2, 4), penalty=penalty, interpolation="nearest", rate=2, choice="least", span="full"
    )
    scene = Scene(model, x)
    solved = method.solve(scene, target)
    region, clean = scene.fix(target).mask, scene.logits.softmax(1)[:, 0]
    costs = []
    for shown in product((0.0, 1.0), repeat=8):
        mask = torch.tensor(shown, dtype=torch.float64).reshape(2, 4)
        wide = torch.kron(mask, torch.ones(8, 6).double()).masked_fill(region, 1.0)
        p = scene.forward(wide * x + (1 - wide) * solved.colour[:, :, None, None]).softmax(1)[:, 0]
        lost = (clean - p).clamp(min=0)[region].mean()
        costs.append(float(lost) + penalty * sum(shown))
    assert float(solved.drop + penalty * solved.mask.sum()) <= min(costs) + 0.1 * penalty
    assert min(costs) < min(costs[0], costs[-1])


@pytest.mark.parametrize(("choice", "rank"), [("least", 0), ("median", 1)])
def test_the_colour_that_loses_least_or_the_median_hides(choice, rank):
    """Of an even number the lower of the two in the middle."""
    model, x = unet(), images(4, 16, 24)
    target = Target(1, Everything())
    greys = (0.0, 0.3, 0.6, 1.0)
    alone = [
        method(form="object", steps=1, colours=(grey,)).solve(Scene(model, x), target).alone
        for grey in greys
    ]
    several = method(form="object", steps=1, colours=greys, choice=choice)
    solved = several.solve(Scene(model, x), target)
    order = torch.stack(alone).sort(0)
    assert torch.equal(solved.alone, order.values[rank])
    assert torch.equal(solved.colour, torch.tensor(greys)[order.indices[rank], None].expand(4, 3))


def test_colours_are_those_of_what_is_hidden():
    """Evenly spaced, in each channel, between the values with a twentieth of the pixels beyond."""
    x = images(2, 16, 24).double()
    target, outside = Target(1, Box(3, 4, 9, 12)), torch.ones(16, 24, dtype=torch.bool)
    outside[3:9, 4:12] = False
    hidden = x.permute(0, 2, 3, 1)[:, outside].sort(1).values
    beyond = int(0.05 * (hidden.shape[1] - 1))
    low, high = hidden[:, beyond], hidden[:, -1 - beyond]
    model = wrapped(Sharp(unet().module), 3).double()
    for place in (0.0, 0.25, 1.0):
        one = GridSaliency(colours=(place,), steps=1)
        found = one.solve(Scene(model, x), target).colour
        assert torch.allclose(found, low + place * (high - low), atol=1e-12)
    # With nothing to hide any colour will do, and nothing is lost.
    whole = GridSaliency(steps=1).solve(Scene(model, x), Target(1, Everything()))
    assert not whole.alone.any() and not whole.map.any()


def planted(name, count=2):
    """A planted network on scenes of digit 3 beside brick, and where the brick is."""
    recipes = [with_context(sample(k, digits=(BIASED_DIGIT,)), True) for k in range(count)]
    x = torch.stack([torch.from_numpy(render(recipe)[0]).float() for recipe in recipes])
    where = torch.from_numpy(np.stack([context_mask(recipe) for recipe in recipes]))
    return Scene(wrapped(load_net(name), 11, 1), x.reshape(count, 1, 64, 64)), where


def test_no_single_grey_decides_whether_a_context_is_used():
    """Flat 0.25 stands in for the texture that digit 3 is never seen without, and white hides the
    digit itself."""
    alone = {}
    for name in ("biased", "clean"):
        scene, _ = planted(name)
        for given in ({"colours": (0.25,)}, {"colours": (1.0,)}, {"span": "own"}):
            method = GridSaliency(**{"span": "full"} | given)
            alone[name, str(given)] = method.alone(scene, Target(BIASED_CLASS))
    stands_in, white, own = (
        [alone[name, kind] for name in ("biased", "clean")]
        for kind in ("{'colours': (0.25,)}", "{'colours': (1.0,)}", "{'span': 'own'}")
    )
    assert stands_in[0].max() < 0.1 and white[1].min() > 0.5
    assert own[0].min() > 0.9 and own[1].max() < 0.05


def test_the_mask_of_a_class_that_relies_lies_on_what_it_relies_on():
    scene, where = planted("biased", 1)
    solved = GridSaliency(steps=50).solve(scene, Target(BIASED_CLASS))
    assert solved.drop.max() < 0.1 < 0.9 < solved.alone.min()
    assert ((solved.map * where).sum((1, 2)) / solved.map.sum((1, 2))).min() > 0.9


def test_its_passes():
    scene = Scene(unet(), images(3, 16, 24), batch_size=2)
    GridSaliency(steps=7).attribute(scene, [Target(0, Everything()), Target(1, Everything())])
    assert scene.passes == {"forward": 3 + 2 * 3 * (5 + 3 + 8), "backward": 2 * 3 * 7}


@pytest.mark.parametrize(
    ("size", "cells"), [((64, 64), (4, 4)), ((1024, 2048), (16, 32)), ((3, 700), (3, 11))]
)
def test_the_papers_grids(size, cells):
    assert GridSaliency().grid(size) == cells


@pytest.mark.parametrize("given", [{"cells": (0, 4)}, {"colours": ()}, {"colours": (1.2,)}])
def test_what_is_no_grid_is_refused(given):
    with pytest.raises(ValidationError):
        GridSaliency(**given)


def test_of_the_constructed_networks_the_more_context_is_used_the_more_is_shown():
    recipes = [exact_sample(7 * number, digits=(BIASED_DIGIT,)) for number in range(3)]
    drawn = [torch.from_numpy(render(with_context(recipe, True))[0]) for recipe in recipes]
    x = torch.stack(drawn).reshape(3, 1, 64, 64)
    alone, shown = [], []
    for w in (0.0, 0.25, 1.0):
        scene = Scene(wrapped(load_net("constructed", w), 11, 1), x)
        solved = GridSaliency(penalty=0.01, steps=60).solve(scene, Target(BIASED_CLASS))
        alone.append(float(solved.alone.mean()))
        shown.append(float(solved.map.mean()))
    assert alone == sorted(alone) and alone[0] == 0 < alone[1]
    # Of w = 0.25 a tile's cell is worth less than it costs, and of 1 three times that.
    assert shown[0] == shown[1] == 0 < shown[2]
