from itertools import permutations

import pytest
import torch

from conceptseg.explain.fill import filling
from conceptseg.explain.metrics.deletion import Deletion
from conceptseg.explain.metrics.insertion import Insertion
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import additive, contributions, noise, trial
from tests.small_models import images, unet

WHOLE = Target(1, Everything())


def test_closed_form_of_an_additive_network():
    model, x = additive(4, 6), images(2, 4, 6, 1)
    own = contributions(model, x)
    found = Insertion(steps=24, fill="black", score="target").measure(trial(model, x, own, WHOLE))
    for i in range(2):
        ordered = sorted(own[i].flatten().tolist(), reverse=True)
        curve = [sum(ordered[:count]) for count in range(25)]
        assert found.curve[i].tolist() == pytest.approx(curve, abs=1e-5)
        area = (sum(curve) - (curve[0] + curve[-1]) / 2) / 24
        assert found.value[i].item() == pytest.approx(area, abs=1e-5)


def test_no_order_inserts_faster_than_the_true_one():
    model, x = additive(1, 5), images(1, 1, 5, 1)
    metric = Insertion(steps=5, fill="black", score="target")

    def area(values):
        maps = torch.tensor(values, dtype=torch.float32).view(1, 1, 5)
        return metric.measure(trial(model, x, maps, WHOLE)).value.item()

    best = metric.measure(trial(model, x, contributions(model, x), WHOLE)).value.item()
    assert best == pytest.approx(max(area(order) for order in permutations(range(5))), abs=1e-6)


def test_the_opposite_order_mirrors_deletion():
    model, x = unet(), images(2)
    maps = noise(2, 16, 24)
    shown = Insertion(steps=8, fill="mean").measure(trial(model, x, maps))
    hidden = Deletion(steps=8, fill="mean").measure(trial(model, x, -maps))
    assert torch.allclose(shown.curve, hidden.curve.flip(1), atol=1e-5)
    assert torch.allclose(shown.value, hidden.value, atol=1e-5)


def test_the_ends_are_the_fill_and_the_image():
    model, x = unet(), images(2)
    given = trial(model, x, noise(2, 16, 24), WHOLE)
    found = Insertion(steps=3, score="target").measure(given).curve
    region = given.scene.fix(WHOLE)
    blurred = Scene(model, filling(model, x, "blur")).logits
    assert torch.allclose(found[:, 0], region(blurred), atol=1e-6)
    assert torch.allclose(found[:, -1], region(given.scene.logits), atol=1e-6)


def test_the_region_is_always_shown_when_the_context_is_inserted():
    """By hand: the first stage is the object on the fill, the second has the most salient pixel."""
    model, x, maps = unet(), images(1, 8, 12), noise(1, 8, 12)
    found = Insertion(steps=96 - 35, within="context", fill="grey", score="target").measure(
        trial(model, x, maps, Target(1, Box(1, 2, 6, 9)))
    )
    alone = torch.full_like(x, 0.5)
    alone[:, :, 1:6, 2:9] = x[:, :, 1:6, 2:9]
    outside = maps[0].clone()
    outside[1:6, 2:9] = -9
    y, u = divmod(int(outside.argmax()), 12)
    second = alone.clone()
    second[:, :, y, u] = x[:, :, y, u]
    for stage, image in ((0, alone), (1, second), (-1, x)):
        logits = Scene(model, image).logits
        margin = logits[:, 1] - logits[:, [0, 2]].logsumexp(1)
        expected = margin[:, 1:6, 2:9].mean().item()
        assert found.curve[0, stage].item() == pytest.approx(expected, abs=1e-5)
