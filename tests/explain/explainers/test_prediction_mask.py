import torch

from conceptseg.explain.explainers.prediction_mask import PredictionMask
from conceptseg.explain.regions import Box, Everything, Labelled, Pixel
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.small_models import images, unet

DEEP = PredictionMask(profile="distance")


def test_it_is_the_region():
    scene = Scene(unet(), images(2), torch.randint(-1, 3, (2, 16, 24)))
    prediction = scene.logits.argmax(1)
    found = PredictionMask().on(scene, [Target(1), Target(1, Labelled(2)), Target(0, Pixel(3, 4))])
    assert torch.equal(found[0], (prediction == 1).float())
    assert torch.equal(found[1], (scene.labels == 2).float())
    assert found[2].sum() == 2 and found[2, :, 3, 4].min() == 1


def test_distances_by_loops():
    """To the nearest pixel outside of the region, or beyond the image."""
    model, x = unet(), images(1, 16, 12)
    for region in (None, Box(2, 0, 9, 7), Everything()):
        target = Target(1, region)
        mask = Scene(model, x).fix(target).mask[0]
        outside = [
            (y, z)
            for y in range(-1, 17)
            for z in range(-1, 13)
            if not (0 <= y < 16 and 0 <= z < 12) or not mask[y, z]
        ]
        expected = torch.zeros(16, 12)
        for y, z in mask.nonzero().tolist():
            expected[y, z] = min((y - a) ** 2 + (z - b) ** 2 for a, b in outside) ** 0.5
        assert expected.max() > 1
        assert torch.allclose(DEEP(model, x, target)[0], expected)
