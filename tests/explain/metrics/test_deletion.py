from itertools import permutations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from conceptseg.explain.metrics._order import places, stages
from conceptseg.explain.metrics.deletion import Deletion
from conceptseg.explain.metrics.insertion import Insertion
from conceptseg.explain.noise import noisy
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import additive, contributions, noise, pointwise, trial
from tests.small_models import images, unet

WHOLE = Target(1, Everything())


def test_closed_form_of_an_additive_network():
    """Each pixel that turns black takes its contribution away, the largest ones first."""
    model, x = additive(4, 6), images(2, 4, 6, 1)
    own = contributions(model, x)
    found = Deletion(steps=24, fill="black", score="target").measure(trial(model, x, own, WHOLE))
    for i in range(2):
        ordered = sorted(own[i].flatten().tolist(), reverse=True)
        curve = [sum(ordered[count:]) for count in range(25)]
        area = sum((a + b) / 2 / 24 for a, b in zip(curve[:-1], curve[1:], strict=True))
        assert found.curve[i].tolist() == pytest.approx(curve, abs=1e-5)
        assert found.value[i].item() == pytest.approx(area, abs=1e-5)
    assert found.at == tuple(step / 24 for step in range(25))


def test_no_order_deletes_faster_than_the_true_one():
    """All 120 orders of five pixels."""
    model, x = additive(1, 5), images(1, 1, 5, 1)
    metric = Deletion(steps=5, fill="black", score="target")

    def area(values):
        maps = torch.tensor(values, dtype=torch.float32).view(1, 1, 5)
        return metric.measure(trial(model, x, maps, WHOLE)).value.item()

    best = metric.measure(trial(model, x, contributions(model, x), WHOLE)).value.item()
    assert best == pytest.approx(min(area(order) for order in permutations(range(5))), abs=1e-6)


@pytest.mark.parametrize("score", ["target", "probability", "dice"])
@pytest.mark.parametrize("within", ["image", "context"])
def test_loops(score, within):
    """Pixel by pixel, with as many pixels per stage as rounding gives."""
    model, x, steps = unet(), images(2, 8, 12), 7
    maps, box = noise(2, 8, 12), Box(1, 2, 6, 9)
    given = trial(model, x, maps, Target(1, box))
    found = Deletion(steps=steps, score=score, within=within).measure(given)
    inside = torch.zeros(8, 12, dtype=torch.bool)
    inside[1:6, 2:9] = True
    for i in range(2):
        with torch.no_grad():
            clean = model(x[i : i + 1])[0]
        order = sorted(np.ndindex(8, 12), key=lambda at: -maps[i][at].item())
        if within == "context":
            order = [at for at in order if not inside[at]]
        curve = []
        for step in range(steps + 1):
            image = x[i].clone()
            for at in order[: int(len(order) * step / steps + 0.5)]:
                image[(slice(None), *at)] = x[i].mean((1, 2))
            with torch.no_grad():
                logits = model(image[None])[0]
            if score == "target":
                margin = logits[1] - logits[[0, 2]].logsumexp(0)
                curve.append(margin[inside].mean().item())
            elif score == "probability":
                curve.append(logits.softmax(0)[1][inside].mean().item())
            else:
                before, after = clean.argmax(0) == 1, logits.argmax(0) == 1
                counted = inside | ~before
                own, new = before & inside, after & counted
                curve.append(2 * (own & new).sum().item() / (own.sum() + new.sum()).item())
        assert found.curve[i].tolist() == pytest.approx(curve, abs=1e-4)
        area = (sum(curve) - (curve[0] + curve[-1]) / 2) / steps
        assert found.value[i].item() == pytest.approx(area, abs=1e-4)


def test_the_ends_are_the_image_and_the_fill():
    model, x = unet(), images(2)
    given = trial(model, x, noise(2, 16, 24), WHOLE)
    found = Deletion(steps=3, fill="grey", score="target").measure(given).curve
    region = given.scene.fix(WHOLE)
    assert torch.allclose(found[:, 0], region(given.scene.logits), atol=1e-6)
    grey = Scene(model, torch.full_like(x, 0.5)).logits
    assert torch.allclose(found[:, -1], region(grey), atol=1e-6)
    assert given.scene.passes == {"forward": 2 + 4 * 2}


def test_ties_are_drawn_by_lot_and_the_same_for_each_image():
    maps = torch.zeros(2, 9, 9)
    among = torch.ones(2, 9, 9, dtype=torch.bool)
    one, again, other = places(maps, among, 0), places(maps, among, 0), places(maps, among, 1)
    assert torch.equal(one, again) and torch.equal(one[0], one[1])
    assert not torch.equal(one, other)
    assert one[0].flatten().sort().values.tolist() == list(range(81))
    rows = one[0].float().mean(1)
    assert not torch.equal(rows, rows.sort().values), "the image's rows are no order"
    maps[:, 3, 4] = 1
    raised = places(maps, among, 0)
    assert raised[0, 3, 4] == 0
    rest = [one[0].flatten(), raised[0].flatten()]
    keep = torch.arange(81) != 3 * 9 + 4
    assert torch.equal(rest[0][keep].argsort(), rest[1][keep].argsort())


def test_stages_are_rounded_shares():
    sizes = torch.tensor([0, 1, 7, 96])
    expected = [[int(size * step / 5 + 0.5) for step in range(6)] for size in sizes.tolist()]
    assert stages(sizes, 5).tolist() == expected


def test_a_network_without_context_loses_nothing_with_the_context():
    model, x = pointwise(), images(2)
    given = trial(model, x, noise(2, 16, 24))
    curve = Deletion(within="context").measure(given).curve
    assert torch.allclose(curve, curve[:, :1].expand_as(curve), atol=1e-6)
    assert curve.isfinite().all()
    nothing = trial(model, x, noise(2, 16, 24), WHOLE)
    assert Deletion(within="context").measure(nothing).value.isnan().all()


def test_undefined_dice_of_a_class_that_is_not_there():
    given = trial(unet(), images(2), target=Target(1, ~Predicted(1)))
    assert Deletion(score="dice").measure(given).value.isnan().all()
    assert Deletion(score="probability").measure(given).value.isfinite().all()


@pytest.mark.slow
def test_quantus():
    quantus = pytest.importorskip("quantus")

    class Scores(nn.Module):
        """The region's mean logit, for a library that knows classifiers."""

        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x).mean((2, 3))

    model, x = additive(8, 12), images(3, 8, 12, 1)
    maps = noise(3, 8, 12)
    peer = quantus.PixelFlipping(
        features_in_step=8, perturb_baseline=0.0, normalise=False, disable_warnings=True
    )
    expected = peer(
        model=Scores(model).eval(),
        x_batch=x.numpy(),
        y_batch=np.ones(3, dtype=int),
        a_batch=maps[:, None].numpy(),
        softmax=False,
        channel_first=True,
    )
    target = Target(1, Everything(), score="logit")
    found = Deletion(steps=12, fill="black").measure(trial(model, x, maps, target))
    assert np.allclose(found.curve[:, 1:].numpy(), np.array(expected), atol=1e-5)


def test_what_is_averaged_over_classes_is_bounded():
    """Without a choice the class's probability is read: logits have no common scale."""
    model = unet()
    model.module.head.weight.data.mul_(50)
    given = trial(model, images(2), noise(2, 16, 24), Target(1))
    found = Deletion().measure(given)
    assert ((found.curve >= 0) & (found.curve <= 1)).all()
    assert Deletion(score="target").measure(given).curve.abs().max() > 1


@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_robust_curves_are_means_of_noisy_copies_in_the_clean_order(kind):
    """Each copy's curve is that of the plain metric for the copy with the clean image's map."""
    net, x = additive(8, 10), images(2, 8, 10, 1)
    given = trial(net, x, target=Target(1, Everything()))
    robust = kind(robust=3, radius=0.2, steps=5, seed=2).measure(given)
    scene = Scene(net, x)
    curves = []
    for draw in range(3):
        copy = noisy(scene, [0, 1], 0.2, 2, draw)
        own = kind(steps=5, seed=2).measure(
            trial(net, copy, given.attributions, Target(1, Everything()))
        )
        curves.append(own.curve / own.curve[:, -1 if kind is Insertion else 0, None])
    expected = torch.stack(curves).mean(0)
    assert torch.allclose(robust.curve, expected, rtol=1e-4)
    assert torch.allclose(robust.value, torch.trapezoid(expected, dx=0.2, dim=1), rtol=1e-4)
    with pytest.raises(ValidationError, match="robust: a target's score may be of any sign"):
        kind(robust=3, score="target")
