"""CGNet (M = 3, N = 21; Wu et al., IEEE TIP 2020), rebuilt from a description of its pieces.

Used by the tests and by the CamVid studies. Module names follow the published tensors, so that
their checkpoint loads strictly. Convolutions have no bias; batch norm has eps 1e-3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Conv(nn.Module):
    """A convolution that keeps the grid at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ConvNormAct(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = batch_norm(outputs)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class NormAct(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.bn = batch_norm(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(x))


class Gate(nn.Module):
    """Each channel times a number that two linear layers read off the mean over all pixels."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = channels // reduction
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class Down(nn.Module):
    """Halves the grid: strided convolution, local and surrounding context, gate."""

    def __init__(self, inputs: int, outputs: int, dilation: int, reduction: int):
        super().__init__()
        self.conv1x1 = ConvNormAct(inputs, outputs, 3, stride=2)
        self.F_loc = Conv(outputs, outputs, 3, groups=outputs)
        self.F_sur = Conv(outputs, outputs, 3, dilation, groups=outputs)
        self.bn = batch_norm(2 * outputs)
        self.act = nn.PReLU(2 * outputs)
        self.reduce = Conv(2 * outputs, outputs, 1)
        self.F_glo = Gate(outputs, reduction)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1x1(x)
        x = torch.cat([self.F_loc(x), self.F_sur(x)], 1)
        return self.F_glo(self.reduce(self.act(self.bn(x))))


class Block(nn.Module):
    """Local and surrounding context at half width, gate, plus the input."""

    def __init__(self, channels: int, dilation: int, reduction: int):
        super().__init__()
        half = channels // 2
        self.conv1x1 = ConvNormAct(channels, half, 1)
        self.F_loc = Conv(half, half, 3, groups=half)
        self.F_sur = Conv(half, half, 3, dilation, groups=half)
        self.bn_prelu = NormAct(channels)
        self.F_glo = Gate(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1x1(x)
        y = self.bn_prelu(torch.cat([self.F_loc(y), self.F_sur(y)], 1))
        return x + self.F_glo(y)


class CGNet(nn.Module):
    """Images [n, 3, h, w], RGB 0..255 minus their means -> logits [n, classes, h, w]."""

    def __init__(self, classes: int = 11, M: int = 3, N: int = 21):
        super().__init__()
        self.level1_0 = ConvNormAct(3, 32, 3, stride=2)
        self.level1_1 = ConvNormAct(32, 32, 3)
        self.level1_2 = ConvNormAct(32, 32, 3)
        self.sample1 = nn.AvgPool2d(3, 2, 1)
        self.sample2 = nn.AvgPool2d(3, 2, 1)
        self.b1 = NormAct(35)
        self.level2_0 = Down(35, 64, 2, 8)
        self.level2 = nn.ModuleList(Block(64, 2, 8) for _ in range(M - 1))
        self.bn_prelu_2 = NormAct(131)
        self.level3_0 = Down(131, 128, 4, 16)
        self.level3 = nn.ModuleList(Block(128, 4, 16) for _ in range(N - 1))
        self.bn_prelu_3 = NormAct(256)
        self.classifier = nn.Sequential(Conv(256, classes, 1))

    def forward(self, images: Tensor) -> Tensor:
        half = self.sample1(images)
        quarter = self.sample2(half)
        x = self.level1_2(self.level1_1(self.level1_0(images)))
        second = x = self.level2_0(self.b1(torch.cat([x, half], 1)))
        for block in self.level2:
            x = block(x)
        third = x = self.level3_0(self.bn_prelu_2(torch.cat([x, second, quarter], 1)))
        for block in self.level3:
            x = block(x)
        logits = self.classifier(self.bn_prelu_3(torch.cat([third, x], 1)))
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)
