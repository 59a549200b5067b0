import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from conceptseg.errors import InputError
from conceptseg.explain.explainers.score_maps import ScoreMaps, ranked, stacked
from conceptseg.explain.regions import Box, Everything
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.small_models import UNet, images, seeded, unet, wrapped

SMALL = {"size_px": 48, "min_size": 20, "dilation_px": 2}
TARGET = Target(1, Everything())


def probabilities(model, x):
    with torch.no_grad():
        return model(x).softmax(1)


def rank_by_loops(values, masks, least=1):
    """XRAI's greedy ranking as the paper has it: all gains anew after each segment."""
    covered = np.zeros(values.shape, dtype=bool)
    painted = np.zeros(values.shape)
    while True:
        best, taken = -np.inf, None
        for mask in masks:
            new = mask & ~covered
            if new.sum() >= least and values[new].mean() > best:
                best, taken = values[new].mean(), new
        if taken is None:
            break
        painted[taken] = best
        covered |= taken
    if not covered.all():
        painted[~covered] = values[~covered].mean()
    return painted


def overlapping(seed, count=30, size=(12, 17)):
    """Random boxes and, so that all is covered, the four quarters of the image."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in size)
        mask = np.zeros(size, dtype=bool)
        mask[top : bottom + 1, left : right + 1] = True
        masks.append(mask)
    rows, columns = np.indices(size)
    quarters = [(rows < 6) ^ a & (columns < 9) ^ b for a in (True, False) for b in (True, False)]
    return rng.normal(size=size), [*masks, *quarters]


@pytest.mark.parametrize("least", [1, 5, 50])
@pytest.mark.parametrize("seed", range(5))
def test_ranking_by_loops(seed, least):
    values, masks = overlapping(seed)
    if least > 1:
        masks = masks[:-4]
    expected = rank_by_loops(values, masks, least)
    found = ranked(values, stacked(masks), least)
    assert np.allclose(found, expected, atol=1e-12)


def test_of_equal_means_the_first_is_taken():
    """Both rows have mean 1, told by sums that rounding tells apart after an update."""
    values = np.array([[9.0, 0.1, 1.7, 1.2], [0.3, 0.6, 2.1, 0.0]])
    first, second = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    first[0], second[1] = True, True
    corner = np.zeros((2, 4), bool)
    corner[:, 0] = True
    found = ranked(values, stacked([first, second, corner]))
    assert np.allclose(found, [[4.65, 1, 1, 1], [4.65, 0.9, 0.9, 0.9]])


def test_a_constant_score_is_painted_constant():
    _, masks = overlapping(0)
    values = np.full((12, 17), 0.1)
    assert np.allclose(ranked(values, stacked(masks)), 0.1, atol=1e-15)


@pytest.mark.parametrize("view", ["segmented", "guided", "similarity"])
def test_the_sum_is_kept(view):
    model, x = unet(), images(2, 32, 48)
    found = ScoreMaps(view=view, **SMALL)(model, x, TARGET)
    expected = probabilities(model, x)[:, 1].sum((1, 2))
    assert torch.allclose(found.sum((1, 2)), expected, rtol=1e-5)
    assert len(found[0].unique()) > 1


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_similarity_is_the_mean_of_each_predicted_region(score):
    model, x = unet(), images(2, 32, 48)
    logits = model(x).detach()
    values = (logits.softmax(1) if score == "probability" else logits)[:, 2].numpy()
    found = ScoreMaps(view="similarity", score=score)(model, x, Target(2, Everything()))
    for i, prediction in enumerate(logits.argmax(1).numpy()):
        sums = np.bincount(prediction.ravel(), values[i].ravel().astype(float), minlength=3)
        means = sums / np.maximum(np.bincount(prediction.ravel(), minlength=3), 1)
        assert np.allclose(found[i], means[prediction], atol=1e-6)


def test_similarity_of_chosen_classes():
    """The target's own class is always among them; the rest of the image shares its mean."""
    model, x = unet(), images(1, 32, 48)
    prediction, values = model(x).argmax(1), probabilities(model, x)[:, 1]
    found = ScoreMaps(view="similarity", classes=(0,))(model, x, TARGET)
    for class_id in range(3):
        inside = prediction == class_id
        assert inside.any()
        assert torch.allclose(found[inside], values[inside].mean(), atol=1e-6)


def test_segmented_and_guided_by_loops():
    model, x = unet(), images(1, 32, 48)
    explainer = ScoreMaps(**SMALL)
    segments = list(explainer.segments(x[0]))
    values = probabilities(model, x)[0, 1].double().numpy()
    prediction = model(x).argmax(1)[0].numpy()
    expected = rank_by_loops(values, segments)
    assert np.allclose(explainer(model, x, TARGET)[0], expected, atol=1e-6)
    classes = [prediction == c for c in range(3)]
    guided = ScoreMaps(view="guided", **SMALL)(model, x, TARGET)[0]
    assert np.allclose(guided, rank_by_loops(values, [*segments, *classes]), atol=1e-6)
    assert not np.allclose(guided, expected, atol=1e-4)


def test_fusion_is_the_highest_score_of_the_chosen_classes():
    model, x = unet(), images(2, 32, 48)
    values = probabilities(model, x)
    everything = ScoreMaps(view="fusion").on(Scene(model, x), [TARGET, Target(0, Everything())])
    assert torch.equal(everything[0], values.amax(1)) and torch.equal(*everything)
    chosen = ScoreMaps(view="fusion", classes=(2, 0))(model, x, TARGET)
    assert torch.equal(chosen, torch.maximum(values[:, 0], values[:, 2]))


def test_the_score_itself_of_output_or_layer():
    model, x = unet(), images(2, 32, 48)
    logits = model(x).detach()
    for target in (TARGET, Target(1, Box(2, 3, 5, 6))):
        assert torch.equal(ScoreMaps(view="scores")(model, x, target), logits.softmax(1)[:, 1])
    found = ScoreMaps(view="scores", score="logit")(model, x, TARGET)
    assert torch.equal(found, logits[:, 1])
    assert torch.allclose(
        ScoreMaps(view="scores", score_layer="head")(model, x, TARGET), logits[:, 1]
    )


def squares():
    """[3, 40, 60]: a red and a green half, and a blue square within the red one."""
    image = torch.zeros(3, 40, 60)
    image[0, :, :30], image[1, :, 30:] = 1, 1
    image[:, 10:25, 8:22] = torch.tensor([0.0, 0, 1]).view(3, 1, 1)
    return image


def test_segments_are_what_the_image_shows():
    image = squares()
    plain = ScoreMaps(size_px=None, dilation_px=0, scales=(50.0,), min_size=20, sigma=0.0)
    found = {mask.tobytes() for mask in plain.segments(image)}
    expected = {(image[c] == 1).numpy().tobytes() for c in range(3)}
    assert found == expected


def test_segments_grow_and_cover_the_image_at_each_scale():
    image = images(1, 40, 60)[0]
    settings = {"size_px": 64, "min_size": 30}
    thin = list(ScoreMaps(dilation_px=0, **settings).segments(image))
    wide = list(ScoreMaps(dilation_px=3, **settings).segments(image))
    assert sum(mask.sum() for mask in thin) == len(ScoreMaps().scales) * 40 * 60
    y, x = np.indices((7, 7)) - 3
    for small, large in zip(thin, wide, strict=True):
        assert np.array_equal(large, binary_dilation(small, y**2 + x**2 <= 9))


def test_a_network_that_sees_one_colour_is_painted_by_its_squares():
    """Planted: the score is high in the blue square alone, whose segment is ranked first."""
    image = squares()
    values = torch.where(image[2] > 0, 0.9, 0.1).double().numpy()
    values[:, :30] += 0.01
    explainer = ScoreMaps(size_px=None, dilation_px=0, scales=(50.0,), min_size=20, sigma=0.0)
    found = ranked(values, stacked(list(explainer.segments(image))))
    assert np.allclose(found, values)


@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_than_three_channels(channels):
    net = wrapped(seeded(UNet, 3, channels=channels), 3, channels)
    x = images(1, 32, 48, channels)
    found = ScoreMaps(**SMALL)(net, x, TARGET)
    assert len(found.unique()) > 1
    flat = ScoreMaps(**SMALL)(net, torch.full_like(x, 0.5), TARGET)
    assert len(flat.unique()) == 1


def test_one_forward_pass():
    scene = Scene(unet(), images(2, 32, 48))
    ScoreMaps(**SMALL).on(scene, [TARGET, Target(2, Everything())])
    assert scene.passes == {"forward": 2}


def test_what_cannot_be():
    model, x = unet(), images(1)
    with pytest.raises(InputError, match="'mid' has 16 channels, not one for each of the 3"):
        ScoreMaps(view="scores", score_layer="mid")(model, x, TARGET)
    for view in ("fusion", "similarity"):
        with pytest.raises(InputError, match="class 3 is not among the 3"):
            ScoreMaps(view=view, classes=(0, 3))(model, x, TARGET)


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 13, 40])
def test_segments_grow_by_a_disk(radius):
    """Against the sum of the mask shifted by every step of the disk."""
    from conceptseg.explain.explainers.score_maps import _grown

    labels = np.random.default_rng(0).integers(0, 4, (6, 7)).repeat(4, 0).repeat(3, 1)
    labels[labels == 1] = 3  # a number that no pixel has is passed over
    grown = list(_grown(labels, radius))
    assert len(grown) == 3
    h, w = labels.shape
    for label, found in zip((0, 2, 3), grown, strict=True):
        expected = np.zeros_like(found)
        for y, x in np.argwhere(labels == label):
            down, across = np.mgrid[:h, :w]
            expected |= (down - y) ** 2 + (across - x) ** 2 <= radius**2
        assert np.array_equal(found, expected)
