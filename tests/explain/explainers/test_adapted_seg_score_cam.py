import torch

from conceptseg.explain.explainers.adapted_seg_score_cam import AdaptedSegScoreCam
from conceptseg.explain.explainers.seg_score_cam import SegScoreCam
from conceptseg.explain.regions import Box, Everything, Pixel
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.test_adapted_seg_grad_cam import unit_range
from tests.small_models import images, unet

TARGET = Target(1, Box(2, 3, 9, 14))


def test_the_mean_of_the_base_method_s_scaled_maps():
    """Seg-Score-CAM itself has an oracle by loops."""
    model, x = unet(), images(2)
    layers = ("up2", "dec1.conv1")
    for weights in ("softmax", "increase"):
        found = AdaptedSegScoreCam(layers=layers, weights=weights)(model, x, TARGET)
        bases = [SegScoreCam(layer=name, weights=weights)(model, x, TARGET) for name in layers]
        for i in range(2):
            expected = sum(unit_range(base[i]) for base in bases) / 2
            assert torch.allclose(found[i], expected, atol=1e-5)


def test_passes():
    """One for the layers, then one for each of their units or of those chosen, for all targets."""
    model, x = unet(), images(1)
    targets = [Target(c, Everything()) for c in range(3)]
    for channels, units in ((None, 8 + 4), (3, 3 + 3)):
        scene = Scene(model, x)
        scene.fix(targets[0])
        before = scene.passes["forward"]
        AdaptedSegScoreCam(layers=("up2", "up1"), channels=channels).on(scene, targets)
        assert scene.passes["forward"] - before == 1 + units


def test_few_units_are_those_of_the_base_method():
    model, x = unet(), images(1)
    found = AdaptedSegScoreCam(layers=("up2",), channels=2, fill="grey")(model, x, TARGET)
    base = SegScoreCam(layer="up2", channels=2, fill="grey")(model, x, TARGET)
    assert torch.allclose(found[0], unit_range(base[0]), atol=1e-5)


def test_the_paper_s_own_target():
    model, x = unet(), images(1)
    own = AdaptedSegScoreCam(layers=("up2",), published_target=True)
    expected = AdaptedSegScoreCam(layers=("up2",))(
        model, x, Target(1, Everything(), "probability", "sum")
    )
    assert torch.equal(own(model, x, Target(1, Pixel(3, 4))), expected)
