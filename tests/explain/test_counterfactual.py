"""The search for the smallest edit, against projections, exhaustive search and bounds."""

from itertools import product

import pytest
import torch
from torch import nn

from conceptseg.explain.counterfactual import Flip, Guard, random_edits, search
from conceptseg.explain.generate import Code, Group, Subject
from conceptseg.explain.generators.pca import Pca
from conceptseg.explain.noise import generator
from conceptseg.explain.scene import Scene
from tests.small_models import wrapped

H, W = 6, 7


class Even(nn.Module):
    """Two logits, the same at each pixel: 0 and w . x + b."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(torch.tensor(bias))

    def forward(self, x):
        z = (x * self.weight).sum((1, 2, 3)) + self.bias
        z = z[:, None, None].expand(-1, H, W)
        return torch.stack((torch.zeros_like(z), z), 1)


def linear(bias):
    weight = torch.randn(1, H, W, generator=generator("weights"))
    return wrapped(Even(weight, bias), 2, 1), weight


def setting(seed):
    images = [
        0.5 + 0.1 * (torch.rand(1, H, W, generator=generator("images", i, seed)) - 0.5)
        for i in range(12)
    ]
    own = Pca(components=6, reach=40.0)
    subject = Subject(images[0][None], {"all": torch.ones(H, W, dtype=torch.bool)})
    return images[0][None], own.encode(subject, own.fit(images, 0))


@pytest.mark.parametrize("seed", range(4))
def test_of_a_linear_network_it_is_the_projection(seed):
    """Nearest point of the hyperplane of even scores: -z a / |a|^2, a_k the slope along k."""
    image, code = setting(seed)
    net, weight = linear(0.0)
    z = float((image * weight).sum())
    net.module.bias.data.fill_(0.4 - z)  # now the score is 0.4, whatever the image is
    clean = torch.ones(H, W, dtype=torch.int64)
    flip = Flip(1, 0, torch.ones(H, W, dtype=torch.bool), clean)
    (edit,) = search(Scene(net, image), code, flip, [code.groups], 30, beyond=0.001)
    slope = code.scale * (code.vectors @ weight.flatten())
    exact = -0.4 * slope / slope.square().sum()
    print("largest deviation", float((edit.theta - exact).abs().max() / exact.abs().max()))
    assert edit.flipped
    torch.testing.assert_close(edit.theta, exact, rtol=0.01, atol=1e-6)
    assert edit.theta.norm() >= exact.norm() * 0.999  # it has to flip, so it cannot be shorter


def test_bounds_are_kept_and_what_cannot_flip_is_not_said_to():
    image, code = setting(0)
    net, weight = linear(0.0)
    z = float((image * weight).sum())
    slope = code.scale * (code.vectors @ weight.flatten())
    most = float(slope.abs().sum())  # what all bounds together allow
    clean, whole = torch.ones(H, W, dtype=torch.int64), torch.ones(H, W, dtype=torch.bool)
    for share, flips in ((0.9, True), (1.1, False)):
        code.render = lambda t: image + ((t * code.scale) @ code.vectors).view(-1, 1, H, W)
        net.module.bias.data.fill_(share * most - z)
        (edit,) = search(Scene(net, image), code, Flip(1, 0, whole, clean), [code.groups], 60)
        assert edit.flipped == flips
        assert (edit.theta <= code.high).all() and (edit.theta >= code.low).all()


def test_what_stands_at_its_bounds_is_not_looked_at_again():
    """Neither what cannot flip nor what any other group does costs more for more steps."""
    image, code = setting(0)
    net, weight = linear(0.0)
    z = float((image * weight).sum())
    most = float((code.scale * (code.vectors @ weight.flatten())).abs().sum())
    clean, whole = torch.ones(H, W, dtype=torch.int64), torch.ones(H, W, dtype=torch.bool)
    code.render = lambda t: image + ((t * code.scale) @ code.vectors).view(-1, 1, H, W)
    net.module.bias.data.fill_(1.1 * most - z)
    found = []
    for steps in (60, 600):
        scene = Scene(net, image)
        (edit,) = search(scene, code, Flip(1, 0, whole, clean), [code.groups], steps)
        found.append((scene.passes["backward"], edit.theta.tolist(), edit.margin))
    assert found[0] == found[1] and found[0][0] < 60


class Bowl(nn.Module):
    """Two logits, the same at each pixel: 0 and 1 + (mean - 0.6)^2, which is nowhere below 1."""

    def forward(self, x):
        z = 1 + (x.mean((1, 2, 3)) - 0.6).square()
        z = z[:, None, None].expand(-1, H, W)
        return torch.stack((torch.zeros_like(z), z), 1)


class Brightness(Code):
    """One parameter that is added to all pixels."""

    groups = (Group("all", "brightness", (0,)),)
    low, high = -torch.ones(1), torch.ones(1)

    def render(self, theta):
        return 0.5 + theta[:, :, None, None].expand(-1, 1, H, W)

    def describe(self, theta, group):
        return "brighter"


def test_what_goes_round_is_not_looked_at_again():
    """To either side of the least margin by the longest step, and back."""
    clean, whole = torch.ones(H, W, dtype=torch.int64), torch.ones(H, W, dtype=torch.bool)
    found = []
    for steps in (20, 200):
        scene = Scene(wrapped(Bowl(), 2, 1), torch.full((1, 1, H, W), 0.5))
        code = Brightness()
        (edit,) = search(scene, code, Flip(1, 0, whole, clean), [code.groups], steps)
        found.append((scene.passes["backward"], edit.theta.tolist(), edit.margin))
    assert found[0] == found[1] and found[0][0] < 5


class Switches(Code):
    """Three groups of choices that add numbers to all pixels."""

    sums = ((0.1, 0.2), (0.15,), (0.3, -0.4, 0.05))

    def __init__(self):
        self.groups = tuple(Group("all", f"g{i}", (i,)) for i in range(3))
        self.low, self.high = torch.zeros(3), torch.ones(3)

    def choices(self, group):
        (i,) = group.slots
        found = torch.zeros(len(self.sums[i]), 3)
        found[:, i] = torch.arange(1, len(self.sums[i]) + 1) / len(self.sums[i])
        return found

    def render(self, theta):
        total = torch.zeros(len(theta))
        for i, own in enumerate(self.sums):
            at = (theta[:, i] * len(own)).round().long()
            total = total + torch.tensor((0.0, *own))[at]
        return 0.4 + total[:, None, None, None].expand(-1, 1, H, W)

    def describe(self, theta, group):
        return "other"


def test_choices_are_all_tried_alone_and_together():
    net = wrapped(Even(-torch.ones(1, H, W) / (H * W), 0.8), 2, 1)
    clean, whole = torch.ones(H, W, dtype=torch.int64), torch.ones(H, W, dtype=torch.bool)
    code, flip = Switches(), Flip(1, 0, whole, clean)
    sets = [[code.groups[i]] for i in range(3)] + [[code.groups[0], code.groups[2]]]
    found = search(Scene(net, torch.full((1, 1, H, W), 0.4)), code, flip, sets, 5)
    for groups, edit in zip(sets, found, strict=True):
        own = [code.sums[group.slots[0]] for group in groups]
        best = max(sum(parts) for parts in product(*own))
        assert edit.margin == pytest.approx(0.4 - best, abs=1e-6)
        assert edit.flipped == (best > 0.4)


def test_an_object_that_was_moved_is_not_taken_for_gone():
    region = torch.zeros(1, 12, dtype=torch.bool)
    region[0, 2:6] = True
    clean = region.long()
    flip, gone = Flip(1, 2, region, clean), Flip(1, None, region, clean)

    def logits(classes):
        return nn.functional.one_hot(torch.tensor([[classes]]), 3).permute(0, 3, 1, 2).float()

    moved = logits([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0])
    other = logits([0, 0, 2, 2, 2, 1, 0, 0, 0, 0, 0, 0])
    elsewhere = logits([0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 0, 0])
    nothing = logits([0] * 12)
    assert [bool(flip.happened(one)) for one in (moved, other, elsewhere, nothing)] == [
        *(False, True, False, False)
    ]
    assert [bool(gone.happened(one)) for one in (moved, nothing)] == [False, True]


def test_random_edits_are_as_large_and_guards_see_noise():
    image, code = setting(1)
    net, weight = linear(0.0)
    z = float((image * weight).sum())
    net.module.bias.data.fill_(0.4 - z)
    clean, whole = torch.ones(H, W, dtype=torch.int64), torch.ones(H, W, dtype=torch.bool)
    flip, scene = Flip(1, 0, whole, clean), Scene(net, image)
    (edit,) = search(scene, code, flip, [code.groups], 30)
    others = random_edits(code, edit, 6, "a")
    assert code.distance(others).tolist() == pytest.approx([edit.size] * 6, rel=1e-4)
    assert len({tuple(row.tolist()) for row in others}) == 6
    assert edit.margin == pytest.approx(-0.05, abs=0.002)
    edit = search(scene, code, flip, [code.groups], 30, beyond=0.0)[0]
    on_the_edge = code.render(edit.theta[None])
    _, held = Guard(200, 0.05, 0.8, "b").tried(scene, flip, on_the_edge)
    assert 0.2 < held.item() < 0.8  # a linear score at its edge falls to either side as often
    beyond = code.render(6 * edit.theta[None])
    both = Guard(50, 0.002, 1.0, "b").passed(scene, flip, torch.cat((on_the_edge, beyond)))
    assert both.tolist() == [False, True]
    guard = Guard(20, 0.02, 0.9, "c")
    (held,) = search(scene, code, flip, [code.groups], 30, beyond=0.001, guard=guard)
    assert guard.passed(scene, flip, code.render(held.theta[None])).item()
    assert held.flipped and held.theta.norm() > edit.theta.norm()
