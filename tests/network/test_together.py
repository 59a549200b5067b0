"""The layers that carry a decision together: planted skips, constants, copies, two in a row."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conceptseg.network.candidates import Candidate
from conceptseg.network.choice import chosen
from conceptseg.network.levels import Levels
from conceptseg.network.together import together
from tests.network.nets.skips import Skips, scenes
from tests.small_models import seeded, wrapped


@pytest.mark.parametrize("noise", [1.0, 0.0])
def test_a_decision_that_no_layer_carries_is_carried_by_two(noise):
    """A is read on the fine level alone, B on the coarse one alone: each misses the other."""
    model, (images, labels) = wrapped(Skips(), 3), scenes(4, noise)
    assert torch.equal(model(images).argmax(1), labels)
    choice = chosen(model, images)
    assert choice.levels == ("fine", "deep") and not choice.carried
    own = {name: choice.worth(name) for name in ("fine", "deep")}
    # Without both only the background is predicted: all is lost, which is 1 - its share / 3 IoU.
    background = float((labels == 0).float().mean())
    assert choice.worth("fine + deep") == choice.whole == pytest.approx(1)
    for name, lost in own.items():
        kept = 2 if name == "fine" else 1
        gone = float((labels == 3 - kept).float().mean())
        left = (background / (background + gone) + 1) / 3
        assert lost == pytest.approx((1 - left) / (1 - background / 3), abs=1e-6), name
        assert choice.share(name) < 0.9
    assert choice.recorded()["levels"] == ["fine", "deep"]
    assert [row["layer"] for row in choice.recorded()["layers"]][-1] == "fine + deep"


def test_a_constant_level_adds_nothing():
    """The coarse level is the same for all images: the fine one is taken, as by `layer: auto`."""
    model, (images, _) = wrapped(Skips(deep=0.0), 3), scenes(4)
    choice = chosen(model, images)
    assert choice.levels == (choice.layer,) == ("fine",) and choice.carried


class Chain(nn.Module):
    """A serial network: the last layer before the scores carries all."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.head(self.two(self.one(x).relu()).relu()), x.shape[2:])


def test_one_that_carries_it_alone_is_taken():
    model, (images, _) = wrapped(seeded(Chain), 3), scenes(4)
    choice = chosen(model, images)
    assert choice.levels == (choice.layer,) == ("two",)


def test_named_layers_are_weighed_together():
    model, (images, _) = wrapped(Skips(), 3), scenes(4)
    chosen(model, images)
    choice = chosen(model, images, layer=Levels(("deep", "fine")))
    assert choice.worth("deep + fine") == choice.worth("fine + deep")
    assert choice.weighed["deep + fine"].shape == (8, 32, 32)


def layers(**levels: int) -> list[Candidate]:
    return [Candidate(n, level, i, 0, (8, 4, 4)) for i, (n, level) in enumerate(levels.items())]


def lost_by(parts: dict[str, float]):
    return lambda names: sum(parts[name] for name in names)


@pytest.mark.parametrize(
    ("parts", "layer", "taken"),
    [
        # Of equal gains the coarsest; one that is not needed in the end leaves.
        ({"a": 0.3, "b": 0.3, "c": 0.3}, "c", ("a", "b", "c")),
        ({"a": 0.05, "b": 0.5, "c": 0.45}, "b", ("b", "c")),
        ({"a": 0.0, "b": 0.0, "c": 0.95}, "c", ("c",)),
    ],
)
def test_the_fewest_that_reach_the_bar(parts, layer, taken):
    found = layers(a=0, b=1, c=2)
    whole = sum(parts.values())
    assert together(found, layer, 0.9 * whole, lost_by(parts), lambda _: True) == taken


def test_coarser_grids_come_before_the_finest():
    """The finest carries it alone, and so do two coarser ones together: these say more."""

    def lost(names: tuple[str, ...]) -> float:
        return 1.0 if "a" in names else 0.5 * len(names)

    found = layers(a=0, b=1, c=2)
    assert together(found, "a", 0.9, lost, lambda _: True) == ("b", "c")
    assert together(found, "a", 0.9, lost, lambda names: "a" in names) == ("a",)


def test_what_is_not_needed_leaves():
    """b adds most at first, but c and d say all that it says."""
    worth = {"b": 0.5, "c": 0.45, "d": 0.45, "bc": 0.55, "bd": 0.55, "cd": 1.0, "bcd": 1.0}
    found = layers(a=0, b=1, c=1, d=1)

    def lost(names: tuple[str, ...]) -> float:
        return 0.0 if not names else 1.0 if "a" in names else worth["".join(sorted(names))]

    assert together(found, "a", 0.9, lost, lambda _: True) == ("c", "d")


def test_a_layer_within_another_does_not_enter_beside_it():
    found = layers(**{"a.b": 2, "a": 1, "c": 1, "top": 0})
    parts = {"a.b": 0.3, "a": 0.6, "c": 0.4, "top": 1.0}
    taken = together(found, "top", 0.9, lost_by(parts), lambda _: True)
    assert taken == ("a", "c")
