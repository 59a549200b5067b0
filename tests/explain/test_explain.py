"""What every explainer is spared: input that cannot be explained is one clear line."""

import pytest
import torch

from conceptseg.errors import InputError
from conceptseg.explain.contract import resized
from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.regions import UserMask
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.small_models import images, unet


def line(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 300
    return text


def test_more_regions_than_there_is_room_for():
    model, x = unet(), images(2, 16, 24)
    targets = [Target(c) for c in (0, 1, 2)] * 3
    scene = Scene(model, x, memory_gib=4 * 8 * 2 * 16 * 24 / 2**30)
    assert SegGradCam(layer="mid").on(scene, targets[:8]).shape == (8, 2, 16, 24)
    with pytest.raises(InputError, match=r"9 regions in 2 images of 16 x 24 .* at most 8") as error:
        SegGradCam(layer="mid").on(scene, targets)
    assert "memory_gib" in line(error)


def test_a_mask_of_zeros_gives_a_map_of_zeros():
    model, x = unet(), images(2)
    nowhere = UserMask(torch.zeros(16, 24, dtype=torch.bool))
    assert SegGradCam(layer="mid")(model, x, Target(1, nowhere)).abs().max() == 0


def test_a_mask_of_another_size_or_type():
    model, x = unet(), images(2)
    with pytest.raises(InputError, match=r"user mask of shape \[4, 4\]") as error:
        SegGradCam(layer="mid")(model, x, Target(1, UserMask(torch.ones(4, 4, dtype=torch.bool))))
    line(error)
    with pytest.raises(InputError, match="holds booleans") as error:
        SegGradCam(layer="mid")(model, x, Target(1, UserMask(torch.ones(16, 24))))
    line(error)


def test_activations_that_are_not_finite():
    model, x = unet(), images(2)
    with torch.no_grad():
        model.module.mid.bn2.bias[0] = float("inf")
    with pytest.raises(InputError, match="not finite") as error:
        SegGradCam(layer="mid")(model, x, Target(1))
    line(error)


@pytest.mark.parametrize("layer", ["head.weight", "mud", "enc1.bn3"])
def test_a_layer_that_does_not_exist(layer):
    with pytest.raises(InputError, match=f"layer '{layer}' does not exist") as error:
        SegGradCam(layer=layer)(unet(), images(1), Target(1))
    line(error)


def test_a_layer_that_no_gradient_comes_from():
    model, x = unet(), images(1)
    forward = model.module.mid.forward
    model.module.mid.forward = lambda inputs: forward(inputs).detach()
    model.module.up2.forward = lambda inputs: torch.zeros(1, 8, 8, 12)
    with pytest.raises(InputError, match="no influence on the logits; choose another") as error:
        SegGradCam(layer="mid")(model, x, Target(1))
    line(error)


def test_resizing_keeps_the_mean_of_a_flat_map():
    flat = torch.full((2, 1, 3, 5), 0.7, dtype=torch.float64)
    found = resized(flat, (12, 20))
    assert found.dtype == torch.float32 and torch.allclose(found, torch.tensor(0.7))
