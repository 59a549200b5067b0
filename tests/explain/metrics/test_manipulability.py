import pytest
import torch
from torch import nn

from conceptseg.explain.contract import Trial
from conceptseg.explain.explainers.prediction_mask import PredictionMask
from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.manipulate import Search
from conceptseg.explain.metrics.manipulability import Manipulability
from conceptseg.explain.regions import Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import additive, trial
from tests.small_models import images, unet, wrapped

WHOLE = Target(1, Everything())


def judged(net, x, method, target=WHOLE, **given):
    scene = Scene(net, x)
    own = Trial(scene, method, target, method.on(scene, [target])[0])
    return Manipulability(**{"steps": 6, "random": 3, "epsilon": 0.05} | given).measure(own)


def test_a_linear_network_s_gradient_cannot_be_moved():
    net, x = additive(12, 15), images(3, 12, 15, 1)
    found = judged(net, x, VanillaSaliency(), Target(1, Everything(), "logit"), agreement=0.0)
    assert torch.equal(found.curve, torch.zeros(3, 7))


def test_a_rectifier_s_gradient_can_and_the_search_adds_to_noise():
    net, x = unet(), images(3, 24, 32)
    found = judged(net, x, VanillaSaliency(), Target(1), steps=15, agreement=0.8)
    assert (found.curve[:, 1:] >= found.curve[:, :-1]).all()
    assert (found.value > found.curve[:, 0]).all() and (found.value > 0.005).all()
    excess = judged(net, x, VanillaSaliency(), Target(1), steps=15, agreement=0.8, read="excess")
    assert torch.allclose(excess.value, found.curve[:, -1] - found.curve[:, 0])


def test_what_is_found_is_an_image_within_bounds_whose_map_has_the_value():
    """The found noise is checked from outside: its size, the prediction, and the map itself."""
    net, x, method = unet(), images(2, 24, 32), VanillaSaliency()
    scene, target = Scene(net, x), Target(1)
    clean = method.on(scene, [target])[0]
    goal = clean.flip(1, 2)

    def towards(maps):
        pairs = zip(maps.flatten(1), goal.flatten(1), strict=True)
        return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs])

    search = Search(0.04, 8, 2, 0.9, 0)
    found = search.run(scene, method, target, towards)
    assert (found.images - x).abs().max() <= 0.04 + 1e-6
    assert found.images.min() >= 0 and found.images.max() <= 1
    with torch.no_grad():
        held = net(found.images).argmax(1) == 1
    before = scene.logits.argmax(1) == 1
    dice = 2 * (held & before).sum((1, 2)) / (held.sum((1, 2)) + before.sum((1, 2)))
    assert (dice >= 0.9).all()
    assert torch.allclose(towards(found.maps), found.value, atol=1e-6)
    assert (found.value >= found.chance).all() and (found.value > found.chance).any()


class Threshold(nn.Module):
    """Class 1 of pixels above 0.5."""

    def forward(self, x):
        return torch.cat((0.5 - x, x - 0.5), 1)


def test_noise_that_changes_the_prediction_is_halved_until_it_does_not():
    """Of pixels that lie 0.01 and 0.2 beside the threshold, and of some that lie on it."""
    apart = torch.tensor([0.01, 0.2, 0.0])[:, None, None, None]
    signs = torch.where(torch.arange(12) % 2 == 0, 1.0, -1.0).expand(3, 1, 9, 12)
    x, method, target = 0.5 + apart * signs + 1e-6 * (signs > 0), VanillaSaliency(), Target(1)
    net = wrapped(Threshold(), 2, 1)
    found = Search(0.05, 4, 3, 0.99, 0).run(Scene(net, x), method, target, lambda m: m.mean((1, 2)))
    assert found.epsilon.tolist() == pytest.approx([0.05 / 8, 0.05, 0.05 / 16])
    moved = (found.images - x).abs().flatten(1).amax(1)
    assert moved[:2].tolist() == pytest.approx([0.05 / 8, 0.05], rel=1e-3)
    assert ((found.images > 0.5) == (x > 0.5))[:2].all()
    assert found.chance.isfinite().tolist() == [True, True, False]
    assert 0.05 / 8 < 0.01 < 0.05 / 4  # the largest of the sizes that keeps it


def test_the_signs_that_were_tried_are_all_that_counts():
    """Of one draw and no noise beside it, the change is that of a map made by hand."""
    net, x = unet(), images(1, 24, 32)
    seen = []

    def rule(scene, target):
        seen.append(scene.images)
        return scene.images.mean(1)

    given = trial(net, x, target=WHOLE, rule=rule)
    found = Manipulability(steps=1, random=1, epsilon=0.1, agreement=0.0).measure(given)
    after = seen[1]
    assert torch.allclose(
        (after - x).abs(),
        torch.minimum(torch.tensor(0.1), torch.where(after > x, 1 - x, x)),
        atol=1e-6,
    )
    pair = torch.stack((x.mean(1).flatten(), after.mean(1).flatten()))
    assert found.curve[0, 0].item() == pytest.approx(
        1 - torch.corrcoef(pair)[0, 1].item(), rel=1e-4
    )


def test_a_prediction_that_is_not_kept_does_not_count():
    found = judged(unet(), images(1, 24, 32), VanillaSaliency(), Target(1), steps=1, epsilon=1.0)
    assert found.value.isnan().all() and found.curve.isnan().all()


def test_a_map_of_the_clean_region_alone_stays():
    found = judged(unet(), images(2, 24, 32), PredictionMask(), Target(1), agreement=0.5)
    assert found.value.tolist() == [0, 0]
