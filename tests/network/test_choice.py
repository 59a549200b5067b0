"""`auto` takes the deepest layer that carries the decision: by construction, and when trained."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conceptseg.config import Reading
from conceptseg.network import choice as choosing
from conceptseg.network.candidates import Candidate, candidates
from conceptseg.network.choice import AT_MOST, chosen, ranked, with_worth
from conceptseg.network.layers import products, watch
from conceptseg.network.model import SegmentationModel
from tests.small_models import LOGITS, wrapped


def blocks(n: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    """Images [n, 1, side, side] of random values, constant on 8 x 8 px: each grid can hold them."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(n, 1, side // 8, side // 8, generator=generator)
    return F.interpolate(cells, scale_factor=8.0)


def copying(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that hands on the mean of its inputs in every channel."""
    layer = nn.Conv2d(inputs, outputs, stride, stride, bias=False)
    nn.init.constant_(layer.weight, 1 / (inputs * stride**2))
    return layer


class Shared(nn.Module):
    """z comes from the coarsest grid by a share, from the finest by the rest."""

    def __init__(self, deep: float):
        super().__init__()
        self.fine, self.mid, self.deep = copying(1, 4), copying(4, 8, 2), copying(8, 16, 4)
        self.up, self.last = copying(16, 4), copying(8, 6)
        self.head = copying(6, 2)
        self.share = deep

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x - 0.5)
        deep = self.up(self.deep(self.mid(fine)))
        deep = F.interpolate(deep, x.shape[2:])
        z = self.head(self.last(torch.cat([self.share * deep, (1 - self.share) * fine], 1)))
        return torch.cat([z[:, :1], -z[:, 1:]], 1)


@pytest.mark.parametrize(("share", "layer"), [(1.0, "deep"), (0.7, "last"), (0.0, "last")])
def test_it_is_where_the_decision_passes(share, layer):
    """The deep grid's if all crosses it; not if the skip says the same, or without influence."""
    model = wrapped(Shared(share), 2, 1)
    choice = chosen(model, blocks())
    assert model.layer_name("auto", blocks()) == choice.layer == layer
    assert choice.share(layer) >= 0.9
    assert (choice.share("deep") or 0.0) >= 0.9 or share < 1
    assert (choice.worth("deep") is None) == (share == 0)


class Scaled(nn.Module):
    def __init__(self, scale: float, offset: float = 0.0):
        super().__init__()
        self.body, self.scale, self.offset = Shared(0.7), scale, offset

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.scale * self.body(x - self.offset))


@pytest.mark.parametrize("by", ["prediction", "logits"])
def test_logits_may_be_as_large_as_numbers_get(by):
    """Their squares may not: of 1e20 they are none that single precision holds."""
    offset = 0.0 if by == "prediction" else 1e3  # one class everywhere
    found = []
    for scale in (1.0, 1e20, 1e34):
        choice = chosen(wrapped(Scaled(scale, offset), 2, 1), blocks())
        assert choice.by == by
        rest = [n for n in choice.weighed if n != choice.layer]
        found.append((choice.layer, choice.runner_up, [choice.share(n) for n in sorted(rest)]))
    for other in found[1:]:
        assert other[:2] == found[0][:2]
        assert other[2] == pytest.approx(found[0][2], rel=1e-4)


class Beside(nn.Module):
    """z comes from the coarsest grid and from the image as it is: the head takes both."""

    def __init__(self) -> None:
        super().__init__()
        self.grey, self.fine = copying(1, 1), copying(1, 4)
        self.deep = nn.Sequential(copying(4, 8, 2), nn.ReLU(), copying(8, 16, 4))
        self.head = copying(20, 2)
        with torch.no_grad():
            self.head.weight[1] *= -1
            self.head.weight[:, :16] /= 4  # four times the channels: each of both has half a say

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(self.grey(x - 0.5))
        deep = F.interpolate(self.deep(fine), x.shape[2:])
        return torch.as_tensor(self.head(torch.cat([deep, fine], 1)))


def test_what_is_the_image_still_is_not_taken_though_all_passes_it():
    """Nor is a single channel; that the layer which is taken does not carry all is known."""
    model = wrapped(Beside(), 2, 1)
    choice = chosen(model, blocks(8))
    assert choice.layer == choice.best == "deep"
    assert choice.worth("grey") is choice.worth("fine") is None
    assert choice.worth("deep") < 0.9 * choice.whole and not choice.carried


class Two(nn.Module):
    """Networks in a row; what the first finds is a hint that the second heeds by a share."""

    def __init__(self, hint: float):
        super().__init__()
        self.first, self.second = Shared(1.0), Shared(1.0)
        self.hint = hint

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = self.first(x)
        return early, self.second(self.hint * early[:, :1] + (1 - self.hint) * x)


@pytest.mark.parametrize("hint", [0.1, 1.0])
def test_of_a_cascade_it_is_in_the_last_network(hint):
    reading = Reading(values="logits", output="last")
    model = SegmentationModel(Two(hint), ("a", "b"), channels=1, reading=reading)
    choice = chosen(model, blocks(4))
    assert choice.layer == "second.deep"
    assert {"first.deep", "first.last"} & set(choice.weighed)


class Scores(nn.Module):
    """The encoder ends in class scores, that a decoder refines."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(copying(1, 12, 2), copying(12, 24, 4), copying(24, 5))
        self.refine = nn.Sequential(copying(5, 10), copying(10, 5))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.encoder(x - 0.5) * torch.tensor([1.0, -1, 2, -2, 0])[:, None, None]
        scores = F.interpolate(scores, x.shape[2:])
        return scores + 0 * self.refine(scores)


def test_class_scores_are_passed_over():
    choice = chosen(wrapped(Scores(), 5, 1), blocks())
    assert choice.layer == "encoder.1"
    assert "encoder.2" not in choice.weighed and "encoder" not in choice.weighed


class Pyramid(nn.Module):
    """A block with side branches on coarser grids, as light as such are."""

    def __init__(self, width: int):
        super().__init__()
        self.near = nn.Conv2d(width, width, 3, 1, 1)
        self.far = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        far = F.interpolate(self.far(F.avg_pool2d(x, 2)), x.shape[2:])
        return F.prelu(self.near(x) + far.mean(1, keepdim=True), torch.tensor([0.2]))


class Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, 2, 1)
        self.body = nn.Sequential(*(Pyramid(12) for _ in range(3)))
        self.head = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.head(self.body(self.stem(x))), x.shape[2:])


class Dilated(nn.Module):
    """No pooling at all; the stem is as wide as any."""

    def __init__(self, wide: int = 16, narrow: int = 12):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, wide, 3, 1, 1), nn.ReLU())
        sides = [wide, narrow, narrow, narrow]
        self.body = nn.Sequential(
            *(
                nn.Conv2d(a, b, 3, 1, 2**i, 2**i)
                for i, (a, b) in enumerate(zip(sides, sides[1:], strict=False))
            )
        )
        self.head = nn.Conv2d(narrow, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


@pytest.mark.parametrize(("build", "layer"), [(Branched, "body"), (Dilated, "body")])
def test_bodies_are_taken_not_side_branches_or_stems(build, layer):
    torch.manual_seed(3)
    model = wrapped(build(), 3, 1)
    choice = chosen(model, torch.rand(3, 1, 32, 32))
    assert choice.layer == layer
    assert not any("far" in name for name in choice.weighed)


class Certain(Dilated):
    """One class wins everywhere, whatever is erased."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.tensor([50.0, 0, 0])[:, None, None]


def test_where_one_class_always_wins_the_logits_decide():
    torch.manual_seed(0)
    choice = chosen(wrapped(Certain(), 3, 1), torch.rand(2, 1, 32, 32))
    assert choice.by == "logits" and choice.layer == "body"
    assert choice.weighed["body"].without.prediction == 0 < choice.worth("body")


class Deaf(Dilated):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * super().forward(x) + 1


class Spoilt(Dilated):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0


@pytest.mark.parametrize("build", [Deaf, Spoilt])
def test_none_is_chosen_where_nothing_can_be_measured(build):
    assert chosen(wrapped(build(), 3, 1), torch.rand(2, 1, 32, 32)) is None


def test_it_is_chosen_once_until_weights_change():
    model, images = wrapped(Shared(1.0), 2, 1), blocks()
    first = chosen(model, images)
    assert chosen(model, blocks(seed=1)) is first, "not again for other images of the size"
    with torch.no_grad():
        model.module.up.weight.zero_()
    assert chosen(model, images) is not first


def test_few_passes_and_any_layer_besides():
    model, images = wrapped(Shared(0.5), 2, 1), blocks(6)
    choice = chosen(model, images, batch_size=3)
    assert choice.images == 6 and choice.told
    # As they are, each without, all and all coarser ones without; by exchange three at most.
    assert choice.passed <= 3 + 6 * (1 + len(choice.weighed) + 2 + 2 * 3)
    more = chosen(model, images, layer="head")
    assert "head" in more.weighed and more.layer == choice.layer and more.passed > choice.passed
    infos = with_worth(model.layers(images), more)
    assert [info.name for info in infos if info.recommended] == [choice.layer]
    assert {info.name for info in infos if info.worth is not None} == set(more.weighed)


def test_candidates_are_few():
    net = nn.Sequential(*(nn.Conv2d(1 if i == 0 else 4, 4, 3, 1, 1) for i in range(40)))
    model = wrapped(nn.Sequential(net, nn.Conv2d(4, 3, 1)), 3, 1)
    choice = chosen(model, torch.rand(1, 1, 16, 16))
    assert len(choice.weighed) <= AT_MOST


def test_a_network_of_one_width_has_candidates():
    """As many channels as classes everywhere: then only the last are class scores."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, 1, 1), nn.ReLU(), nn.Conv2d(3, 3, 3, 1, 1), nn.ReLU())
    model = SegmentationModel(net, ("a", "b", "c"), channels=1, reading=LOGITS)
    seen, sizes = watch(model, torch.rand(1, 1, 16, 16))
    assert [one.name for one in candidates(seen, sizes, 3)] == ["0"]


def test_ranks():
    found = [
        Candidate(name, level, visit, 0, (4, 8, 8))
        for visit, (name, level) in enumerate((("e", 0), ("m", 1), ("b", 3), ("d", 1), ("f", 0)))
    ]
    worth = {"e": 1.0, "m": 0.92, "b": 0.4, "d": 0.93, "f": 0.99}
    assert ranked(found, worth) == ["d", "m", "f", "e", "b"]
    assert ranked(found, {**worth, "b": 0.91})[0] == "b"


def test_of_a_dear_network_fewer_layers_are_weighed_on_fewer_images(monkeypatch):
    model, images = wrapped(Shared(0.5), 2, 1), blocks(6)
    seen, sizes = watch(model, images)
    convolutions = [one for one in seen.values() if isinstance(one.module, nn.Conv2d)]
    passed = sum(
        one.module.weight.numel() * one.shape[1] * one.shape[2] for one in convolutions if one.shape
    )
    assert passed <= products(seen, sizes) <= 1.1 * passed, "weights and biases"
    first = chosen(model, images)
    monkeypatch.setattr(choosing, "LIGHT", passed / 2)
    monkeypatch.setattr(choosing, "ROOM", 7 * passed)
    with torch.no_grad():
        model.module.up.weight.mul_(1)
    middling = chosen(model, images)
    assert middling.images == 4 and middling.passed < first.passed, "neither eight nor doubled"
    monkeypatch.setattr(choosing, "DEAR", passed)
    with torch.no_grad():
        model.module.up.weight.mul_(1)  # another state of its weights: chosen anew
    dear = chosen(model, images)
    assert (dear.images, first.images) == (2, 6) and dear.layer == first.layer
    assert len(dear.weighed) <= AT_MOST // 2 + 1 and dear.passed < middling.passed
