"""Networks whose parts after a layer hold each a different kind of operation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Head(nn.Module):
    """A layer of six units at half size, and something after it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.layer(x), x)

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        return functional.interpolate(self.head(deep), scale_factor=2, mode="bilinear")


class Gate(Head):
    """Two convolutions whose product is classified, as in LR-ASPP."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Sequential(
            nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 6, 1), nn.Sigmoid())

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        mixed = self.value(deep) * self.gate(deep)
        return self.head(functional.interpolate(mixed, scale_factor=2, mode="bilinear"))


class Pyramid(Head):
    """Dilated, strided, transposed and pooled convolutions, joined, as in ASPP."""

    def __init__(self) -> None:
        super().__init__()
        self.dilated = nn.Sequential(nn.Conv2d(6, 4, 3, padding=2, dilation=2), nn.BatchNorm2d(4))
        self.strided = nn.Conv2d(6, 4, 3, 2, 1)
        self.transposed = nn.ConvTranspose2d(6, 4, 2, 2, bias=False)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(6, 4, 1))
        self.project = nn.Sequential(nn.Conv2d(16, 6, 1), nn.BatchNorm2d(6), nn.ReLU())

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        found = [self.dilated(deep), self.strided(deep), self.transposed(deep), self.pooled(deep)]
        resized = [functional.interpolate(f, x.shape[2:], mode="bilinear").relu() for f in found]
        return self.head(self.project(torch.cat(resized, 1)))


class UnitByUnit(Head):
    """Norm, rectifier, pooling and resizing of each unit, joined with a skip and convolved."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.mix = nn.Sequential(nn.Conv2d(9, 6, 3, padding=1), nn.ReLU())

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        deep = functional.max_pool2d(functional.hardswish(self.norm(deep)), 2)
        deep = functional.interpolate(2 * deep - 0.5, x.shape[2:], mode="nearest")
        return self.head(self.mix(torch.cat((x, deep), 1)))


class Residual(Head):
    """Depthwise convolution, residuals, in-place sums, and attention to units by linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.squeeze = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6), nn.Sigmoid())
        self.mix = nn.Conv2d(6, 6, 1)

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        out = self.depthwise(deep)
        out += deep
        out = out.relu_() * self.squeeze(deep.mean((2, 3)))[:, :, None, None]
        return super().tail(self.mix(out) + deep, x)


class Windows(Head):
    """Each quarter of the map is normalised with its own mean, as window attention cuts maps."""

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        n, u, h, w = deep.shape
        cut = deep.view(n, u, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5)
        cut = cut.reshape(n * 4, u, h // 2, w // 2)
        cut = functional.softplus(cut - cut.mean((2, 3), keepdim=True)) + cut
        back = cut.view(n, 2, 2, u, h // 2, w // 2).permute(0, 3, 1, 4, 2, 5)
        return super().tail(back.reshape(n, u, h, w), x)


class Random(Head):
    """Draws noise, the same in every pass as long as the number of rows is."""

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        state = torch.random.get_rng_state()
        torch.manual_seed(0)
        deep = deep + 0.1 * torch.rand_like(deep[:1])
        torch.random.set_rng_state(state)
        return super().tail(deep.relu(), x)


class Deciding(Head):
    """Takes a way that depends on what it sees."""

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        return super().tail(deep if deep[:, 0].sum() > 1 else 2 * deep, x)


class Elsewhere(Head):
    """Leaves torch for a part of the way."""

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        seen = torch.from_numpy(deep.numpy() ** 2)
        return super().tail(deep + seen, x)


class Patchwork(Head):
    """Writes into a part of a map."""

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        out = deep.clone()
        out[:, :3] *= 2
        out[:, 3:] = out[:, :3].relu()
        return super().tail(out, x)


class Buffered(Head):
    """Writes what it sees into a buffer of its own, and reads it there."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(6))

    def tail(self, deep: Tensor, x: Tensor) -> Tensor:
        self.seen.copy_(deep.mean((0, 2, 3)))
        return super().tail(deep * self.seen[:, None, None], x)
