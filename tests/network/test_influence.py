"""The recommended layer has influence on the logits, whatever network it is of."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.network.influence import first_with_influence, sloping
from conceptseg.network.record import Tail
from tests.small_models import wrapped

SIZE = (1, 3, 32, 48)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sides = ((3, 4, 2), (4, 8, 2), (8, 16, 2), (16, 16, 1))
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in sides)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x = F.leaky_relu(stage(x), 0.1)
            features.append(x)
        return features


class Net(nn.Module):
    """How the deepest map enters the logits is what the networks below differ in."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Conv2d(24, 3, 1)

    def used(self, features: list[Tensor]) -> Tensor:
        return features[3]

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        deep = F.interpolate(self.used(features), features[1].shape[2:])
        return self.head(torch.cat([features[1], deep], 1))


class Unused(Net):
    """The encoder's last map is made and left alone."""

    def used(self, features: list[Tensor]) -> Tensor:
        return features[2]


class LevelUnused(Net):
    """So are all maps of the coarsest level."""

    def used(self, features: list[Tensor]) -> Tensor:
        return features[1].repeat(1, 2, 1, 1)


class Multiplied(Net):
    """Only the last map's product with zero counts."""

    def used(self, features: list[Tensor]) -> Tensor:
        return features[3] * 0 + features[2]


class Compared(Net):
    """No gradient comes through comparisons, but zeros in a layer's place change the logits."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) > 0).float() * 4 - 2


class Folded(Net):
    """Maps are written in place, one region after the other: autograd refuses that gradient, and
    each graph keeps itself."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self.after = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits, folded = super().forward(x), x.new_zeros((3, *x.shape[-2:]))
        for _ in range(2):
            folded[1] = torch.maximum(folded[1], F.interpolate(logits, x.shape[-2:])[0, 1])
        self.passes += folded.requires_grad
        return self.after(folded[None])


class Deaf(Net):
    """Its logits are the same for every image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0 + 2


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        (Net, "encoder.stages.3"),
        (Unused, "encoder.stages.2"),
        (LevelUnused, "encoder.stages.1"),
        (Multiplied, "encoder.stages.2"),
        (Compared, "encoder.stages.3"),
    ],
)
def test_the_recommended_layer_acts(kind, layer):
    model = wrapped(kind())
    images = torch.rand(SIZE)
    assert [info.name for info in model.layers(images) if info.recommended] == [layer]
    for name in (layer, model.layer_name("auto", images)):
        tail = Tail.of(model, images, name)
        assert not torch.equal(tail.resume(torch.zeros_like(tail.activation)), tail.logits)


def test_none_where_none_acts():
    model = wrapped(Deaf())
    images = torch.rand(SIZE)
    assert not any(info.recommended for info in model.layers(images))
    with pytest.raises(InputError, match=r"no layer of model 'small' has influence.*32 x 48"):
        model.layer_name("auto", images)
    assert first_with_influence(model, images, []) is None


def test_all_layers_but_the_first_are_asked_by_one_pass():
    model, passes = wrapped(Deaf()), []
    images = torch.rand(SIZE)
    names = [f"encoder.stages.{n}" for n in range(4)]
    model.settle(images)
    model.module.register_forward_hook(lambda *given: passes.append(1))
    assert first_with_influence(model, images, names) is None
    # The gradient of the first, those of the others together, and two passes to erase each.
    assert len(passes) == 2 + 2 * len(names)


def test_a_layer_that_is_silent_on_one_image_may_act_on_others():
    net, silent = Net(), ["encoder.stages.3"]
    with torch.no_grad():
        net.encoder.stages[3].weight.zero_()
        net.encoder.stages[3].bias.zero_()
    assert sloping(wrapped(net), torch.rand(SIZE), silent) == set(silent)


def test_nothing_is_left_behind():
    model = wrapped(Multiplied())
    model.layers(torch.rand(SIZE))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_of_a_gradient_that_fails_the_layers_behind_it_are_asked_and_one_before():
    net, images = Folded(), torch.rand(SIZE)
    model, names = wrapped(net), [f"encoder.stages.{n}" for n in range(4)]
    model.settle(images)
    net.passes = 0
    assert sloping(model, images, [*names, "head"]) == set()
    assert net.passes == 2  # all at once, and the last: those before it fail as well
    other = wrapped(type(net)())
    other.settle(images)
    other.module.passes = 0
    assert sloping(other, images, ["after", "head", *names]) == {"after"}
    assert other.module.passes == 2  # all at once, and the head; the last has nothing before it
    for _ in range(2):  # what is known is not asked again
        assert sloping(model, images, [*names, "head", "after"]) == {"after"}
        assert sloping(model, images, ["head"]) == set()
        assert first_with_influence(model, images, ["head", *names]) == "head"
    assert net.passes == 2
