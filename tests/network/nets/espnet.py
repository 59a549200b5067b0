"""ESPNet (p = 2, q = 8; Mehta et al., ECCV 2018), rebuilt from a description of its pieces.

Module names follow the published tensors, so that their checkpoint loads strictly. Its images are
BGR in 0..255, centred and scaled, and divided by 255 once more; its twelfth class is `unlabelled`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DILATIONS = (1, 2, 4, 8, 16)
EPSILON = 1e-3


def pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 2, 1)


class Conv(nn.Module):
    """A convolution without bias; with batch norm and PReLU where `act` says so."""

    def __init__(self, inputs: int, outputs: int, kernel: int, act: bool = False, **options: int):
        super().__init__()
        padding = options.get("dilation", 1) * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **options)
        if act:
            self.bn = nn.BatchNorm2d(outputs, EPSILON)
            self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        for piece in self.children():
            x = piece(x)
        return x


class NormAct(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, EPSILON)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(x))


class Branches(nn.Module):
    """Five dilated convolutions of one narrow map; but for the first each adds those before it."""

    def __init__(self, outputs: int):
        super().__init__()
        self.narrow = outputs // 5
        first = outputs - 4 * self.narrow
        for dilation in DILATIONS:
            width = first if dilation == 1 else self.narrow
            setattr(self, f"d{dilation}", Conv(self.narrow, width, 3, dilation=dilation))

    def branches(self, x: Tensor) -> Tensor:
        first, *others = (getattr(self, f"d{dilation}")(x) for dilation in DILATIONS)
        sums = [others[0]]
        for other in others[1:]:
            sums.append(sums[-1] + other)
        return torch.cat([first, *sums], 1)


class Down(Branches):
    def __init__(self, inputs: int, outputs: int):
        super().__init__(outputs)
        self.c1 = Conv(inputs, self.narrow, 3, stride=2)
        self.bn = nn.BatchNorm2d(outputs, EPSILON)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.branches(self.c1(x))))


class Esp(Branches):
    def __init__(self, inputs: int, outputs: int, add: bool = True):
        super().__init__(outputs)
        self.c1 = Conv(inputs, self.narrow, 1)
        self.bn = NormAct(outputs)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        y = self.branches(self.c1(x))
        return self.bn(x + y if self.add else y)


class Encoder(nn.Module):
    """-> the first map, the second and the class scores, at 1/2, 1/4 and 1/8."""

    def __init__(self, classes: int, second: int, third: int):
        super().__init__()
        # As in published code of this family: the attribute hides nn.Module.modules.
        self.modules: Any = []
        self.level1 = Conv(3, 16, 3, act=True, stride=2)
        self.b1 = NormAct(19)
        self.level2_0 = Down(19, 64)
        self.level2 = nn.ModuleList(Esp(64, 64) for _ in range(second))
        self.b2 = NormAct(131)
        self.level3_0 = Down(131, 128)
        self.level3 = nn.ModuleList(Esp(128, 128) for _ in range(third))
        self.b3 = NormAct(256)
        self.classifier = Conv(256, classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        small = pool(images)
        fine = self.b1(torch.cat([self.level1(images), small], 1))
        begin = middle = self.level2_0(fine)
        for block in self.level2:
            middle = block(middle)
        middle = self.b2(torch.cat([middle, begin, pool(small)], 1))
        begin = coarse = self.level3_0(middle)
        for block in self.level3:
            coarse = block(coarse)
        return fine, middle, self.classifier(self.b3(torch.cat([begin, coarse], 1)))


class ESPNet(nn.Module):
    """Images [n, 3, h, w], sides multiples of 8 -> logits [n, 12, h, w]."""

    def __init__(self, classes: int = 12, second: int = 2, third: int = 8):
        super().__init__()
        self.encoder = Encoder(classes, second, third)
        self.br = nn.BatchNorm2d(classes, EPSILON)
        self.up_l3 = nn.Sequential(nn.ConvTranspose2d(classes, classes, 2, 2, bias=False))
        self.level3_C = Conv(131, classes, 1)
        self.combine_l2_l3 = nn.Sequential(
            NormAct(2 * classes), Esp(2 * classes, classes, add=False)
        )
        self.up_l2 = nn.Sequential(
            nn.ConvTranspose2d(classes, classes, 2, 2, bias=False), NormAct(classes)
        )
        self.conv = Conv(19 + classes, classes, 3, act=True)
        self.classifier = nn.ConvTranspose2d(classes, classes, 2, 2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        fine, middle, coarse = self.encoder(images)
        y = torch.cat([self.level3_C(middle), self.up_l3(self.br(coarse))], 1)
        y = self.up_l2(self.combine_l2_l3(y))
        return self.classifier(self.conv(torch.cat([y, fine], 1)))
