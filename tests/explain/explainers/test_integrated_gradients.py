import pytest
import torch
from torch import nn

from conceptseg.explain.explainers.integrated_gradients import IntegratedGradients, points
from conceptseg.explain.fill import filling
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.quadratic import hessian, powers
from tests.small_models import images, seeded, unet, wrapped

RULES = ("trapezoid", "gauss_legendre", "midpoint")
FILLS = ("mean", "blur", "black", "grey", "neutral")
WHOLE = Target(1, Everything(), score="logit", reduce="sum")


def close(found, expected, tolerance=1e-5):
    return torch.allclose(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("rule", RULES)
def test_one_step_is_exact_on_a_linear_network(rule, fill):
    model, x = wrapped(seeded(nn.Conv2d, 3, 2, 1), 2), images(2)
    weight = model.module.weight.detach()[1, :, 0, 0]
    expected = torch.einsum("c,nchw->nhw", weight, x - filling(model, x, fill))
    found = IntegratedGradients(steps=1, rule=rule, baseline=fill)(model, x, WHOLE)
    assert close(found, expected)


@pytest.mark.parametrize("rule", RULES)
def test_one_step_is_exact_on_a_quadratic_network(rule):
    """(x - b)_c (Q (x + b) / 2)_c, summed over channels."""
    model, x = powers(2), images(2)
    b = filling(model, x, "grey")
    form = torch.einsum("dc,nchw->ndhw", hessian(model, 1), (x + b) / 2)
    found = IntegratedGradients(steps=1, rule=rule, baseline="grey")(model, x, WHOLE)
    assert close(found, ((x - b) * form).sum(1))


@pytest.mark.parametrize(
    ("rule", "factor"),
    [
        ("trapezoid", lambda n: 1 + 1 / (2 * n**2)),
        ("midpoint", lambda n: 1 - 1 / (4 * n**2)),
        ("gauss_legendre", lambda n: 1 if n > 1 else 0.75),
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_errors_of_the_rules_on_a_cubic_network(rule, factor, steps):
    """Its integral from black is its logit; each rule is off by a known factor."""
    model, x = powers(3), images(1)
    expected = model(x)[:, 1].detach() * factor(steps)
    found = IntegratedGradients(steps=steps, rule=rule)(model, x, WHOLE)
    assert close(found, expected)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_weights_sum_to_one(rule, steps):
    places, weights = points(rule, steps)
    assert len(places) == steps + (rule == "trapezoid")
    assert weights.sum().item() == pytest.approx(1) and places.mean().item() == pytest.approx(0.5)
    assert places.min() >= 0 and places.max() <= 1


def test_an_image_that_is_the_baseline_gets_zero():
    grey = torch.full((1, 3, 16, 24), 0.5)
    for fill in ("mean", "grey"):
        found = IntegratedGradients(steps=2, baseline=fill)(unet(), grey, WHOLE)
        assert found.abs().max() == 0


@pytest.mark.parametrize("rule", RULES)
def test_completeness(rule):
    """The map sums to T(x) - T(b), though the prediction is another one at b."""
    model, x = unet().double(), images(2).double()
    targets = [Target(c) for c in range(3)]
    scene = Scene(model, x)
    blank = scene.forward(torch.zeros_like(x))
    assert (scene.logits.argmax(1) != blank.argmax(1)).float().mean() > 0.1
    explainer = IntegratedGradients(steps=400, rule=rule)
    found = explainer.on(scene, targets)
    for target, maps in zip(targets, found, strict=True):
        score = scene.fix(target)
        expected = score(scene.logits) - score(blank)
        assert torch.allclose(maps.double().sum((1, 2)), expected, atol=2e-3)
    assert explainer.gap(scene, targets, found).max() < 0.02


def test_gap():
    """A cubic network's relative gap is that of the rule."""
    scene = Scene(powers(3), images(2))
    explainer = IntegratedGradients(steps=2)
    maps = explainer.on(scene, [WHOLE])
    assert torch.allclose(explainer.gap(scene, [WHOLE], maps), torch.full((1, 2), 0.125).double())
    nothing = Target(1, Box(0, 0, 1, 1) & ~Box(0, 0, 1, 1))
    assert explainer.gap(scene, [nothing], torch.zeros_like(maps)).max() == 0
    black = Scene(powers(3), torch.zeros(1, 3, 4, 4))
    assert explainer.gap(black, [WHOLE], torch.ones(1, 1, 4, 4)).isinf().all()


@pytest.mark.parametrize("rule", RULES)
def test_doubled_steps_are_those_steps(rule):
    model, x = unet(), images(2)
    twice = IntegratedGradients(steps=3, rule=rule, tolerance=1e-9, max_steps=12)
    expected = IntegratedGradients(steps=12, rule=rule)(model, x, WHOLE)
    assert close(twice(model, x, WHOLE), expected)


def test_doubling_stops_where_the_gap_is_small():
    """A cubic network's gap 1 / (2 n^2) is below 1 % from n = 8 on, a square one's at once."""
    model, x = powers(3), images(1)
    scene = Scene(model, x)
    found = IntegratedGradients(steps=1, tolerance=0.01).on(scene, [WHOLE])[0]
    assert close(found, model(x)[:, 1].detach() * (1 + 1 / 128))
    # Clean, baseline, both ends, and each midpoint of 1, 2 and 4 steps once.
    assert scene.passes == {"forward": 1 + 1 + 2 + 7, "backward": 2 + 7}
    scene = Scene(powers(2), x)
    IntegratedGradients(steps=1, tolerance=0.01).on(scene, [WHOLE])
    assert scene.passes == {"forward": 4, "backward": 2}


def test_doubling_is_each_image_s_and_target_s_own():
    model, x = unet(), images(3)
    x[1] *= 0.02
    explainer = IntegratedGradients(steps=2, tolerance=0.05, max_steps=64)
    targets = [Target(0, Everything()), Target(1, Everything()), Target(2, Box(0, 0, 4, 4))]
    together = explainer.on(Scene(model, x), targets)
    steps = set()
    for t, target in enumerate(targets):
        for i in range(3):
            scene = Scene(model, x[i : i + 1])
            assert close(together[t, i], explainer.on(scene, [target])[0, 0])
            steps.add(scene.passes["backward"])
    assert len(steps) > 1


def test_what_has_converged_is_not_run_again():
    model, x = unet(), images(3)[::2]
    explainer = IntegratedGradients(steps=2, tolerance=0.05, max_steps=64)
    scenes = [Scene(model, some) for some in (x, x[:1], x[1:])]
    for scene in scenes:
        explainer.on(scene, [Target(1, Everything())])
    both, *ones = (scene.passes["backward"] for scene in scenes)
    assert both == sum(ones) and ones[0] != ones[1]


@pytest.mark.parametrize(
    ("rule", "name", "n", "factor"),
    [
        ("gauss_legendre", "gausslegendre", 9, 1),
        ("midpoint", "riemann_middle", 9, 1),
        # The peer's weights of n points sum to (n - 1) / n.
        ("trapezoid", "riemann_trapezoid", 10, 10 / 9),
    ],
)
def test_captum(rule, name, n, factor):
    captum = pytest.importorskip("captum.attr")
    model, x = unet(), images(1)
    with torch.no_grad():
        fixed = Target(1).on(model(x))
    peer = captum.IntegratedGradients(lambda batch: fixed(model(batch)))
    expected = factor * peer.attribute(x, torch.full_like(x, 0.5), n_steps=n, method=name).sum(1)
    explainer = IntegratedGradients(steps=9, rule=rule, baseline="grey")
    assert close(explainer(model, x, Target(1)), expected.detach())


def test_passes_and_memory():
    model, x = unet(), images(2)
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[0]))
    scene = Scene(model, x, batch_size=6)
    IntegratedGradients(steps=7).on(scene, [Target(c, Everything()) for c in range(3)])
    assert scene.passes == {"forward": 2 * (1 + 8), "backward": 2 * 8 * 3}
    assert seen == [2, 6, 6, 4]
