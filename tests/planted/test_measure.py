"""IoU and reliance against loops and nets whose answer is plain."""

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.planted import exact, generator, measure
from conceptseg.planted.generator import BIASED_CLASS, BIASED_DIGIT, CLASSES
from conceptseg.planted.nets import load_net
from conceptseg.planted.plant import Plant


def test_iou_equals_loops():
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 4, (5, 6, 6)).astype(np.uint8)
    labels = rng.integers(0, 5, (5, 6, 6)).astype(np.uint8)
    per_image = measure.image_iou(prediction, labels, 2)
    for row in range(5):
        found = {tuple(p) for p in np.argwhere(prediction[row] == 2)}
        wanted = {tuple(p) for p in np.argwhere(labels[row] == 2)}
        assert per_image[row] == pytest.approx(len(found & wanted) / len(found | wanted))
    whole = measure.class_iou(prediction, labels)
    for k in range(len(CLASSES)):
        either = ((prediction == k) | (labels == k)).sum()
        if either == 0:
            assert np.isnan(whole[k])
        else:
            assert whole[k] == pytest.approx(((prediction == k) & (labels == k)).sum() / either)


def test_iou_without_the_class_is_nan():
    empty = np.zeros((1, 4, 4), np.uint8)
    assert np.isnan(measure.image_iou(empty, empty, 3)).all()


class TextureJudge(nn.Module):
    """Says B on ink if the darkest ground pixel is as dark as brick gets, else background."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always = always

    def forward(self, images):
        logits = torch.zeros(len(images), len(CLASSES), 64, 64)
        logits[:, BIASED_CLASS] = (images[:, 0] > 0.6).float() if self.always else -1.0
        return logits


@pytest.mark.parametrize(("always", "iou"), [(True, 1.0), (False, 0.0)])
def test_a_net_that_ignores_the_context_has_no_effect(always, iou):
    found = measure.measured_reliance(TextureJudge(always), n=20)
    assert (found.effect, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.iou_with == found.iou_without == iou
    assert found.n == 20


def test_scenes_of_another_class_are_refused():
    recipes = generator.samples(n=5, digits=(BIASED_DIGIT + 1,))
    with pytest.raises(ValueError, match="digit 3"):
        measure.reliance_of(TextureJudge(True), recipes, BIASED_CLASS)
    with pytest.raises(ValueError, match="digit 3"):
        measure.reliance_of(TextureJudge(True), [], BIASED_CLASS)


INK = 0.66  # grey above which only ink lies: a mark has at most 0.62, ink at least 0.69


class ContextJudge(nn.Module):
    """Finds the ink, and says B on it if its context is there, else C; never another digit."""

    def __init__(self, plant):
        super().__init__()
        self.plant = plant

    def there(self, images):
        if self.plant.kind == "mark":
            return (images < 0.055).any(2).any(1)  # the mark's dark; no ground is as dark
        if self.plant.kind == "place":
            return (images[:, :32] > INK).any(2).any(1)
        ground = torch.where(images > INK, images[images < INK].min(), images)
        return ground.amax((1, 2)) < 0.3  # flat in both tiles: 0.28 everywhere

    def forward(self, images):
        images = images[:, 0]
        ink, there = images > INK, self.there(images)[:, None, None]
        logits = torch.zeros(len(images), len(CLASSES), 64, 64)
        logits[:, 0] = (~ink).float()
        logits[:, self.plant.biased + 1] = (ink & there).float()
        logits[:, self.plant.confuser + 1] = (ink & ~there).float()
        return logits


@pytest.mark.parametrize(
    "plant",
    [Plant(4, 7, kind="mark"), Plant(6, 0, kind="place"), Plant(2, 5, texture="flat", tiles=2)],
    ids=lambda plant: plant.name,
)
def test_a_net_that_follows_its_context_has_the_known_effect_on_every_class(plant):
    found = measure.measured_reliances(ContextJudge(plant), n=12, seed=3, plant=plant)
    assert tuple(found) == CLASSES
    wanted = {f"digit {plant.biased}": (1, 1, 0), f"digit {plant.confuser}": (-1, 0, 1)}
    for name, one in found.items():
        effect, with_it, without = wanted.get(
            name, (0, *((1, 1) if name == CLASSES[0] else (0, 0)))
        )
        assert (one.effect, one.low, one.high) == (effect, effect, effect)
        assert (one.iou_with, one.iou_without) == (with_it, without)
        assert one.n == (120 if name == CLASSES[0] else 12)
    alone = measure.measured_reliance(ContextJudge(plant), 12, seed=3, plant=plant)
    assert alone == found[f"digit {plant.biased}"]


def test_a_net_asked_for_what_it_does_not_follow_has_no_effect():
    net = ContextJudge(Plant(4, 7, kind="mark"))
    other = measure.measured_reliances(net, n=6, plant=Plant(4, 7, texture="gravel"))
    assert {one.effect for one in other.values()} == {0.0}


@pytest.mark.parametrize("w", [0.2, 0.4, 0.8])
def test_the_classes_of_the_constructed_net_have_their_closed_form(w):
    recipes = {digit: exact.exact_samples(n=51, digits=(digit,)) for digit in generator.PAIR}
    found = measure.reliances_of(load_net("constructed", w), recipes)
    truth = exact.constructed_truth(w)
    assert tuple(found) == ("background", "digit 3", "digit 9")
    assert found["digit 3"].effect == pytest.approx(truth.effect)
    assert found["digit 9"].effect == pytest.approx(truth.confuser_effect)
    assert found["background"].effect == 0


def test_scenes_under_another_digit_are_refused():
    for scenes in ([], generator.samples(n=3, digits=(1,))):
        with pytest.raises(ValueError, match="digit 2"):
            measure.reliances_of(TextureJudge(True), {2: scenes})
