import pytest
import torch
from torch import nn
from torch.nn import functional

from conceptseg.errors import InputError
from conceptseg.network.record import Recorder, Tail, encode, undisturbed
from tests.small_models import (
    ChannelsLast,
    Count,
    Tokens,
    UNet,
    hooks,
    images,
    seeded,
    unet,
    wrapped,
)


def centre(logits):
    return logits[:, 1].mean((1, 2))


def finite_differences(function, x, indices, step=1e-5):
    """Central differences of a scalar function at some entries of x."""
    found = []
    for index in indices:
        sides = []
        for sign in (1, -1):
            moved = x.clone()
            moved.view(-1)[index] += sign * step
            sides.append(function(moved))
        found.append((sides[0] - sides[1]) / (2 * step))
    return torch.stack(found)


class Odd(nn.Module):
    """A network that writes into its layers' outputs, runs one layer three times, may fail."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.same = nn.Conv2d(3, 3, 1)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(3, 3, 1)
        self.side = nn.Conv2d(3, 3, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fail = False

    def forward(self, x):
        x = self.relu(self.conv(x))
        x = self.same(x)
        x *= 2
        x = self.same(x)
        self.side(x)
        if self.fail:
            raise RuntimeError("the network's own")
        return self.relu(self.same(x)) * self.pool(x)


@pytest.fixture
def odd():
    return wrapped(seeded(Odd))


# --- encode and Recorder


def test_encode_is_the_layer_s_output_and_stops_there():
    model = unet()
    x = images()
    count = Count(model)
    found = encode(model, x, "mid")
    with torch.no_grad():
        module = model.module
        expected = module.mid(module.enc2(module.enc1(2 * x - 1)))
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert count.runs.get("up2") is None and count.runs["enc1"] == 2


def test_the_stop_passes_through_except_exception(odd):
    class Careful(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            try:
                return self.inner(x)
            except Exception:
                return x

    model = wrapped(Careful(odd.module))
    assert encode(model, images(), "inner.conv").shape == (2, 3, 16, 24)


def test_activations_survive_in_place_rectifiers(odd):
    x = images()
    with torch.no_grad(), Recorder(odd, ["conv"]) as recorder:
        logits = recorder(x)
    module = odd.module
    with torch.no_grad():
        assert torch.equal(recorder.activations["conv"], module.conv(x))
        assert recorder.activations["conv"].min() < 0
        assert torch.equal(logits, odd(x))


def test_calls_are_counted(odd):
    x = images()
    with torch.no_grad(), Recorder(odd, ["same", "same#1", "same#2"]) as recorder:
        recorder(x)
        first = odd.module.same(odd.module.conv(x).relu())
        second = odd.module.same(first * 2)
    assert torch.equal(recorder.activations["same"], first)
    assert torch.equal(recorder.activations["same#1"], second)
    assert torch.equal(encode(odd, x, "same#1"), second)


def test_an_edit_changes_what_follows():
    model = unet()
    x = images()
    module = model.module
    with torch.no_grad(), Recorder(model, ["dec2"], edit={"mid": lambda a: a * 0}) as recorder:
        logits = recorder(x)
    with torch.no_grad():
        first = module.enc1(2 * x - 1)
        second = module.enc2(first)
        deep = module.mid(second) * 0
        out = module.dec2(torch.cat((module.up2(deep), second * 0.5), 1))
        expected = module.dec1(torch.cat((module.up1(out), first.relu()), 1))
    assert torch.allclose(recorder.activations["dec2"], out, atol=1e-6)
    assert torch.allclose(logits, module.head(expected), atol=1e-6)
    assert recorder.activations["mid"].abs().max() == 0


def test_gradients_of_several_layers_by_finite_differences():
    model = unet().double()
    x = images(1).double()
    with Recorder(model, ["enc2", "mid"], gradients=True) as recorder:
        recorder(x)
    found = recorder.gradient(centre)
    for layer in ("enc2", "mid"):
        activation = recorder.activations[layer].detach()
        indices = range(0, activation.numel(), activation.numel() // 7)

        def score(a, layer=layer):
            with torch.no_grad(), Recorder(model, [], edit={layer: lambda _: a}) as again:
                return centre(again(x))[0]

        expected = finite_differences(score, activation, indices)
        actual = found[layer].view(-1)[list(indices)]
        assert torch.allclose(actual, expected, rtol=1e-5, atol=1e-9)


def test_images_may_carry_a_graph():
    model = unet()
    x = images().requires_grad_()
    with Recorder(model, ["mid"], stop=True) as recorder:
        recorder(x)
    (found,) = torch.autograd.grad(recorder.activations["mid"].sum(), x)
    assert found.abs().sum() > 0


def test_a_layer_without_influence_has_zero_gradient(odd):
    with Recorder(odd, ["side", "conv"], gradients=True) as recorder:
        recorder(images())
    found = recorder.gradient(lambda logits: logits.sum((1, 2, 3)))
    assert found["side"].abs().max() == 0 < found["conv"].abs().max()
    with Recorder(odd, ["conv"]) as recorder:
        recorder(images())
    with pytest.raises(ValueError, match="gradients=True"):
        recorder.gradient(centre)


@pytest.mark.parametrize("use", [
    lambda model, x: encode(model, x, "mid"),
    lambda model, x: Tail.of(model, x, "mid"),
    lambda model, x: Tail.of(model, x, "mid", graph=True).gradient(centre),
    lambda model, x: (tail := Tail.of(model, x, "mid")).resume(tail.activation),
])  # fmt: skip
def test_nothing_is_left_behind(use):
    model = unet()
    model.train()
    model.module.enc2.eval()
    model.module.head.weight.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    x = images()
    kept = x.clone()
    use(model, x)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert all(parameter.grad is None for parameter in model.parameters())
    assert hooks(model) == 0
    assert torch.equal(x, kept) and not x.requires_grad
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("use", [
    lambda model, x: encode(model, x, "pool"),
    lambda model, x: Tail.of(model, x, "conv", graph=True),
])  # fmt: skip
def test_nothing_is_left_behind_after_an_error(odd, use):
    odd.module.fail = True
    odd.train()
    with pytest.raises(InputError, match="RuntimeError: the network's own"):
        use(odd, images())
    assert hooks(odd) == 0
    assert odd.module.conv.training
    assert all(parameter.requires_grad for parameter in odd.parameters())
    odd.module.fail = False
    tail = Tail.of(odd, images(), "same")
    odd.module.fail = True
    with pytest.raises(InputError, match="the network's own"):
        tail.resume(tail.activation)
    assert hooks(odd) == 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("mid.conv3", r"layer 'mid.conv3' does not exist: did you mean .*'mid.conv1'"),
        ("", "does not exist"),
        ("mid#x", "after '#' comes a call's number"),
        ("mid#2", "ran only 1 times|did not run"),
    ],
)
@pytest.mark.parametrize("use", [encode, Tail.of])
def test_layers_that_cannot_be_read(use, layer, message):
    with pytest.raises(InputError, match=message):
        use(unet(), images(), layer)


@pytest.mark.parametrize("use", [encode, Tail.of])
def test_layers_without_map_or_way(use, odd):
    with pytest.raises(InputError, match=r"layer 'pool' has no spatial output.*\[2, 3, 1, 1\]"):
        use(odd, images(), "pool")
    with pytest.raises(InputError, match="layer 'unused' did not run"):
        use(odd, images(), "unused")
    with pytest.raises(InputError, match="layer 'side' has no influence on the logits"):
        Tail.of(odd, images(), "side", graph=True)


def test_torchscript_cannot_be_reached():
    traced = torch.jit.trace(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), images())
    model = wrapped(nn.Sequential(traced, nn.Conv2d(3, 3, 1)))
    with pytest.raises(InputError, match="did not run|TorchScript"):
        Tail.of(model, images(), "0.0")
    tail = Tail.of(model, images(), "1")
    assert torch.equal(tail.resume(tail.activation), tail.logits)


# --- Tail


def reference(name):
    """A network, a layer in its middle, and a size of image."""
    if name == "unet":
        return wrapped(seeded(UNet)), "mid", (16, 24)
    if name == "unet, inside a residual block":
        return wrapped(seeded(UNet)), "mid.bn2", (16, 24)
    if name == "unet, decoder":
        return wrapped(seeded(UNet)), "dec2", (16, 24)
    if name == "tokens":
        return wrapped(seeded(Tokens, extra=2)), "blocks.0", (32, 40)
    if name == "tokens, inside a block":
        return wrapped(seeded(Tokens)), "blocks.1.mlp", (32, 40)
    if name == "channels last":
        return wrapped(seeded(ChannelsLast)), "middle.0", (16, 24)
    if name == "smp":
        smp = pytest.importorskip("segmentation_models_pytorch")
        net = seeded(smp.Unet, "resnet18", encoder_weights=None, classes=3)
        return wrapped(net), "encoder.layer4", (64, 96)
    if name == "segformer":
        transformers = pytest.importorskip("transformers")
        config = transformers.SegformerConfig(
            hidden_sizes=[4, 8, 8, 16], depths=[1] * 4, decoder_hidden_size=8, num_labels=3,
            num_attention_heads=[1, 1, 1, 1],
        )  # fmt: skip
        net = seeded(transformers.SegformerForSemanticSegmentation, config)
        names = [name for name, _ in net.named_modules()]
        return wrapped(net), [name for name in names if name.endswith("stages.2.layer_norm")
                           or name.endswith("encoder.layer_norm.2")][0], (64, 96)  # fmt: skip
    from torchvision.models import segmentation

    if name == "lraspp":
        build, layer = segmentation.lraspp_mobilenet_v3_large, "backbone.16"
    else:
        build, layer = segmentation.deeplabv3_resnet50, "backbone.layer4"
    net = seeded(build, weights=None, weights_backbone=None, num_classes=3)
    return wrapped(net), layer, (64, 96)


NETS = [
    "unet", "unet, inside a residual block", "unet, decoder", "tokens", "tokens, inside a block",
    "channels last", "smp", "segformer", "lraspp", "deeplab",
]  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_a_tail_is_the_network(name):
    """Splitting, resuming, editing and the gradient all agree with the whole network."""
    model, layer, size = reference(name)
    x = images(2, *size)
    with torch.no_grad():
        clean = model(x)
    tail = Tail.of(model, x, layer, graph=True)
    scale = clean.abs().max()
    assert (tail.logits - clean).abs().max() <= 1e-6 * scale
    activation = tail.activation.detach()
    assert (encode(model, x, layer) - activation).abs().max() <= 1e-6 * activation.abs().max()
    assert (tail.resume(activation) - clean).abs().max() <= 1e-6 * scale

    variants = torch.stack((activation, -activation, 2 * activation), 1).flatten(0, 1)
    resumed = tail.resume(variants)
    assert resumed.shape == (6, *clean.shape[1:])
    for r, factor in enumerate((1, -1, 2)):
        with torch.no_grad(), Recorder(model, [], edit={layer: lambda a, f=factor: a * f}) as whole:
            expected = whole(x)
        assert (resumed[r::3] - expected).abs().max() <= 2e-6 * expected.abs().max()
        assert r == 0 or (expected - clean).abs().max() > 1e-4 * scale

    with Recorder(model, [layer], gradients=True) as whole:
        whole(x)
        expected = whole.gradient(centre)[layer]
    found = tail.gradient(centre)
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, atol=1e-6 * float(expected.abs().max()))


def test_what_came_before_the_layer_is_not_run_again():
    model = unet()
    x = images()
    count = Count(model)
    tail = Tail.of(model, x, "mid", graph=True)
    assert all(count.runs[name] == 1 for name in ("enc1", "enc2", "enc1.conv1", "mid", "head"))
    tail.gradient(centre)
    tail.resume(tail.activation)
    tail.resume(tail.activation.repeat_interleave(4, 0))
    # The calls of the outermost modules are made, and answered from what was kept.
    for name in ("enc1.conv1", "enc1.bn2", "enc2.conv1", "mid.conv1"):
        assert count.runs[name] == 1
    for name in ("up2", "dec2.conv1", "dec1", "head"):
        assert count.runs[name] == 3


def test_the_gradient_by_finite_differences_of_resumed_passes():
    model = unet().double()
    x = images(1).double()
    tail = Tail.of(model, x, "mid", graph=True)
    found = tail.gradient(centre)
    activation = tail.activation.detach()
    indices = list(range(0, activation.numel(), 5))
    expected = finite_differences(lambda a: centre(tail.resume(a))[0], activation, indices)
    assert torch.allclose(found.view(-1)[indices], expected, rtol=1e-6, atol=1e-10)
    variant = activation.clone().requires_grad_()
    (resumed,) = torch.autograd.grad(centre(tail.resume(variant)).sum(), variant)
    assert torch.allclose(resumed, found, atol=1e-12)


def test_one_graph_serves_several_scores():
    tail = Tail.of(unet(), images(), "mid", graph=True)
    first = tail.gradient(centre)
    other = tail.gradient(lambda logits: logits[:, 2].amax((1, 2)))
    assert not torch.allclose(first, other)
    assert torch.equal(tail.gradient(centre), first)
    assert tail.gradient(lambda logits: torch.zeros(2)).abs().max() == 0
    with pytest.raises(ValueError, match="graph=True"):
        Tail.of(unet(), images(), "mid").gradient(centre)


def test_the_graph_reaches_from_the_activation_on_only():
    model = unet()
    tail = Tail.of(model, images(), "mid", graph=True)
    wanted = [tail.activation, *model.parameters()]
    found = torch.autograd.grad(tail.logits.sum(), wanted, allow_unused=True)
    assert found[0] is not None
    assert all(gradient is None for gradient in found[1:])


def test_a_batch_is_its_images():
    model = unet()
    x = images(2)
    both = Tail.of(model, x, "mid", graph=True)
    ones = [Tail.of(model, x[i : i + 1], "mid", graph=True) for i in range(2)]
    gradients = torch.cat([one.gradient(centre) for one in ones])
    assert torch.allclose(both.gradient(centre), gradients, atol=1e-7)


def test_layers_that_others_write_into(odd):
    """Kept outputs that the network itself changes in place are those of their own time."""
    x = images()
    for layer in ("conv", "same", "same#1", "same#2"):
        tail = Tail.of(odd, x, layer)
        for _ in range(2):
            assert torch.equal(tail.resume(tail.activation), odd(x).detach())


class Hidden(nn.Module):
    """Runs another network's layers behind its back, so that names say nothing of nesting."""

    def __init__(self, blocks):
        super().__init__()
        self.store = blocks
        self.runner = Runner([blocks])

    def forward(self, x):
        return self.runner(x)


class Runner(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.hidden = hidden

    def forward(self, x):
        (blocks,) = self.hidden
        skip = blocks[0](x)
        skip += 1
        deep = blocks[1](skip)
        skip *= 3
        return deep + skip


def test_in_place_changes_where_names_do_not_tell():
    model = wrapped(seeded(lambda: Hidden(nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(2)))))
    x = images()
    tail = Tail.of(model, x, "store.1")
    for _ in range(2):
        assert torch.equal(tail.resume(tail.activation), model(x).detach())


def test_what_is_written_into_is_found_once():
    """The first tail of a network that writes into kept outputs costs a second pass, no later."""
    model = wrapped(seeded(lambda: Hidden(nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(2)))))
    model.settle(images())
    count = Count(model)
    for passes in (2, 3, 4):
        Tail.of(model, images(), "store.1")
        assert count.runs["store.0"] == passes
    clean = unet()
    clean.settle(images())
    count = Count(clean)
    Tail.of(clean, images(), "mid")
    assert count.runs["enc1"] == 1


class Windows(nn.Module):
    """Keeps windows, several rows an image, from before the layer."""

    def __init__(self):
        super().__init__()
        self.before = nn.Conv2d(3, 3, 1)
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        n, c, h, w = x.shape
        windows = self.before(x.reshape(n, c, 2, h // 2, w).transpose(1, 2).flatten(0, 1))
        joined = windows.reshape(n, 2, c, h // 2, w).transpose(1, 2).reshape(n, c, h, w)
        return self.layer(x) * joined


def test_variants_where_kept_outputs_have_other_rows():
    model = wrapped(seeded(Windows))
    x = images()
    tail = Tail.of(model, x, "layer")
    variants = torch.stack((tail.activation, tail.activation * 2), 1).flatten(0, 1)
    found = tail.resume(variants)
    assert torch.allclose(found[0::2], tail.logits, atol=1e-6)
    assert torch.allclose(found[1::2], 2 * tail.logits, atol=1e-6)


def test_an_edit_from_outside_acts_once():
    """A hook that edits the network works in a tail and its replays as in a plain pass."""
    model = unet()
    x = images()
    with Recorder(model, [], edit={"enc2": lambda a: 2 * a + 1}) as edited:
        expected = edited(x).detach()
        tail = Tail.of(model, x, "mid")
        assert torch.allclose(tail.logits, expected, atol=1e-6)
        assert torch.allclose(tail.resume(tail.activation), expected, atol=1e-6)


def test_wrong_variants_are_refused():
    tail = Tail.of(unet(), images(2), "mid")
    with pytest.raises(InputError, match=r"needs a multiple of 2 maps of shape \[16, 4"):
        tail.resume(tail.activation[:1])
    with pytest.raises(InputError, match="needs a multiple"):
        tail.resume(tail.activation[:, :3])
    assert tail.resume(tail.activation[:0]).shape == (0, 3, 16, 24)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_autocast(dtype):
    model = unet()
    x = images()
    expected = Tail.of(model, x, "mid", graph=True).gradient(centre)
    with torch.autocast("cpu", dtype):
        tail = Tail.of(model, x, "mid", graph=True)
        found = tail.gradient(centre)
        resumed = tail.resume(tail.activation.detach())
    assert tail.activation.dtype == tail.logits.dtype == found.dtype == torch.float32
    assert torch.allclose(resumed, tail.logits)
    assert functional.cosine_similarity(found.flatten(), expected.flatten(), 0) > 0.98


def test_half_weights():
    model = unet().bfloat16()
    tail = Tail.of(model, images().bfloat16(), "mid", graph=True)
    assert tail.gradient(centre).dtype == torch.float32
    assert torch.equal(tail.resume(tail.activation.detach()), tail.logits)


def test_under_inference_mode_and_no_grad():
    model = unet()
    expected = Tail.of(model, images(), "mid", graph=True).gradient(centre)
    with torch.inference_mode():
        tail = Tail.of(model, images(), "mid", graph=True)
        assert torch.equal(tail.resume(tail.activation), tail.logits)
    assert torch.allclose(tail.gradient(centre), expected)
    with torch.no_grad():
        tail = Tail.of(model, images(), "mid", graph=True)
        assert torch.allclose(tail.gradient(centre), expected)


def test_undisturbed_nests():
    model = unet()
    model.train()
    with undisturbed(model):
        with undisturbed(model):
            assert not model.training
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


class Collecting(nn.Module):
    """Takes its features by a hook of its own, as transformers' backbones do."""

    def __init__(self):
        super().__init__()
        self.block, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 3, 1)
        self.features = []
        self.block.register_forward_hook(lambda m, args, output: self.features.append(output))

    def forward(self, x):
        self.features = []
        self.block(x)
        return self.head(self.features[0])


def test_what_the_network_collects_by_hooks_is_recorded_and_edited():
    model = wrapped(Collecting())
    images = torch.rand(2, 3, 16, 16)
    with Recorder(model, ["block"], gradients=True) as recorder:
        logits = recorder(images)
        assert recorder.gradient(lambda z: z.flatten(1).sum(1))["block"].abs().max() > 0
    with torch.no_grad(), Recorder(model, [], edit={"block": torch.zeros_like}) as recorder:
        edited = recorder(images)
    tail = Tail.of(model, images, "block")
    assert not torch.equal(edited, logits)
    torch.testing.assert_close(edited, tail.resume(torch.zeros_like(tail.activation)))
