"""Criteria of composites: on networks whose evidence is known."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from conceptseg.explain.lrp.engine import Engine
from conceptseg.explain.lrp.suited import Fit, Hiding, fits, recommended
from tests.small_models import wrapped

GOOD = Fit(1.0, 1.2, 1.0, 0.0, 0.0, 0.6, 0.5)


class Corner(nn.Module):
    """Class 1 everywhere is how bright the upper left cell of 2 x 2 pixels is, less its mean."""

    def forward(self, x):
        corner = x[:, :1, :2, :2].sum((2, 3), keepdim=True)
        return torch.cat([0 * x[:, :1], 0 * x[:, :1] + corner], 1)


def scene():
    x = torch.full((1, 3, 16, 16), 0.2)
    x[:, :, :2, :2] = 1.0
    return wrapped(Corner(), 2), x, torch.ones(1, 16, 16, dtype=torch.bool)


def test_hiding_finds_the_one_cell_that_matters():
    model, x, region = scene()
    hiding = Hiding.of(model, x, region, 1)
    mean = float(x[0, 0].mean())
    assert hiding.drops[0].item() == pytest.approx(4 * (1 - mean), rel=1e-4)
    assert not hiding.drops[1:].abs().gt(1e-5).any()


def test_a_map_of_what_matters_agrees_and_its_opposite_does_not():
    model, x, region = scene()
    hiding = Hiding.of(model, x, region, 1)
    right = torch.zeros(16, 16)
    right[:2, :2] = 1.0
    assert hiding.agreement(right) == pytest.approx(1)
    assert hiding.agreement(-right) == pytest.approx(-1)
    assert hiding.agreement(torch.zeros(16, 16)) == 0
    # Of nine points, first: gone from the second on; last: there up to the last but one.
    assert hiding.faithfulness(right) == pytest.approx(7 / 9)
    assert hiding.faithfulness(-right) == pytest.approx(-7 / 9)


def test_sides_that_are_no_multiples_of_the_cells():
    model = wrapped(Corner(), 2)
    x = torch.rand(1, 3, 13, 21)
    hiding = Hiding.of(model, x, torch.ones(1, 13, 21, dtype=torch.bool), 1)
    ones = torch.ones(13, 21)
    assert float(hiding.sums(ones).sum()) == 13 * 21
    # What is hidden is what is summed.
    for cell in (0, 9, 63):
        only = torch.zeros(1, 64, dtype=torch.bool)
        only[0, cell] = True
        covered = torch.nn.functional.interpolate(
            only.view(1, 1, 8, 8).float(), (13, 21), mode="nearest-exact"
        )[0, 0]
        sums = hiding.sums(covered)
        assert float(sums[cell]) == float(covered.sum()) and float(sums.sum()) == float(sums[cell])


def test_the_composite_in_use_stays_unless_it_fails_or_another_is_clearly_better():
    bad = replace(GOOD, growth=212.0)
    assert bad.fails == ("absolute growth",) and GOOD.fails == ()
    assert replace(GOOD, silent=0.4).fails == ("silent units",)
    assert replace(GOOD, growth=0.1, share=0.1, occlusion=-0.1).fails == (
        "relevance kept",
        "agreement with occlusion",
    )
    better = replace(GOOD, occlusion=0.7, flipping=0.6)
    assert recommended({"epsilon_plus": GOOD, "rescale": better}, "epsilon_plus") == "epsilon_plus"
    assert recommended({"epsilon_plus": bad, "rescale": GOOD}, "epsilon_plus") == "rescale"
    much = replace(GOOD, occlusion=0.95, flipping=0.9)
    assert recommended({"epsilon_plus": GOOD, "gamma": much}, "epsilon_plus") == "gamma"
    assert recommended({"epsilon_plus": bad, "gamma": bad}, "epsilon_plus") == "epsilon_plus"
    assert recommended({"gamma": replace(GOOD, growth=float("nan"))}, "gamma") == "gamma"


def test_composites_are_compared_and_what_cannot_be_taken_says_why():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    ).eval()  # fmt: skip
    model, x = wrapped(net, 2), torch.rand(1, 3, 16, 24)
    found = dict(fits(Engine(model, x), x, torch.ones(1, 16, 24, dtype=torch.bool), 1))
    centred = "epsilon_plus, quantity: centred"
    assert list(found) == ["epsilon_plus", centred, "gamma", "rescale"]
    for fit in found.values():
        assert -1 <= fit.occlusion <= 1 and -1 <= fit.flipping <= 1 and fit.silent == 0
    assert found["rescale"].share == pytest.approx(1, abs=1e-3)

    region = torch.ones(1, 16, 24, dtype=torch.bool)
    from_centred = dict(fits(Engine(model, x), x, region, 1, "centred"))
    assert from_centred[centred] == found[centred]
    assert from_centred["epsilon_plus"] == found["epsilon_plus"]
    assert list(from_centred) == [centred, "epsilon_plus", "gamma, quantity: centred",
                                  "rescale, quantity: centred"]  # fmt: skip

    class Sorted(nn.Module):
        def forward(self, x):
            return x.sort(1)[0]

    model = wrapped(nn.Sequential(net[0], nn.ReLU(), Sorted(), nn.Conv2d(6, 2, 1)).eval(), 2)
    found = dict(fits(Engine(model, x), x, torch.ones(1, 16, 24, dtype=torch.bool), 1))
    assert "no rule" in found["rescale"] and isinstance(found["epsilon_plus"], Fit)


def test_each_start_is_held_to_its_own_score():
    """Class 1's logit takes no part in what is hidden; less the mean of both it loses half of what
    class 0 gains by it."""

    class Rival(Corner):
        def forward(self, x):
            return -super().forward(x).flip(1)

    x = torch.full((1, 3, 16, 16), 0.2)
    x[:, :, :2, :2] = 1.0
    model, region = wrapped(Rival(), 2), torch.ones(1, 16, 16, dtype=torch.bool)
    plain = Hiding.of(model, x, region, 1)
    centred = replace(plain, starts="centred")
    assert not plain.drops.any()
    assert float(centred.drops[0]) == pytest.approx(2 * (1 - float(x[0, 0].mean())), rel=1e-4)
    right = torch.zeros(16, 16)
    right[:2, :2] = 1.0
    assert (plain.agreement(right), centred.agreement(right)) == (0, pytest.approx(1))
    assert (plain.faithfulness(right), centred.faithfulness(right)) == (0, pytest.approx(7 / 9))


def test_of_several_maps_a_fault_of_one_is_a_fault():
    good = {
        "growth": 0.9,
        "inner": 1.0,
        "share": 0.9,
        "silent": 0.0,
        "grid": 0.1,
        "occlusion": 0.5,
        "flipping": 0.4,
    }
    fine = Fit(**good)
    assert not Fit.over([fine, fine]).fails and Fit.over([fine, fine]).worth == pytest.approx(0.45)
    for name, value, told in (("growth", 4.7, "absolute growth"), ("silent", 0.3, "silent units")):
        both = Fit.over([fine, Fit(**{**good, name: value})])
        assert both.fails == (told,) and getattr(both, name) == value
    assert Fit.over([fine, Fit(**{**good, "occlusion": -0.3})]).occlusion == pytest.approx(0.1)
