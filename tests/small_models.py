"""Networks small enough to be run hundreds of times."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptseg.config import Reading
from conceptseg.network.model import SegmentationModel

LOGITS = Reading(values="logits")


def wrapped(module: nn.Module, classes: int = 3, channels: int = 3) -> SegmentationModel:
    """The model of a network without preprocessing; its numbers are logits, whatever they are."""
    names = [f"class {c}" for c in range(classes)]
    return SegmentationModel(module, names, name="small", channels=channels, reading=LOGITS)


class Block(nn.Module):
    """Two convolutions with a residual that is added and rectified in place, as in ResNets."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.short(x)
        return self.relu(out)


class UNet(nn.Module):
    """A two-level U-Net with skips, functional glue, BatchNorm and in-place rectifiers."""

    def __init__(self, classes: int = 3, width: int = 4, channels: int = 3):
        super().__init__()
        self.enc1 = Block(channels, width)
        self.enc2 = Block(width, 2 * width, stride=2)
        self.mid = Block(2 * width, 4 * width, stride=2)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.dec2 = Block(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.dec1 = Block(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * x - 1
        first = self.enc1(x)
        second = self.enc2(first)
        deep = self.mid(second)
        out = self.dec2(torch.cat((self.up2(deep), second * 0.5), 1))
        out = self.dec1(torch.cat((self.up1(out), functional.relu(first)), 1))
        return self.head(out)


class Tokens(nn.Module):
    """A transformer of two blocks on 8 px patches, with class and register tokens before them."""

    def __init__(self, classes: int = 3, extra: int = 1, width: int = 8):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.extra = nn.Parameter(torch.randn(1, extra, width))
        self.blocks = nn.Sequential(*(TokenBlock(width) for _ in range(2)))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        patches = self.patch(x)
        n, d, h, w = patches.shape
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = self.blocks(torch.cat((self.extra.expand(n, -1, -1), tokens), 1))
        scores = self.head(tokens[:, self.extra.shape[1] :] + tokens.mean(1, keepdim=True))
        return {"logits": scores.transpose(1, 2).reshape(n, -1, h, w)}


class TokenBlock(nn.Module):
    """Attention and a perceptron, each after a norm and beside a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class ChannelsLast(nn.Module):
    """A network whose middle works on [n, y, x, u]."""

    def __init__(self, classes: int = 3, width: int = 6):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.middle = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def seeded(build: Any, *args: Any, seed: int = 0, **kwargs: Any) -> nn.Module:
    """A network with weights of a seed, and BatchNorm statistics that are not the identity."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    module = build(*args, **kwargs)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    torch.random.set_rng_state(state)
    return module.eval()


def unet(classes: int = 3, seed: int = 0) -> SegmentationModel:
    return balanced(wrapped(seeded(UNet, classes, seed=seed), classes), "head")


def balanced(model: SegmentationModel, head: str) -> SegmentationModel:
    """The model with its head's biases moved so that no class is predicted everywhere."""
    x = images(4, 32, 32, model.channels, seed=9)
    with torch.no_grad():
        model.module.get_submodule(head).bias -= model(x).mean((0, 2, 3))
        shares = torch.bincount(model(x).argmax(1).flatten(), minlength=len(model.classes))
    assert shares.min() > 0.01 * shares.sum(), "choose another seed"
    return model


def images(n: int = 2, h: int = 16, w: int = 24, channels: int = 3, seed: int = 1) -> Tensor:
    return torch.rand(n, channels, h, w, generator=torch.Generator().manual_seed(seed))


def hooks(model: nn.Module) -> int:
    """How many hooks and replaced forwards the modules carry."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(
        sum(len(getattr(module, kind)) for kind in kinds) + ("forward" in vars(module))
        for module in model.modules()
    )


class Count:
    """How often modules run, told by their forward being counted."""

    def __init__(self, model: SegmentationModel):
        self.runs: dict[str, int] = {}
        for name, module in model.module.named_modules():
            module.register_forward_pre_hook(self._counter(name))

    def _counter(self, name: str) -> Any:
        def count(module: nn.Module, args: Any) -> None:
            self.runs[name] = self.runs.get(name, 0) + 1

        return count
