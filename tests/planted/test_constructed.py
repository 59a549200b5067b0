"""The constructed net does on drawn scenes what its closed form says."""

import dataclasses

import numpy as np
import pytest
import torch

from conceptseg.planted import exact, generator, measure
from conceptseg.planted.constructed import CHANNELS, CONTEXT, OBJECT, constructed_net
from conceptseg.planted.generator import (
    BIASED_CLASS,
    BIASED_DIGIT,
    CONFUSER_CLASS,
    CONFUSER_DIGIT,
    PAIR,
    with_context,
)

WEIGHTS = (0.0, 0.1, 0.25, 0.4, 0.5, 0.75, 1.0)


def images_of(recipes) -> torch.Tensor:
    levels, _ = generator.render_all(recipes)
    return torch.from_numpy(levels).unsqueeze(1).float() / 255.0


def margin_map(net, recipes) -> torch.Tensor:
    logits = net(images_of(recipes))
    return logits[:, BIASED_CLASS] - logits[:, CONFUSER_CLASS]


@pytest.mark.parametrize("w", WEIGHTS)
def test_margin_at_every_ink_pixel(w):
    """(1 - w) o + w g - 1/2, with and without the texture."""
    recipes = exact.exact_samples(n=40, seed=5)
    margins = margin_map(constructed_net(w), recipes)
    for recipe, margin in zip(recipes, margins, strict=True):
        ink = torch.from_numpy(generator.ink_mask(recipe))
        expected = exact.constructed_margin(recipe, w)
        assert (margin[ink] - expected).abs().max() < 2e-5


@pytest.mark.parametrize("w", WEIGHTS)
def test_swapping_the_context_changes_the_margin_by_w_on_ink(w):
    recipes = exact.exact_samples(n=40, seed=6)
    net = constructed_net(w)
    change = margin_map(net, [with_context(r, True) for r in recipes]) - margin_map(
        net, [with_context(r, False) for r in recipes]
    )
    ink = torch.from_numpy(np.stack([generator.ink_mask(r) for r in recipes]))
    assert (change[ink] - exact.constructed_truth(w).margin_change).abs().max() < 2e-5


@pytest.mark.parametrize("w", WEIGHTS)
def test_iou_effect_equals_the_closed_form(w):
    truth = exact.constructed_truth(w)
    net = constructed_net(w)
    for digit, class_id, expected in (
        (BIASED_DIGIT, BIASED_CLASS, truth.effect),
        (CONFUSER_DIGIT, CONFUSER_CLASS, truth.confuser_effect),
    ):
        recipes = exact.exact_samples(n=2 * exact.PER_CLASS, digits=(digit,))
        found = measure.reliance_of(net, recipes, class_id)
        assert found.effect == pytest.approx(expected, abs=1e-12)
        best = max(found.iou_with, found.iou_without)
        assert best == 1.0


def test_effect_is_graded_and_follows_w_over_one_minus_w():
    effects = [exact.constructed_truth(w).effect for w in np.linspace(0, 1, 21)]
    assert effects == sorted(effects)
    for w in np.linspace(0, 0.5, 21):
        assert exact.constructed_truth(w).effect == pytest.approx(w / (1 - w), abs=1 / 51)
    assert exact.constructed_truth(0.0).effect == 0.0
    assert exact.constructed_truth(0.6).effect == 1.0


def test_channels_show_what_they_are_named_for():
    recipes = [with_context(r, True) for r in exact.exact_samples(n=30, seed=7)]
    net = constructed_net(0.5)
    _, cells = net.encoder(images_of(recipes))
    maps = net.bottleneck(cells)
    assert maps.shape == (30, len(CHANNELS), 16, 16)
    assert (maps >= 0).all()
    for recipe, found in zip(recipes, maps, strict=True):
        tile = torch.from_numpy(generator.half_mask(recipe, recipe.context_half)[::4, ::4])
        assert (found[CONTEXT] - tile.float()).abs().max() < 1e-5
        ink = torch.from_numpy(generator.ink_mask(recipe)).view(16, 4, 16, 4).any(3).any(1)
        assert (found[OBJECT] - exact.evidence(recipe) * ink).abs().max() < 1e-5
    assert torch.allclose(net.context(maps), torch.ones(30, 1, 1, 1), atol=1e-5)


@pytest.mark.parametrize("w", [0.0, 0.3])
def test_gradient_of_the_context_channel(w):
    """On one ink pixel: w times 2 / 256 at each cell of channel 1, 1 - w at one of channel 0."""
    recipe = exact.exact_sample(0)
    net = constructed_net(w)
    kept = {}

    def keep(module, inputs, output):
        kept["map"] = output.detach().requires_grad_()
        return kept["map"]

    hook = net.bottleneck.register_forward_hook(keep)
    logits = net(images_of([recipe]))
    hook.remove()
    row, column = np.argwhere(generator.ink_mask(recipe))[0]
    (gradient,) = torch.autograd.grad(logits[0, BIASED_CLASS, row, column], kept["map"])
    assert torch.equal(
        gradient[0, CONTEXT], torch.full((16, 16), np.float32(w) * np.float32(2 / 256))
    )
    assert gradient[0, OBJECT, row // 4, column // 4] == pytest.approx(1 - w)
    assert gradient[0, OBJECT].count_nonzero() == 1
    assert gradient[0, 2:].count_nonzero() == 0


def test_at_weight_zero_the_image_outside_the_ink_does_not_matter_to_the_pair():
    recipes = exact.exact_samples(n=10)
    images = images_of(recipes).requires_grad_()
    margin = constructed_net(0.0)(images)[:, BIASED_CLASS]
    ink = torch.from_numpy(np.stack([generator.ink_mask(r) for r in recipes]))
    (gradient,) = torch.autograd.grad(margin[ink].sum(), images)
    assert gradient[:, 0][~ink].count_nonzero() == 0


def test_exact_scenes():
    recipes = exact.exact_samples(n=102, seed=3)
    assert {r.digit for r in recipes} == set(PAIR)
    for digit, low, high in ((BIASED_DIGIT, 0.5, 1.0), (CONFUSER_DIGIT, 0.0, 0.5)):
        values = {exact.evidence(r) for r in recipes if r.digit == digit}
        assert len(values) == 51
        assert low < min(values) and max(values) < high
    for recipe in recipes:
        tile = generator.half_mask(recipe, recipe.context_half)
        assert not (generator.ink_mask(recipe) & tile).any()
        assert exact.exact_sample(recipe.index, seed=3) == recipe
    assert 0.3 < np.mean([r.bias_present for r in recipes]) < 0.7


def test_every_phase_of_the_stripes_gives_one():
    recipe = with_context(exact.exact_sample(1), True)
    for shift in range(4):
        tile = dataclasses.replace(recipe.tile, column=shift)
        image = images_of([dataclasses.replace(recipe, tile=tile)])
        net = constructed_net(1.0)
        context = net.context(net.bottleneck(net.encoder(image)[1]))
        assert float(context) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("w", [-0.1, 1.1, float("nan")])
def test_weight_outside_the_unit_interval_is_refused(w):
    with pytest.raises(ValueError, match="context weight"):
        constructed_net(w)


def test_other_digits_are_refused():
    with pytest.raises(ValueError, match="only"):
        exact.exact_sample(0, digits=(1,))
