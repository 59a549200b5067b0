import pytest
import torch

from conceptseg.explain.fill import filling
from conceptseg.explain.metrics.prediction_preserved import PredictionPreserved
from conceptseg.explain.regions import Box, Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import noise, pointwise, trial
from tests.small_models import images, unet

MODEL, X = unet(), images(2)


def loops(image, mask, class_id, fill, kept=None):
    """The formula pixel by pixel, of one image [c, h, w]."""
    hidden = filling(MODEL, image[None], fill)[0]
    with torch.no_grad():
        before = MODEL(image[None]).softmax(1)[0, class_id]
        after = MODEL((mask * image + (1 - mask) * hidden)[None]).softmax(1)[0, class_id]
    left = total = 0.0
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            if kept is None or kept[y, x]:
                left += min(before[y, x].item(), after[y, x].item())
                total += before[y, x].item()
    return left / total


@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
@pytest.mark.parametrize("mode", ["soft", "binary"])
def test_loops(mode, fill):
    maps = noise(2, 16, 24).relu()
    found = PredictionPreserved(mode=mode, fill=fill, threshold=0.3).measure(trial(MODEL, X, maps))
    for i in range(2):
        mask = maps[i] / maps[i].max()
        mask = mask if mode == "soft" else (mask >= 0.3).float()
        expected = loops(X[i], mask, 1, fill)
        assert found.value[i].item() == pytest.approx(expected, abs=1e-5)
    assert found.value.max() < 1


def test_a_mask_of_ones_preserves_all():
    for mode in ("soft", "binary"):
        found = PredictionPreserved(mode=mode).measure(trial(MODEL, X, torch.ones(2, 16, 24)))
        assert found.value.tolist() == pytest.approx([1.0, 1.0])


def test_soft_is_binary_where_the_map_is():
    given = trial(MODEL, X, (noise(2, 16, 24) > 0).float())
    values = [PredictionPreserved(mode=mode).measure(given).value for mode in ("soft", "binary")]
    assert torch.allclose(*values, atol=1e-6)


def test_hard_pixelwise_predictions_are_preserved_by_their_own_mask():
    """And by the rest of the image not at all."""
    model = pointwise()
    with torch.no_grad():
        model.module.weight *= 1e4
        model.module.bias *= 1e4
    prediction = Scene(model, X).logits.argmax(1)
    of_black = int(Scene(model, torch.zeros_like(X)).logits.argmax(1)[0, 0, 0])
    class_id = (of_black + 1) % 3
    own = (prediction == class_id).float()
    for maps, expected in ((own, 1.0), (1 - own, 0.0)):
        found = PredictionPreserved().measure(trial(model, X, maps, Target(class_id)))
        assert found.value.tolist() == pytest.approx([expected] * 2, abs=1e-3)


def test_the_class_elsewhere_does_not_count():
    maps = noise(2, 16, 24).relu()
    target = Target(1, Predicted(1) & Box(0, 0, 16, 9))
    found = PredictionPreserved().measure(trial(MODEL, X, maps, target))
    kept = Scene(MODEL, X).logits.argmax(1) != 1
    kept[:, :, :9] = True
    for i in range(2):
        expected = loops(X[i], maps[i] / maps[i].max(), 1, "black", kept[i])
        assert found.value[i].item() == pytest.approx(expected, abs=1e-5)
