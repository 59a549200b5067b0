import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.errors import InputError
from conceptseg.explain.explainers._convolutions import layers_of
from conceptseg.explain.explainers.adapted_seg_grad_cam import AdaptedSegGradCam
from conceptseg.explain.explainers.seg_grad_cam import SegGradCam
from conceptseg.explain.regions import Box, Everything, Pixel
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from tests.explain.explainers.planted import linear_tail
from tests.small_models import Count, UNet, images, seeded, unet, wrapped

DECODER = (
    "up2",
    "dec2.conv1",
    "dec2.conv2",
    "dec2.short",
    "up1",
    "dec1.conv1",
    "dec1.conv2",
    "dec1.short",
)
TARGET = Target(1, Box(2, 3, 9, 14))


def unit_range(found):
    low, high = found.min(), found.max()
    return (found - low) / (high - low) if high > low else found * 0


def by_hooks(model, x, layers, score):
    """The published steps for one image: raw outputs, mean gradients, rectifier, size, range."""
    outputs = {}
    with torch.enable_grad():
        handles = [
            model.module.get_submodule(name).register_forward_hook(
                lambda module, args, output, name=name: outputs.update({name: output}) or None
            )
            for name in layers
        ]
        logits = model(x)
        slopes = torch.autograd.grad(score(logits).sum(), list(outputs.values()))
    for handle in handles:
        handle.remove()
    maps = []
    for output, slope in zip(outputs.values(), slopes, strict=True):
        found = torch.zeros(output.shape[2:], dtype=output.dtype)
        for k in range(output.shape[1]):
            found += slope[0, k].mean() * output[0, k].detach()
        wide = functional.interpolate(found.relu()[None, None], x.shape[2:], mode="bilinear")[0, 0]
        maps.append(unit_range(wide))
    return torch.stack(maps).mean(0)


def test_the_published_steps_by_hooks():
    model, x = unet().double(), images(1).double()
    expected = by_hooks(model, x, DECODER, TARGET.on(model(x)))
    found = AdaptedSegGradCam()(model, x, TARGET)[0]
    assert torch.allclose(found, expected.float(), atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1


def test_layers_are_found():
    """All convolutions after the bottleneck, but those that put out the class maps."""
    model, x = unet(), images(2, 32, 48)
    assert layers_of(Scene(model, x), None, "decoder") == DECODER
    encoder = tuple(f"{a}.{b}" for a in ("enc1", "enc2") for b in ("conv1", "conv2", "short"))
    assert layers_of(Scene(model, x), None, "encoder and decoder") == encoder + DECODER
    auto = AdaptedSegGradCam()(model, x, TARGET)
    assert torch.equal(auto, AdaptedSegGradCam(layers=DECODER)(model, x, TARGET))


class Supervised(UNet):
    """Has a head for training, which also runs in evaluation, and a gate on the pooled map."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(16, 16, 1)
        self.aux = nn.Sequential(nn.Conv2d(8, 5, 3, padding=1), nn.Conv2d(5, 3, 1))
        self.mid.register_forward_hook(self._gated)
        self.dec2.register_forward_hook(self._told)

    def _gated(self, module, args, output):
        return output * self.gate(output.mean((2, 3), keepdim=True)).sigmoid()

    def _told(self, module, args, output):
        self.aux(output)


def test_heads_for_training_and_gates_are_left_out():
    scene = Scene(wrapped(seeded(Supervised)), images(1, 32, 48))
    assert layers_of(scene, None, "decoder") == DECODER


def test_one_layer_is_the_base_method():
    model, x = unet(), images(2)
    for layer in ("mid", "up2", "dec1"):
        base = SegGradCam(layer=layer)(model, x, TARGET)
        found = AdaptedSegGradCam(layers=(layer,))(model, x, TARGET)
        for one, other in zip(found, base, strict=True):
            assert torch.allclose(one, unit_range(other), atol=1e-5)


def test_order_and_repetition():
    model, x = unet(), images(1)
    one, two = (AdaptedSegGradCam(layers=(name,))(model, x, TARGET) for name in ("up2", "dec1"))
    both = AdaptedSegGradCam(layers=("up2", "dec1"))(model, x, TARGET)
    assert torch.allclose(both, (one + two) / 2, atol=1e-6)
    assert torch.equal(AdaptedSegGradCam(layers=("dec1", "up2"))(model, x, TARGET), both)
    thrice = AdaptedSegGradCam(layers=("up2", "up2", "dec1"))(model, x, TARGET)
    assert torch.allclose(thrice, (2 * one + two) / 3, atol=1e-6)


def test_signed_maps_keep_their_zero():
    model, x = unet(), images(1)
    layers = ("up2", "dec1.conv1")
    found = AdaptedSegGradCam(layers=layers, relu=False)(model, x, TARGET)
    parts = [SegGradCam(layer=name, relu=False)(model, x, TARGET) for name in layers]
    expected = sum(part / part.abs().max() for part in parts) / 2
    assert found.min() < 0
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_layer_that_says_nothing_adds_nothing():
    model, x = unet(), images(1)
    model.module.up1.weight.data.zero_()
    model.module.up1.bias.data.fill_(0.3)
    alone = AdaptedSegGradCam(layers=("up2",))(model, x, TARGET)
    found = AdaptedSegGradCam(layers=("up2", "up1"))(model, x, TARGET)
    assert torch.allclose(found, alone / 2, atol=1e-6)


def test_the_paper_s_own_target():
    """The class's probability summed over the image, whatever score and region were asked for."""
    model, x = unet(), images(2)
    own = AdaptedSegGradCam(published_target=True)
    expected = AdaptedSegGradCam()(model, x, Target(1, Everything(), "probability", "sum"))
    assert torch.equal(own(model, x, Target(1, Pixel(3, 4))), expected)
    assert not torch.allclose(AdaptedSegGradCam()(model, x, Target(1, Pixel(3, 4))), expected)


def test_one_forward_and_one_backward_feed_all_layers():
    model, x = unet(), images(2)
    scene = Scene(model, x)
    targets = [Target(c, Everything()) for c in range(3)]
    layers_of(scene, None, "decoder")
    scene.fix(targets[0])
    count = Count(model)
    slopes = []
    model.module.dec1.register_full_backward_hook(lambda *args: slopes.append(1))
    AdaptedSegGradCam().on(scene, targets)
    assert count.runs["enc1"] == count.runs["dec1"] == 1
    assert len(slopes) == len(targets)


def test_that_there_are_none_is_found_out_once():
    """Of a network without an encoder; three methods ask for its convolutions."""
    model = wrapped(nn.Sequential(nn.Identity()), 3)
    said, count = [], Count(model)
    for _ in range(2):
        with pytest.raises(InputError, match="name layers") as error:
            layers_of(Scene(model, images(1)), None, "decoder")
        said.append((str(error.value), dict(count.runs)))
    assert said[0] == said[1]


def test_layers_that_cannot_be():
    model, x = unet(), images(1)
    with pytest.raises(InputError, match="layer 'mud' does not exist: .*mid"):
        AdaptedSegGradCam(layers=("mud",))(model, x, TARGET)
    with pytest.raises(InputError, match="no convolution between its bottleneck .* name layers"):
        AdaptedSegGradCam()(linear_tail(), x, TARGET)
    with pytest.raises(ValueError, match="at least 1"):
        AdaptedSegGradCam(layers=())
    with pytest.raises(ValueError, match="layers"):
        AdaptedSegGradCam(layers="mid")
