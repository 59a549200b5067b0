"""Several layers as one map: there and back, edited all at once, against hooks set by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.network.levels import Levels, balanced
from conceptseg.network.record import Recorder, Tail, encode
from conceptseg.network.worth import levels_of
from tests.small_models import UNet, hooks, images, seeded, wrapped

SKIPS = ("enc1", "enc2", "mid")


def maps(*grids: tuple[int, int]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"l{i}": torch.randn(2, i + 1, *grid, generator=generator) for i, grid in enumerate(grids)
    }


@pytest.mark.parametrize("grids", [[(8, 8), (4, 2)], [(3, 5), (7, 11)], [(6, 2), (3, 9), (1, 1)]])
def test_each_cell_takes_the_one_that_its_centre_lies_in(grids):
    """Cell by cell, by loops; and back again, whatever the grids."""
    own = maps(*grids)
    levels = Levels(tuple(own), tuple(1.0 + i for i in range(len(own))))
    joint = levels.joined(own)
    rows, columns = (max(sizes) for sizes in zip(*grids, strict=True))
    assert joint.shape == (2, sum(m.shape[1] for m in own.values()), rows, columns)
    start = 0
    for place, found in enumerate(own.values()):
        for i, j in np.ndindex(rows, columns):
            y = int((i + 0.5) / rows * found.shape[2])
            x = int((j + 0.5) / columns * found.shape[3])
            part = joint[:, start : start + found.shape[1], i, j]
            torch.testing.assert_close(part, (1.0 + place) * found[:, :, y, x])
        start += found.shape[1]
    back = levels.parted(joint, {name: found.shape for name, found in own.items()})
    for name, found in own.items():
        torch.testing.assert_close(back[name], found)


def test_a_cell_becomes_the_mean_of_those_it_covers():
    levels, own = Levels(("l0", "l1")), maps((4, 4), (2, 2))
    joint = levels.joined(own)
    joint[:, 1:, 0, 1] += 4.0  # one of the four cells in the coarser one's first
    back = levels.parted(joint, {name: found.shape for name, found in own.items()})
    torch.testing.assert_close(back["l0"], own["l0"])
    moved = back["l1"] - own["l1"]
    torch.testing.assert_close(moved[:, :, 0, 0], torch.ones(2, 2))
    assert moved.abs().sum() == moved[:, :, 0, 0].abs().sum()


def test_one_layer_is_itself():
    own = maps((4, 4))
    assert Levels(("l0",)).joined(own) is own["l0"]
    assert str(Levels.of("l0")) == "l0" and str(Levels(("a", "b"))) == "a + b"
    assert Levels(("l0",)).unit_names([3]) == (0, 1, 2)
    assert Levels(("a", "b")).unit_names([2, 1]) == ("a:0", "a:1", "b:0")


def test_each_has_an_equal_part_of_the_variance():
    generator = torch.Generator().manual_seed(0)
    own = {"a": torch.randn(4, 3, 8, 8, generator=generator), "b": torch.zeros(4, 50, 2, 2)}
    own["b"] += 7 + 100 * torch.randn(4, 50, 2, 2, generator=generator)
    variances = [float(m.double().var((0, 2, 3), correction=0).sum()) for m in own.values()]
    joint = balanced(tuple(own), variances).joined(own).double().var((0, 2, 3), correction=0)
    np.testing.assert_allclose(joint[:3].sum(), joint[3:].sum(), rtol=1e-5)
    np.testing.assert_allclose(joint.sum(), np.mean(variances), rtol=1e-5)
    assert balanced(("a", "b"), (2.0, 2.0)).factors == (0.5**0.5, 0.5**0.5)
    assert balanced(("a",), (9.0,)).factors == ()
    with pytest.raises(InputError, match="'b' is the same at all positions"):
        balanced(("a", "b"), (1.0, 0.0))


@pytest.mark.parametrize(
    "names", [SKIPS, ("mid", "enc2", "enc1"), ("enc2", "dec1"), ("up2", "mid")]
)
@pytest.mark.parametrize("factors", [(), (0.5, 3.0, 0.1)])
def test_edits_reach_all_levels_at_once(names, factors):
    """Against hooks that set each level to the same: skips, in-place writing, levels in a row."""
    model, batch = wrapped(seeded(UNet)), images(2)
    levels = Levels(names, factors[: len(names)])
    tail = Tail.of(model, batch, levels)
    torch.testing.assert_close(tail.logits, model(batch))
    torch.testing.assert_close(tail.resume(tail.activation), tail.logits)
    torch.testing.assert_close(encode(model, batch, levels), tail.activation)
    edited = 0.5 * tail.activation + 0.3
    with torch.no_grad(), Recorder(model, names) as recorder:
        recorder(batch)
    parts = dict(zip(names, levels.factors or [1.0] * len(names), strict=True))
    by_hand = {
        name: lambda _, m=recorder.activations[name], f=factor: 0.5 * m + 0.3 / f
        for name, factor in parts.items()
    }
    with torch.no_grad(), Recorder(model, [], edit=by_hand) as recorder:
        wanted = recorder(batch)
    torch.testing.assert_close(tail.resume(edited), wanted)
    variants = torch.stack([tail.activation, edited], 1).flatten(0, 1)
    both = tail.resume(variants).unflatten(0, (2, 2))
    torch.testing.assert_close(both[:, 0], tail.logits)
    torch.testing.assert_close(both[:, 1], wanted)
    assert hooks(model) == 0


def test_the_gradient_is_that_of_all_levels():
    """Against leaves that hooks put in each level's place: a cell has a part of its owner's."""
    model, batch = wrapped(seeded(UNet)), images(2)
    factors = dict(zip(SKIPS, (2.0, 0.5, 1.0), strict=True))

    def score(logits: Tensor) -> Tensor:
        return logits[:, 1].square().mean((1, 2))

    tail = Tail.of(model, batch, Levels(SKIPS, tuple(factors.values())), graph=True)
    with torch.no_grad(), Recorder(model, SKIPS) as recorder:
        recorder(batch)
    leaves = {n: recorder.activations[n].clone().requires_grad_() for n in SKIPS}
    edits = {name: lambda _, leaf=leaf: leaf for name, leaf in leaves.items()}
    with torch.enable_grad(), Recorder(model, [], edit=edits) as recorder:
        total = score(recorder(batch)).sum()
    own = torch.autograd.grad(total, list(leaves.values()))
    size = tail.activation.shape[2]
    wanted = []
    for (name, factor), gradient in zip(factors.items(), own, strict=True):
        step = size // gradient.shape[2]
        each = gradient.repeat_interleave(step, 2).repeat_interleave(step, 3)
        wanted.append(each / step**2 / factor)
        assert gradient.abs().sum() > 0, name
    torch.testing.assert_close(tail.gradient(score), torch.cat(wanted, 1))


class Shared(nn.Module):
    """One module that runs three times, the last time within another."""

    def __init__(self):
        super().__init__()
        self.block = nn.Conv2d(3, 3, 1)
        self.last = nn.Sequential(self.block, nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(x) + self.block(x).tanh())


def test_calls_of_one_module_are_levels():
    model, batch = wrapped(seeded(Shared)), images(2)
    for names in (("block", "block#1"), ("block#2", "block")):
        tail = Tail.of(model, batch, Levels(names))
        torch.testing.assert_close(tail.resume(tail.activation), tail.logits)
        changed = tail.activation.clone()
        changed[:, :3] = 0
        with torch.no_grad(), Recorder(model, [], edit={names[0]: torch.zeros_like}) as recorder:
            wanted = recorder(batch)
        if names[0] == "block":  # else what follows the second would follow the first's edit
            torch.testing.assert_close(tail.resume(changed), wanted)
    with pytest.raises(InputError, match="'block#2' runs within 'last'"):
        Tail.of(model, batch, Levels(("block#2", "last")))
    with pytest.raises(InputError, match=r"'block#3'.*did not run"):
        Tail.of(model, batch, Levels(("block", "block#3")))
    assert hooks(model) == 0


def test_levels_that_cannot_be_read_are_refused():
    model, batch = wrapped(seeded(UNet)), images(2)
    with pytest.raises(InputError, match="'enc1' is named twice"):
        levels_of(model, batch, ("enc1", "mid", "enc1"), 2)
    with pytest.raises(InputError, match=r"'mid.conv1' runs within 'mid'"):
        levels_of(model, batch, ("mid", "mid.conv1"), 2)
    with pytest.raises(InputError, match="does not exist"):
        levels_of(model, batch, ("mid", "none"), 2)
    both = levels_of(model, batch, ("enc1", "mid"), 1)
    assert both.names == ("enc1", "mid") and len(both.factors) == 2
    assert levels_of(model, batch, ("mid",), 2) == Levels(("mid",))
