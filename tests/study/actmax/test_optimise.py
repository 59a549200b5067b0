"""The ascent against closed forms: a linear unit's best phases are those of its kernel."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.study.actmax.methods import METHODS, best_start, penalty, picture, start, view
from conceptseg.study.actmax.objectives import Objective
from conceptseg.study.actmax.optimise import maximise
from conceptseg.study.shared.spectrum import Template
from tests.small_models import wrapped
from tests.study.shared.test_spectrum import phases

SIDE = 16
STILL = {"jitter_px": 0, "scale": 0.0, "rotate": 0.0, "noise": 0.0}


class Correlate(nn.Module):
    """Unit u at the centre: the sum of kernel u times the image. Linear, one map of 3 x 3."""

    def __init__(self, kernels):
        super().__init__()
        self.body = nn.Identity()
        self.register_buffer("kernels", torch.as_tensor(kernels, dtype=torch.float32))
        self.head = nn.Conv2d(len(kernels), 3, 1)

    def forward(self, x):
        value = torch.einsum("nchw,uchw->nu", x, self.kernels)
        deep = self.body(value[:, :, None, None].expand(-1, -1, 3, 3).contiguous())
        return nn.functional.interpolate(self.head(deep), x.shape[-2:])


def linear(units=2, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    kernels = rng.normal(size=(units, channels, SIDE, SIDE))
    amplitude = rng.uniform(0.5, 1.5, (channels, SIDE, SIDE // 2 + 1))
    template = Template(np.full(channels, 0.5), 0.01 * np.eye(channels), amplitude, SIDE)
    return wrapped(Correlate(kernels), channels=channels), kernels, template


def test_a_linear_units_best_picture_has_its_kernels_phases():
    """sum k x is largest, amplitudes fixed, where phases are those of k: by Parseval, exactly.

    The contrast is so small that the squashing is linear (slope 1) to third order.
    """
    model, kernels, template = linear()
    method = dataclasses.replace(METHODS["maco"], **STILL)
    made = maximise(
        model, Objective("channel", "body", (0, 1)), method, template, [(0, 0), (1, 0)],
        steps=200, seed=0,
    )  # fmt: skip
    for u in range(2):
        best = template.image(phases(template, torch.from_numpy(kernels[u : u + 1] * 0.01 + 0.5)))
        largest = float((best.numpy()[0] * kernels[u]).sum())
        middle = 0.5 * kernels[u].sum()
        assert made.after[u] - middle == pytest.approx(largest - middle, rel=5e-3)
        reached = made.pixels[u].numpy() - 0.5
        cosine = (reached * (best.numpy()[0] - 0.5)).sum() / (
            np.linalg.norm(reached) * np.linalg.norm(best.numpy()[0] - 0.5)
        )
        assert cosine > 0.995


def test_the_response_rises():
    model, _, template = linear()
    for name in METHODS:
        made = maximise(
            model, Objective("channel", "body", (0,)), METHODS[name], template, [(0, 0)],
            steps=60, seed=0,
        )  # fmt: skip
        smooth = made.curve[0].reshape(6, 10).mean(1)
        assert made.after[0] > made.before[0] and smooth[-1] > smooth[0]


def test_a_picture_depends_on_nothing_beside_it():
    model, _, template = linear()
    objective = Objective("channel", "body", (0, 1))
    common = {"steps": 5, "seed": 3}
    both = maximise(model, objective, METHODS["maco"], template, [(0, 0), (1, 1)], **common)
    for row, one in enumerate([(0, 0), (1, 1)]):
        alone = maximise(model, objective, METHODS["maco"], template, [one], **common)
        np.testing.assert_allclose(alone.pixels[0], both.pixels[row], atol=1e-5)
        np.testing.assert_allclose(alone.curve[0], both.curve[row], rtol=1e-4)
    assert not np.allclose(both.pixels[0], both.pixels[1], atol=1e-4)


def test_runs_in_inference_mode_and_leaves_the_global_randomness_alone():
    model, _, template = linear()
    before = torch.random.get_rng_state()
    with torch.inference_mode():
        made = maximise(
            model, Objective("class", "body", (1,)), METHODS["maco"], template, [(0, 0)],
            steps=2, seed=0,
        )  # fmt: skip
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.isfinite(made.after).all() and float(made.weight.max()) == 1


def test_views_are_shifted_scaled_and_turned():
    """A half turn by hand; a shift alone is a roll; nothing at all is the picture."""
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    still = dataclasses.replace(METHODS["natekar"], **STILL)
    assert torch.equal(view(still, x, 0, 0), x)
    shifted = view(dataclasses.replace(still, jitter_px=3), x, 0, 0)
    rolls = [x.roll((a, b), (2, 3)) for a in range(-3, 4) for b in range(-3, 4)]
    assert any(torch.equal(shifted, one) for one in rolls)
    turned = view(dataclasses.replace(still, rotate=5.0), x, 0, 0)
    angle = np.rad2deg(np.arcsin(np.clip(_turn(5.0), -1, 1)))
    assert 0 < abs(angle) <= 5 and not torch.equal(turned, x)
    assert (turned - x).abs().mean() < 0.2


def _turn(bound):
    """The sine of the first draw's angle, drawn as `view` draws it."""
    rng = np.random.default_rng([0, 31, 0])
    rng.uniform(-1, 1)
    return np.sin(np.deg2rad(bound) * rng.uniform(-1, 1))


def test_penalties_by_hand():
    x = torch.tensor([[[[0.5, 0.75], [0.0, 0.5]]]])
    method = dataclasses.replace(METHODS["natekar"], l1=2.0, tv=3.0)
    assert float(penalty(method, x)) == pytest.approx(2 * 0.75 + 3 * (0.25 + 0.5 + 0.5 + 0.25))
    assert float(penalty(METHODS["maco"], x)) == 0


def test_the_noise_with_the_highest_peak_is_taken():
    _, _, template = linear()
    method = METHODS["maco"]
    keys = [[0, 1], [0, 2]]
    found = best_start(method, template, keys, lambda p: p.flatten(1)[:, 7], "cpu")
    draws = [start(method, template, [[*k, t] for k in keys]).flatten(1)[:, 7] for t in range(4)]
    assert torch.equal(found.flatten(1)[:, 7], torch.stack(draws).max(0).values)


def test_pictures_of_every_method_are_images():
    _, _, template = linear()
    for method in METHODS.values():
        made = picture(method, template, start(method, template, [[0], [1]]))
        assert made.shape == (2, 2, SIDE, SIDE) and made.min() > 0 and made.max() < 1
