"""Norms behind rectifiers: what they add is a bias of the layer that reads them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conceptseg.explain.lrp.engine import Engine
from tests.small_models import images, wrapped

COMPOSITES = ["epsilon_plus", "epsilon_plus_flat", "gamma", "epsilon"]


def drawn(net, seed=0):
    """The network in double precision, every number of it drawn."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        for name, value in [*module.named_parameters(recurse=False)]:
            low = 0.5 if name == "weight" and isinstance(module, nn.BatchNorm2d) else -1.0
            value.data.copy_(torch.rand(value.shape, generator=generator) * (1 - low) + low)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.rand(module.running_mean.shape, generator=generator))
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return net.double().eval()


class Follows(nn.Module):
    """Convolution, rectifier, norm, something, and a convolution that reads it."""

    def __init__(self, between=None, padding=0):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.between = between or (lambda y, image: y)
        self.two = nn.Conv2d(6, 5, 3, padding=padding)
        self.rectifier, self.last = nn.ReLU(), nn.Conv2d(5, 2, 1)

    def forward(self, x):
        y = self.norm(self.rectifier(self.one(x)))
        return self.last(torch.relu(self.two(self.between(y, x))))


def affine(norm):
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    return factor.detach(), (norm.bias - norm.running_mean * factor).detach()


def relevance(net, x, composite, layers=(), **options):
    engine = Engine(wrapped(net, 2), x, composite, **options)
    run = engine.run(x, layers)
    start = torch.zeros_like(run.logits)
    start[:, 1] = run.logits[:, 1] / run.logits[:, 1].numel()
    return run, start


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_norm_behind_a_rectifier_is_as_if_folded_into_the_next_layer(composite, zero):
    net, x = drawn(Follows()), images(2, 10, 12).double()
    factor, shift = affine(net.norm)
    folded = drawn(Follows())
    folded.norm = nn.Identity()
    folded.two.bias.data += torch.einsum("oiyx,i->o", net.two.weight, shift)
    folded.two.weight.data *= factor[:, None, None]
    assert torch.allclose(net(x), folded(x))
    maps = []
    for one in (net, folded):
        run, start = relevance(one, x, composite, zero_bias=zero)
        maps.append(run.at_input(start))
    assert torch.allclose(*maps, rtol=1e-6, atol=1e-9)
    assert float(maps[0].abs().max()) > 1e-4


def test_padding_is_not_shifted():
    """z+ by hand: relevance of the rectifier's output, with zeros round about."""
    net, x = drawn(Follows(padding=1)), images(1, 6, 7).double()
    run, start = relevance(net, x, "epsilon_plus", ["rectifier", "two"])
    low, above = run.at_layers(start, ["rectifier", "two"])
    a, factor = run.activations["rectifier"], affine(net.norm)[0]
    weight = (net.two.weight.detach() * factor[:, None, None]).clamp(min=0)
    expected = torch.zeros_like(a)
    for o in range(5):
        for y in range(6):
            for z in range(7):
                parts = {}
                for dy in range(3):
                    for dz in range(3):
                        v, u = y + dy - 1, z + dz - 1
                        if 0 <= v < 6 and 0 <= u < 7:
                            parts[v, u] = weight[o, :, dy, dz] * a[0, :, v, u]
                whole = sum(float(p.sum()) for p in parts.values()) + 1e-6
                for (v, u), part in parts.items():
                    expected[0, :, v, u] += above[0, o, y, z] * part / whole
    assert torch.allclose(low, expected, rtol=1e-6, atol=1e-12)


BETWEEN = {
    "maximum": lambda y, x: F.max_pool2d(y, 2),
    "overlapping maximum": lambda y, x: F.max_pool2d(y, 3, 2, 1),
    "adaptive maximum": lambda y, x: F.adaptive_max_pool2d(y, 5),
    "mean": lambda y, x: F.avg_pool2d(y, 2),
    "resized": lambda y, x: F.avg_pool2d(F.interpolate(y, scale_factor=2, mode="bilinear"), 4),
    "joined": lambda y, x: torch.cat([y[:, :3], torch.relu(x - 0.2)], 1),
    "sum": lambda y, x: y + 0.5 * y.flip(1),
    "difference": lambda y, x: y - 0.25 * y.roll(1, 1),
    "gate": lambda y, x: y * torch.sigmoid(y.mean((2, 3), keepdim=True)),
    "written": lambda y, x: _written(y),
    "padded": lambda y, x: F.pad(y, (1, 1, 1, 1), value=0.7),
    "in place": lambda y, x: y.clone().add_(y).mul_(0.5),
}


def _written(y):
    whole = torch.zeros_like(y)
    whole[:, :4] = y[:, :4]
    whole[:, 4:] = y[:, :2]
    return whole


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", BETWEEN)
def test_silent_units_get_nothing_whatever_lies_between(name, composite):
    """And all of it reaches the rectifier that the rules hand on (z+ loses what meets no part)."""
    net, x = drawn(Follows(BETWEEN[name])), images(1, 12, 12).double()
    run, start = relevance(net, x, composite, ["rectifier"])
    (found,) = run.at_layers(start, ["rectifier"])
    silent = run.activations["rectifier"] == 0
    assert 0.1 < float(silent.double().mean()) < 0.9
    assert not found[silent].any() and found.any()
    told = run.retained(start)
    assert told.silent == (0.0, 0.0)


def test_a_rectifier_that_reads_a_norm_ends_what_has_no_part_of_its_own():
    """ReLU - norm - ReLU: a value that is all shift belongs to nobody."""

    class Twice(Follows):
        def __init__(self):
            super().__init__()
            self.inner = nn.ReLU()

        def forward(self, x):
            y = self.inner(self.norm(self.rectifier(self.one(x))))
            return self.last(torch.relu(self.two(y)))

    net, x = drawn(Twice()), images(1, 10, 12).double()
    net.norm.bias.data += 2.0  # all units are on behind it
    run, start = relevance(net, x, "epsilon_plus", ["rectifier", "inner"])
    low, above = run.at_layers(start, ["rectifier", "inner"])
    silent = run.activations["rectifier"] == 0
    assert torch.equal(low, above.masked_fill(silent, 0.0))
    assert float(above[silent].abs().sum()) > 0.05 * float(above.abs().sum())
