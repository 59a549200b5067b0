"""ESPNetv2 (s = 2.0; Mehta et al., CVPR 2019) with its segmentation decoder, rebuilt from a
description of its pieces.

Module names follow the published tensors, so that their checkpoint loads strictly.
"""

from math import ceil, gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)
SMALLEST = 5
WIDTH = 10


def pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 2, 1)


class Conv(nn.Module):
    """Convolution, with batch norm and PReLU where `norm` and `act` say so."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        norm: bool = False,
        act: bool = False,
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=dilation * (kernel // 2),
            groups=groups,
            dilation=dilation,
            bias=False,
        )
        if norm:
            self.bn = nn.BatchNorm2d(outputs)
        if act:
            self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        for piece in self.children():
            x = piece(x)
        return x


class NormAct(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(x))


class Eesp(nn.Module):
    """Four dilated depthwise branches, each summed with the one before it."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilations: tuple[int, ...]):
        super().__init__()
        width = outputs // 4
        self.proj_1x1 = Conv(inputs, width, 1, groups=4, norm=True, act=True)
        self.spp_dw = nn.ModuleList(
            Conv(width, width, 3, stride, groups=width, dilation=d) for d in dilations
        )
        self.br_after_cat = NormAct(outputs)
        self.conv_1x1_exp = Conv(outputs, outputs, 1, groups=4, norm=True)
        self.module_act = nn.PReLU(outputs)
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        projected = self.proj_1x1(x)
        branches = [self.spp_dw[0](projected)]
        for branch in list(self.spp_dw)[1:]:
            branches.append(branches[-1] + branch(projected))
        y = self.conv_1x1_exp(self.br_after_cat(torch.cat(branches, 1)))
        return self.module_act(x + y) if self.residual else y


class Down(nn.Module):
    """Halves the grid: pooled input beside an Eesp, plus a projection of the shrunk image."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.eesp = Eesp(inputs, outputs - inputs, 2, (1, 2, 3, 4))
        self.inp_reinf = nn.Sequential(
            Conv(3, 3, 3, norm=True, act=True), Conv(3, outputs, 1, norm=True)
        )
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        y = torch.cat([pool(x), self.eesp(x)], 1)
        while image.shape[2] > y.shape[2]:
            image = pool(image)
        return self.act(y + self.inp_reinf(image))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level1 = Conv(3, 32, 3, 2, norm=True, act=True)
        self.level2_0 = Down(32, 128)
        self.level3_0 = Down(128, 256)
        self.level3 = nn.ModuleList(Eesp(256, 256, 1, (1, 2, 3, 4)) for _ in range(3))
        self.level4_0 = Down(256, 512)
        self.level4 = nn.ModuleList(Eesp(512, 512, 1, (1, 1, 2, 3)) for _ in range(7))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first = self.level1(image)
        second = self.level2_0(first, image)
        third = self.level3_0(second, image)
        for block in self.level3:
            third = block(third)
        fourth = self.level4_0(third, image)
        for block in self.level4:
            fourth = block(fourth)
        return first, second, third, fourth


class Cbr(nn.Module):
    """Convolution, batch norm and PReLU as a sequence."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1):
        super().__init__()
        self.cbr = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cbr(x)


class Br(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.br = nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.br(x)


class Shuffle(nn.Module):
    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class Pyr(nn.Module):
    """One depthwise convolution at each of five sizes of the map, merged."""

    def __init__(self, inputs: int, outputs: int, last: bool = False):
        super().__init__()
        self.projection_layer = Cbr(inputs, WIDTH, 1)
        self.stages = nn.ModuleList(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH, bias=False) for _ in SCALES
        )
        merged = WIDTH * len(SCALES)
        self.merge_layer = nn.Sequential(
            Br(merged),
            Shuffle(len(SCALES)),
            Cbr(merged, WIDTH, 3, groups=WIDTH),
            nn.Conv2d(WIDTH, outputs, 1, bias=last),
        )
        if not last:
            self.br = Br(outputs)

    def branch(self, x: Tensor, scale: float, stage: nn.Module) -> Tensor:
        grid = x.shape[2:]
        size = [max(SMALLEST, ceil(side * scale)) for side in grid]
        if scale < 1:
            shrunk = stage(F.adaptive_avg_pool2d(x, size))
            return F.interpolate(shrunk, grid, mode="bilinear", align_corners=True)
        if scale > 1:
            grown = F.interpolate(x, size, mode="bilinear", align_corners=True)
            return F.adaptive_avg_pool2d(stage(grown), grid)
        return stage(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.projection_layer(x)
        pairs = zip(SCALES, self.stages, strict=True)
        y = self.merge_layer(torch.cat([self.branch(x, s, stage) for s, stage in pairs], 1))
        return self.br(y) if hasattr(self, "br") else y


class Side(nn.Module):
    """An encoder map, gated per channel by its own mean, for the decoder."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.wt_layer = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1, bias=False), nn.Sigmoid()
        )
        self.expansion_layer = Cbr(inputs, outputs, 3, groups=gcd(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.expansion_layer(x) * self.wt_layer(x)


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ESPNetv2(nn.Module):
    """Images [n, 3, h, w], ImageNet-normalised, sides multiples of 16 -> logits [n, k, h, w]."""

    def __init__(self, classes: int = 21):
        super().__init__()
        self.base_net = Encoder()
        self.bu_dec_l1 = Pyr(512, 64)
        self.merge_enc_dec_l2 = Side(256, 64)
        self.bu_br_l2 = nn.Sequential(nn.BatchNorm2d(64), nn.PReLU(64))
        self.bu_dec_l2 = Pyr(64, 48)
        self.merge_enc_dec_l3 = Side(128, 48)
        self.bu_br_l3 = nn.Sequential(nn.BatchNorm2d(48), nn.PReLU(48))
        self.bu_dec_l3 = Pyr(48, 32)
        self.merge_enc_dec_l4 = Side(32, 32)
        self.bu_br_l4 = nn.Sequential(nn.BatchNorm2d(32), nn.PReLU(32))
        self.bu_dec_l4 = Pyr(32, classes, last=True)

    def forward(self, images: Tensor) -> Tensor:
        first, second, third, fourth = self.base_net(images)
        y = self.bu_dec_l1(fourth)
        y = self.bu_dec_l2(self.bu_br_l2(self.merge_enc_dec_l2(third) + twice(y)))
        y = self.bu_dec_l3(self.bu_br_l3(self.merge_enc_dec_l3(second) + twice(y)))
        y = self.bu_dec_l4(self.bu_br_l4(self.merge_enc_dec_l4(first) + twice(y)))
        return F.interpolate(y, images.shape[2:], mode="bilinear", align_corners=True)
