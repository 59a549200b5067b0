"""IoU and reliance against loops and nets whose answer is plain."""

import numpy as np
import pytest
import torch
from torch import nn

from conceptseg.planted import generator, measure
from conceptseg.planted.generator import BIASED_CLASS, BIASED_DIGIT, CLASSES


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
