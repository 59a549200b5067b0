"""The list of layers and the recommended bottleneck, on toys of every build."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.network.layers import LayerInfo
from conceptseg.network.model import SegmentationModel
from tests.small_models import LOGITS

CLASSES = ("a", "b", "c")


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def wrap(module: nn.Module) -> SegmentationModel:
    torch.manual_seed(0)
    return SegmentationModel(module, CLASSES, name="toy", reading=LOGITS)


def listed(module: nn.Module, size: tuple[int, int] = (32, 48)) -> dict[str, LayerInfo]:
    infos = wrap(module).layers(torch.rand(1, 3, *size))
    return {info.name: info for info in infos}


def recommended(module: nn.Module, size: tuple[int, int] = (32, 48)) -> list[str]:
    return [info.name for info in listed(module, size).values() if info.recommended]


class Plain(nn.Module):
    """Encoder of two stages, a gate of one pixel, a head, and parts that never run."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.blocks = nn.ModuleList([nn.Conv2d(4, 8, 3, 2, 1)])
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.act = nn.ReLU()
        self.head = nn.Conv2d(8, 3, 1)
        self.training_only = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.blocks[0](self.act(self.first(x))))
        return self.head(x * self.gate(x))


def test_listing():
    found = listed(Plain())
    assert list(found) == [
        "first", "act", "blocks.0", "gate", "gate.0", "gate.1", "gate.2", "head",
    ]  # fmt: skip
    first, block, act = found["first"], found["blocks.0"], found["act"]
    assert (first.kind, first.shape, first.stride) == ("Conv2d", (4, 16, 24), 2.0)
    assert (block.channels, block.shape, block.stride) == (8, (8, 8, 12), 4.0)
    assert act.calls == 2
    assert act.shape == (4, 16, 24), "of several calls the first"
    assert not found["gate"].spatial
    assert found["gate"].stride is found["gate.1"].channels is None


def test_shares_of_parameters():
    found = listed(Plain())
    sizes = {"first": 4 * 27 + 4, "blocks.0": 8 * 36 + 8, "gate": 72, "head": 27}
    total = sum(sizes.values()) + 27
    through = 0
    for name, size in sizes.items():
        through += size
        assert found[name].parameters == pytest.approx(size / total)
        assert found[name].through == pytest.approx(through / total)
    assert found["act"].parameters == 0


def test_stride_is_of_the_image_not_of_the_resized_input():
    from conceptseg.config import Preprocessing

    model = SegmentationModel(Plain(), CLASSES, Preprocessing(size=(16, 16)), reading=LOGITS)
    infos = {info.name: info for info in model.layers(torch.rand(1, 3, 32, 32))}
    assert infos["first"].shape == (4, 8, 8)
    assert infos["first"].stride == 4.0


def test_nothing_is_left_behind():
    model = wrap(Plain())
    before = model.fingerprint()
    model.layers(torch.rand(1, 3, 32, 32))
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert model.fingerprint() == before
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_no_hook_after_an_exception():
    class Fails(Plain):
        def forward(self, x: Tensor) -> Tensor:
            self.first(x)
            raise KeyError("inside")

    model = wrap(Fails())
    with pytest.raises(InputError, match="KeyError: 'inside'"):
        model.layers(torch.rand(1, 3, 32, 32))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class FlatUNet(nn.Module):
    """All blocks side by side, one pooling module for all levels."""

    def __init__(self, last: str = "deep"):
        super().__init__()
        self.last = last
        self.pool = nn.MaxPool2d(2)
        self.one, self.two = conv(3, 4), conv(4, 8)
        self.add_module(last, conv(8, 16))
        self.up2, self.up1 = conv(24, 8), conv(12, 4)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(self.pool(one))
        deep = getattr(self, self.last)(self.pool(two))
        up = self.up2(torch.cat([F.interpolate(deep, scale_factor=2), two], 1))
        return self.head(self.up1(torch.cat([F.interpolate(up, scale_factor=2), one], 1)))


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Skip(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.submodule = inner

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.submodule(x)], 1)


class NestedUNet(nn.Module):
    """Levels inside each other, as MONAI builds them."""

    def __init__(self):
        super().__init__()

        def up(i: int, o: int) -> nn.Module:
            return nn.ConvTranspose2d(i, o, 2, 2)

        deep = Skip(conv(16, 32, 1))  # all that the decoder sees of the deepest level
        third = nn.Sequential(conv(8, 16, 2), deep, up(48, 8))
        second = nn.Sequential(conv(4, 8, 2), Skip(third), up(16, 4))
        self.model = nn.Sequential(conv(3, 4, 2), Skip(second), up(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Encoder(nn.Module):
    """Four stages; features of all of them in a list."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 4, 2)
        self.stages = nn.ModuleList([conv(4, 8, 2), conv(8, 16, 2)])
        self.narrow = conv(16, 12)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return [*features, self.narrow(features[-1])]


class WideHead(nn.Module):
    """A head on the encoder's grid that is wider than it, with pooled branches beside it."""

    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.wide = conv(12, 64)
        self.pyramid = nn.ModuleList(nn.Conv2d(12, 4, 1) for _ in range(2))
        self.head = nn.Conv2d(72, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.encoder(x)[-1]
        pooled = [
            F.interpolate(branch(F.adaptive_avg_pool2d(deep, side)), deep.shape[2:])
            for side, branch in zip(((1, 1), (2, 3)), self.pyramid, strict=True)
        ]
        return self.head(torch.cat([self.wide(deep), *pooled], 1))


class FlatHead(nn.Module):
    """No container at all: the classifier follows on the same grid."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(3, 4, 2), conv(4, 8, 2), conv(8, 16)
        self.squeeze = conv(16, 6)
        self.classifier = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.squeeze(self.c(self.b(self.a(x)))))


class Tokens(nn.Module):
    """A plain vision transformer under a pyramid that goes one level further down."""

    def __init__(self):
        super().__init__()
        self.vit = nn.Module()
        self.vit.patch = nn.Conv2d(3, 16, 8, 8)
        self.vit.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))
            for _ in range(4)
        )
        self.vit.forward = self.run_vit
        self.neck = nn.ModuleList([nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, 2, 1)])
        self.head = nn.Conv2d(32, 3, 1)

    def run_vit(self, x: Tensor) -> Tensor:
        grid = self.vit.patch(x)
        tokens = grid.flatten(2).transpose(1, 2)
        for block in self.vit.blocks:
            tokens = tokens + block(tokens)
        return tokens.transpose(1, 2).view_as(grid)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.vit(x)
        same, coarse = (branch(deep) for branch in self.neck)
        return self.head(torch.cat([same, F.interpolate(coarse, same.shape[2:])], 1))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (FlatUNet(), "deep"),
        (FlatUNet("bottleneck"), "bottleneck"),
        (Wrapped(FlatUNet()), "net.deep"),
        (NestedUNet(), "model.1.submodule.1.submodule.1"),
        (WideHead(), "encoder.narrow"),
        (Wrapped(WideHead()), "net.encoder.narrow"),
        (FlatHead(), "c"),
        (Wrapped(FlatHead()), "net.c"),
        (Tokens(), "vit"),
        (Plain(), "blocks.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_bottleneck(module, expected):
    assert recommended(module) == [expected]


def test_one_pixel_is_no_map():
    model = wrap(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1)))
    images = torch.rand(1, 3, 32, 48)
    assert not any(info.spatial or info.recommended for info in model.layers(images))
    with pytest.raises(InputError, match=r"no layer with a map.*enlarge"):
        model.layer_name("auto", images)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("heed", r"'heed' does not exist: did you mean 'head'"),
        ("blocks.7", "did you mean 'blocks.0'"),
        ("gate.1", "'gate.1' has no spatial output"),
        ("training_only", "'training_only' did not run"),
        ("", "does not exist"),
    ],
)
def test_layers_that_cannot_be_studied(name, words):
    with pytest.raises(InputError, match=words) as raised:
        wrap(Plain()).layer_name(name, torch.rand(2, 3, 32, 32))
    assert "\n" not in str(raised.value)
