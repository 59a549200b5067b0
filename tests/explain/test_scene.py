import pytest
import torch
from torch import nn

from conceptseg.config import Preprocessing
from conceptseg.errors import InputError
from conceptseg.explain.regions import Box, Everything, Labelled, Pixel, Predicted
from conceptseg.explain.scene import Scene, check_images
from conceptseg.explain.target import Target
from conceptseg.network import choice
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import Tail
from tests.small_models import UNet, images, seeded, unet, wrapped


class Passes:
    """How many images each pass of the network was given."""

    def __init__(self, model):
        self.sizes = []
        model.module.register_forward_pre_hook(self._see)

    def _see(self, module, args):
        self.sizes.append(len(args[0]))

    @property
    def images(self):
        return sum(self.sizes)


def dimmed(x, start, stop):
    """Variant j is the image, j tenths darker from column j on."""
    made = []
    for j in range(start, stop):
        one = x.clone()
        one[..., j:] *= 1 - j / 10
        made.append(one)
    return torch.stack(made, 1)


def read(logits):
    """Two numbers per row."""
    return torch.stack((logits[:, 1].mean((1, 2)), logits[:, 2, 3, 4]))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7, 64])
def test_respond_is_a_loop_over_the_network(n, batch_size):
    model, x = unet(), images(n)
    expected = torch.zeros(2, n, 7)
    with torch.no_grad():
        for i in range(n):
            for j in range(7):
                variant = x[i : i + 1].clone()
                variant[..., j:] *= 1 - j / 10
                logits = model(variant)[0]
                expected[0, i, j] = logits[1].mean()
                expected[1, i, j] = logits[2, 3, 4]
    seen = Passes(model)
    scene = Scene(model, x, batch_size=batch_size)
    found = scene.respond(7, dimmed, read)
    assert found.shape == (2, n, 7)
    assert torch.allclose(found, expected, atol=1e-6)
    assert expected.std(2).min() > 0
    assert max(seen.sizes) <= batch_size
    assert scene.passes == {"forward": 7 * n} and seen.images == 7 * n


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_scores_of_keeps_each_image_s_own_region(batch_size):
    model, x = unet(), images(3)
    scene = Scene(model, x, batch_size=batch_size)
    targets = [Target(1), Target(2, score="logit", reduce="sum"), Target(0, Box(2, 3, 7, 9))]
    scores = [scene.fix(target) for target in targets]
    found = scene.scores_of(4, dimmed, scores)
    assert found.shape == (3, 3, 4)
    with torch.no_grad():
        for i in range(3):
            for j in range(4):
                logits = model(dimmed(x[i : i + 1], j, j + 1)[0])
                for t, score in enumerate(scores):
                    expected = score.image(i)(logits).item()
                    assert found[t, i, j].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert scene.passes == {"forward": 3 + 12}


def test_respond_where_there_are_no_images():
    found = Scene(unet(), images(0)).respond(3, dimmed, read)
    assert found.shape == (2, 0, 3)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_forward(batch_size):
    model, x = unet(), images(5)
    with torch.no_grad():
        expected = model(x)
    seen = Passes(model)
    scene = Scene(model, x[:2], batch_size=batch_size)
    found = scene.forward(x)
    assert torch.allclose(found, expected, atol=1e-6) and not found.requires_grad
    assert max(seen.sizes) <= batch_size and scene.passes == {"forward": 5}
    assert scene.forward(x[:0]).shape == (0, 3, 16, 24)


def test_forward_is_an_evaluation():
    """Whatever mode the network is in, which it stays in."""
    model, x = unet(), images(2)
    expected = Scene(model, x).logits
    model.train()
    assert torch.equal(Scene(model, x).logits, expected)
    assert model.training and all(p.requires_grad for p in model.parameters())


def test_input_gradients_by_differences():
    """Two variants of each of two images, three scores, every pixel and channel."""
    model = unet().double()
    x = images(2, 4, 8).double()
    scene = Scene(model, x)
    targets = [Target(1, Everything()), Target(2, Pixel(1, 2), score="logit"), Target(0)]
    scores = [scene.fix(target) for target in targets]
    rows = torch.cat([dimmed(x[i : i + 1], 1, 3)[0] for i in range(2)])
    found = scene.input_gradients(rows, scores)
    assert found.shape == (3, 4, 3, 4, 8)
    step = 1e-6
    for c, y, at in torch.cartesian_prod(*map(torch.arange, x.shape[1:])).tolist():
        sides = []
        for sign in (1, -1):
            moved = rows.clone()
            moved[:, c, y, at] += sign * step
            with torch.no_grad():
                logits = model(moved)
            sides.append(torch.stack([score(logits) for score in scores]))
        slope = (sides[0] - sides[1]) / (2 * step)
        assert torch.allclose(found[:, :, c, y, at], slope, rtol=1e-4, atol=1e-7)
    assert found.abs().amax((1, 2, 3, 4)).min() > 0


def test_input_gradients_are_counted_and_leave_nothing():
    model, x = unet(), images(2)
    seen = Passes(model)
    scene = Scene(model, x)
    scores = [scene.fix(Target(c, Everything())) for c in range(3)]
    with torch.no_grad():
        found = scene.input_gradients(x, scores)
    assert scene.passes == {"forward": 4, "backward": 6} and seen.images == 4
    assert not found.requires_grad and not x.requires_grad and x.grad is None
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


class Blind(nn.Module):
    """Logits that do not depend on the image but through class 0."""

    def __init__(self, see):
        super().__init__()
        self.own = nn.Parameter(torch.arange(3.0))
        self.see = see

    def forward(self, x):
        logits = self.own[None, :, None, None].expand(len(x), 3, *x.shape[2:])
        return torch.cat((x[:, :1], logits[:, 1:]), 1) if self.see else logits


@pytest.mark.parametrize("see", [True, False])
def test_input_gradients_without_influence_are_zero(see):
    scene = Scene(wrapped(Blind(see), 3), images(2))
    scores = [scene.fix(Target(c, Everything(), score="logit")) for c in range(2)]
    found = scene.input_gradients(scene.images, scores)
    assert found[1].abs().max() == 0
    expected = torch.zeros(2, 3, 16, 24)
    expected[:, 0] = see / (16 * 24)
    assert torch.allclose(found[0], expected)


def test_an_empty_region_has_no_gradient():
    scene = Scene(unet(), images(2))
    nowhere = scene.fix(Target(1, Predicted(1) & ~Predicted(1)))
    assert scene.input_gradients(scene.images, [nowhere]).abs().max() == 0
    assert scene.gradient("mid", nowhere).abs().max() == 0


def test_a_tail_is_made_once_and_lends_its_logits():
    model, x = unet(), images(2)
    seen = Passes(model)
    scene = Scene(model, x)
    tail = scene.tail("mid")
    assert scene.tail("mid") is tail
    assert torch.equal(scene.logits, tail.logits)
    scene.fix(Target(1))
    assert scene.passes == {"forward": 2} and seen.images == 2
    assert not scene.logits.requires_grad and not tail.activation.requires_grad


def test_a_tail_gets_a_graph_when_one_is_asked_for():
    model, x = unet(), images(2)
    scene = Scene(model, x)
    plain = scene.tail("mid")
    plain.resume(plain.activation)
    logits = scene.logits
    graph = scene.tail("mid", graph=True)
    assert graph is not plain and graph.activation.requires_grad
    assert torch.equal(graph.activation, plain.activation)
    assert scene.tail("mid") is graph and scene.tail("mid", graph=True) is graph
    assert scene.logits is logits
    assert scene.passes == {"forward": 4, "tail": 2}


def test_tails_of_several_layers():
    scene = Scene(unet(), images(2))
    for layer in ("mid", "enc2", "mid"):
        scene.tail(layer)
    assert scene.passes == {"forward": 4}
    assert scene.tail("auto") is scene.tail(scene.layer("auto"))
    for layer in ("mid", "enc2"):
        tail = scene.tail(layer)
        assert torch.allclose(tail.resume(tail.activation), scene.logits, atol=1e-6)
    with pytest.raises(InputError, match="layer 'mud' does not exist"):
        scene.tail("mud")


def test_gradients_are_those_of_a_tail_and_taken_once():
    model, x = unet(), images(2)
    scene = Scene(model, x)
    for target in (Target(1), Target(2, Box(2, 3, 7, 9), score="logit", reduce="sum")):
        score = scene.fix(target)
        expected = Tail.of(model, x, "mid", graph=True).gradient(score)
        first = scene.gradient("mid", score)
        assert expected.abs().max() > 0 and torch.equal(first, expected)
        assert scene.gradient("mid", score) is first
    # One forward pass for the regions, before there was a tail, and one for the tail.
    assert scene.passes == {"forward": 4, "tail backward": 4}


def test_all_passes_are_counted():
    model, x = unet(), images(2)
    seen = Passes(model)
    scene = Scene(model, x, batch_size=3)
    scene.tail("mid", graph=True)
    scene.gradient("mid", scene.fix(Target(1)))
    scene.tail("enc1")
    scene.forward(images(5))
    scene.respond(4, dimmed, read)
    scene.input_gradients(x, [scene.fix(Target(0)), scene.fix(Target(1))])
    assert scene.passes == {"forward": 2 + 2 + 5 + 8 + 2, "tail backward": 2, "backward": 4}
    assert seen.images == scene.passes["forward"]


def test_regions_are_fixed_by_the_clean_images():
    model, x = unet(), images(2)
    scene = Scene(model, x)
    target = Target(1)
    fixed = scene.fix(target)
    with torch.no_grad():
        clean, changed = model(x).argmax(1) == 1, model(1 - x).argmax(1) == 1
    assert not torch.equal(clean, changed)
    assert torch.equal(fixed.mask, clean)
    scene.forward(1 - x)
    assert scene.fix(target) is fixed and scene.fix(Target(1)) is fixed
    assert scene.fix(Target(2)) is not fixed


def test_labels():
    labels = torch.zeros(2, 16, 24, dtype=torch.int64)
    labels[1, 3:5] = 1
    scene = Scene(unet(), images(2), labels)
    assert torch.equal(scene.fix(Target(1, Labelled(1))).mask, labels == 1)
    with pytest.raises(InputError, match="needs labels"):
        Scene(unet(), images(2)).fix(Target(1, Labelled(1)))


def test_the_recommended_layer_is_chosen_once_per_size(monkeypatch):
    calls, own = [], choice.choose
    monkeypatch.setattr(choice, "choose", lambda *given: calls.append(given) or own(*given))
    model = unet()
    names = {Scene(model, images(2, seed=seed)).layer("auto") for seed in (1, 2)}
    assert names == {model.layer_name("auto", images(2))} and len(calls) == 1
    Scene(model, images(1, 32, 32)).layer("auto")
    assert len(calls) == 2
    Scene(unet(), images(2)).layer("auto")
    assert len(calls) == 3, "another network, though of the same weights"
    assert Scene(model, images(2)).layer("anything else") == "anything else"
    assert len(calls) == 3


def test_the_recommended_layer_of_images_that_are_made_smaller():
    """At 4 x 4 px the deepest block has one pixel left, so that it cannot be recommended."""

    def shrinking(module):
        names = ["a", "b", "c"]
        return SegmentationModel(module, names, Preprocessing(size=(4, 4)), name="small")

    x, shared = images(1, 32, 48), unet()
    Scene(shared, x).layer("auto")
    small = Scene(shrinking(shared.module), x)
    assert small.layer("auto") == Scene(shrinking(seeded(UNet)), x).layer("auto") != "mid"
    assert small.tail("auto").activation.shape[2:] != (1, 1)


def test_length_and_size():
    scene = Scene(unet(), images(3, 12, 20))
    assert len(scene) == 3 and scene.size == (12, 20)
    assert Scene(unet(), images(3), batch_size=0).batch_size == 1


def test_images_keep_no_graph():
    scene = Scene(unet(), images(2).requires_grad_())
    assert not scene.images.requires_grad and not scene.logits.requires_grad


def test_in_inference_mode():
    model, x = unet(), images(2)
    scene = Scene(model, x)
    score = scene.fix(Target(1, Everything()))
    expected = [
        scene.respond(3, dimmed, read),
        scene.input_gradients(x, [score]),
        scene.gradient("mid", score),
    ]
    with torch.inference_mode():
        other = Scene(model, x.clone())
        score = other.fix(Target(1, Everything()))
        assert torch.equal(other.respond(3, dimmed, read), expected[0])
        assert torch.equal(other.input_gradients(other.images, [score]), expected[1])
        assert torch.equal(other.gradient("mid", score), expected[2])


def test_room_for_maps():
    """4 bytes for each of t n h w values: 3 x 2 x 16 x 24 of them are 9216 bytes."""
    room = 9216 / 2**30
    scene = Scene(unet(), images(2), memory_gib=room)
    scene.check_room(3)
    with pytest.raises(InputError, match="4 regions in 2 images of 16 x 24 .* at most 3 at a time"):
        scene.check_room(4)


@pytest.mark.parametrize("x", [images(1) * 0, images(1) * 0 + 1, images(1) * 1.0005, images(0)])
def test_images_at_the_edge_of_the_range(x):
    check_images(unet(), x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images(1)[0], r"images are floating point \[n, c, h, w\]"),
        (images(1).to(torch.uint8), "images are floating point .*uint8"),
        (images(1, channels=2), "takes images with 3 channels, these have 2"),
        (images(1) - 0.01, r"images are in \[0, 1\], got -0"),
        (images(1) * 2, r"images are in \[0, 1\], got .* to "),
        (images(1) * float("nan"), r"images are in \[0, 1\], got nan"),
    ],
)
def test_images_that_are_refused(x, message):
    with pytest.raises(InputError, match=message):
        Scene(unet(), x)
