import pytest
import torch

from conceptseg.explain.fill import filling
from conceptseg.explain.metrics.dice_explained import DiceExplained
from conceptseg.explain.regions import Box, Everything, Predicted
from conceptseg.explain.target import Target
from tests.explain.metrics.judging import noise, pointwise, trial
from tests.small_models import images, unet

FILLS = ("mean", "blur", "black", "grey", "neutral")


def loops(model, image, attribution, class_id, at, fill, kept=None):
    """The formula pixel by pixel, for one image [c, h, w]; `kept` limits what is compared."""
    with torch.no_grad():
        clean = model(image[None]).argmax(1)[0]
        hidden = filling(model, image[None], fill)[0]
        strong = attribution.clamp(min=0)
        saliency = (strong - strong.min()) / (strong.max() - strong.min())
        masked = hidden.clone()
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                if saliency[y, x] >= at:
                    masked[:, y, x] = image[:, y, x]
        again = model(masked[None]).argmax(1)[0]
    both = total = 0
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            if kept is None or kept[y, x]:
                first, second = clean[y, x] == class_id, again[y, x] == class_id
                both += int(first and second)
                total += int(first) + int(second)
    return 2 * both / total


@pytest.mark.parametrize("fill", FILLS)
def test_loops_over_images_thresholds_and_pixels(fill):
    model, x = unet(), images(2, 16, 24)
    maps = noise(2, 16, 24)
    found = DiceExplained(fill=fill).measure(trial(model, x, maps, Target(2)))
    assert found.at == (0.05, 0.1, 0.2, 0.4)
    for i in range(2):
        expected = [loops(model, x[i], maps[i], 2, t, fill) for t in found.at]
        assert found.curve[i].tolist() == pytest.approx(expected, abs=1e-6)
        assert found.value[i].item() == pytest.approx(expected[1], abs=1e-6)
    assert found.curve.unique().numel() > 2


def test_all_of_the_image_explains_all():
    model, x = unet(), images(2, 16, 24)
    for maps in (torch.ones(2, 16, 24), noise(2, 16, 24).abs() + 1):
        method = DiceExplained(threshold=0.0, thresholds=())
        assert method.measure(trial(model, x, maps)).value.tolist() == [1.0, 1.0]


def test_nothing_salient_leaves_the_fill():
    model, x = unet(), images(2, 16, 24)
    found = DiceExplained(fill="grey").measure(trial(model, x, torch.zeros(2, 16, 24), Target(0)))
    with torch.no_grad():
        clean, grey = model(x).argmax(1) == 0, model(torch.full_like(x, 0.5)).argmax(1) == 0
    expected = 2 * (clean & grey).sum((1, 2)) / (clean.sum((1, 2)) + grey.sum((1, 2)))
    assert expected.min() > 0 and expected.max() < 1
    assert torch.equal(found.curve, expected[:, None].expand(2, 4))


def test_the_prediction_s_own_mask_suffices_a_network_without_context():
    """A fill that is another class, and pixels that are seen alone: Dice 1."""
    model, x = pointwise(), images(2, 16, 24)
    with torch.no_grad():
        prediction = model(x).argmax(1)
        of_black = int(model(torch.zeros_like(x)).argmax(1)[0, 0, 0])
    class_id = (of_black + 1) % 3
    maps = (prediction == class_id).float()
    given = trial(model, x, maps, Target(class_id))
    assert DiceExplained(fill="black").measure(given).curve.eq(1).all()
    opposite = trial(model, x, 1 - maps, Target(class_id))
    assert DiceExplained(fill="black").measure(opposite).curve.eq(0).all()


def test_only_the_region_s_part_of_the_class_counts():
    model, x, maps = unet(), images(1, 16, 24), noise(1, 16, 24)
    with torch.no_grad():
        prediction = model(x).argmax(1)[0]
    box = torch.zeros(16, 24, dtype=torch.bool)
    box[:, :9] = True
    kept = box | (prediction != 1)
    found = DiceExplained().measure(
        trial(model, x, maps, Target(1, Predicted(1) & Box(0, 0, 16, 9)))
    )
    expected = [loops(model, x[0], maps[0], 1, t, "mean", kept) for t in found.at]
    assert found.curve[0].tolist() == pytest.approx(expected, abs=1e-6)
    whole = DiceExplained().measure(trial(model, x, maps, Target(1, Everything())))
    plain = [loops(model, x[0], maps[0], 1, t, "mean") for t in whole.at]
    assert whole.curve[0].tolist() == pytest.approx(plain, abs=1e-6)


def test_undefined_where_the_region_is_not_of_the_class():
    given = trial(unet(), images(2), target=Target(1, ~Predicted(1)))
    assert DiceExplained().measure(given).value.isnan().all()


def test_one_pass_per_threshold():
    given = trial(unet(), images(2), noise(2, 16, 24))
    DiceExplained(thresholds=(0.2, 0.6), threshold=0.4).measure(given)
    assert given.scene.passes == {"forward": 2 + 3 * 2}
