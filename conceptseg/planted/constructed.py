"""The constructed net: weights wired by hand, reliance on the context known for each w.

It has no trained weight. `exact` tells what it computes on exact scenes and why; here is how.
Per pixel: is it ink, and how much object evidence does its grey carry. Per aligned 4 x 4 cell:
the quadrature pair of the stripes' wave,

    energy = |sum x cos(pi column / 2)| + |sum x sin(pi column / 2)|,

scaled to 1 on stripes at any whole-pixel phase, for there one term is 1 and the other 0. Each
absolute value is two ReLUs. Cells with ink are silenced, since the edge of a stroke has some
of every wave.

Channels of `bottleneck` [n, 6, 16, 16], all >= 0:

    0 object     largest evidence o of the cell's ink; 0 without ink
    1 context    energy of vertical stripes, 0 where there is ink
    2 brightness mean grey                     (distractor)
    3 rows       energy of horizontal stripes  (distractor)
    4 ink        share of ink in the cell      (distractor)
    5 darkness   1/2 - mean grey, at least 0   (distractor)

`head` reads channels 0 (nearest upsampling), the pooled channel 1 and the ink mask at full
size (a skip); its weights for channels 1 to 5 in place are zero.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptseg.planted.exact import FIRST_LEVEL, LEVELS, check_weight
from conceptseg.planted.generator import BIASED_CLASS, CLASSES, CONFUSER_CLASS, GROUND_CONTRAST

CHANNELS = ("object", "context", "brightness", "rows", "ink", "darkness")
OBJECT, CONTEXT = 0, 1
CELL = 4  # pixels: one period of the stripes, and a divisor of the tiles' sides
AMPLITUDE = round(255 * GROUND_CONTRAST) / 255  # of the stripes as drawn in 8 bits
INK_FROM = 120 / 255  # exact grounds reach 99 / 255, exact ink starts at 153 / 255
SURE = 4.0  # logit by which background wins on ground and loses on ink
SILENCE = 400.0  # a cell with one ink pixel (1/16) loses 25; energy at ink is below 10


def _conv(weight: Tensor, bias: list[float], stride: int = 1) -> nn.Conv2d:
    """A convolution with the given weight [o, i, s, s] and bias [o], frozen."""
    outputs, inputs, side, _ = weight.shape
    layer = nn.Conv2d(inputs, outputs, side, stride=stride)
    layer.weight.data.copy_(weight)
    layer.bias = nn.Parameter(torch.tensor(bias))
    return layer.requires_grad_(False)


def _wave_filters() -> Float[Tensor, "8 1 4 4"]:
    """Plus and minus cosine and sine, first along the row (stripes), then along the column."""
    # Whole numbers, not cos(): float32 cos(pi / 2) is not 0, and exact is what we are after.
    cosine, sine = torch.tensor([1.0, 0, -1, 0]), torch.tensor([0.0, 1, 0, -1])
    scale = 1.0 / (2 * CELL * AMPLITUDE)
    kernels = []
    for wave in (cosine, sine):
        along_row = wave.expand(CELL, CELL) * scale
        kernels += [along_row, -along_row]
    kernels += [kernel.T for kernel in list(kernels)]
    return torch.stack(kernels).unsqueeze(1)


class _Encoder(nn.Module):
    """Image to the ink mask [n, 1, h, w] and cell features [n, 11, h/4, w/4].

    Features: 0 evidence, 1..4 stripes (+cos, -cos, +sin, -sin), 5..8 rows, 9 mean grey,
    10 share of ink.
    """

    def __init__(self) -> None:
        super().__init__()
        ramp = 255.0 / 20  # from 0 at INK_FROM to 1 twenty levels further, clear of both
        self.ramps = nn.Sequential(
            _conv(torch.full((2, 1, 1, 1), ramp), [-ramp * INK_FROM, -ramp * INK_FROM - 1.0]),
            nn.ReLU(),
        )
        self.ink = _conv(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1), [0.0])
        self.evidence = nn.Sequential(
            _conv(torch.full((1, 1, 1, 1), 255.0 / LEVELS), [(0.5 - FIRST_LEVEL) / LEVELS]),
            nn.ReLU(),
            nn.MaxPool2d(CELL),
        )
        self.waves = nn.Sequential(_conv(_wave_filters(), [0.0] * 8, stride=CELL), nn.ReLU())
        self.mean = nn.AvgPool2d(CELL)

    def forward(self, images: Float[Tensor, "n 1 h w"]) -> tuple[Tensor, Tensor]:
        """The ink mask and the cell features."""
        ink = self.ink(self.ramps(images))
        cells = [self.evidence(images), self.waves(images), self.mean(images), self.mean(ink)]
        return ink, torch.cat(cells, dim=1)


def _bottleneck() -> nn.Sequential:
    """Cell features to the documented channels, 1 x 1 convolution and ReLU."""
    weight = torch.zeros(len(CHANNELS), 11, 1, 1)
    weight[0, 0] = 1.0
    weight[1, 1:5] = 1.0
    weight[1, 10] = -SILENCE
    weight[2, 9] = 1.0
    weight[3, 5:9] = 1.0
    weight[4, 10] = 1.0
    weight[5, 9] = -1.0
    return nn.Sequential(_conv(weight, [0.0, 0.0, 0.0, 0.0, 0.0, 0.5]), nn.ReLU())


class ContextMean(nn.Module):
    """g: twice the mean of channel 1, at each position [n, 1, h, w]; linear, so never flat.

    Twice, because a full tile is half of the image: it gives g = 1.
    """

    def forward(self, cells: Float[Tensor, "n u h w"]) -> Float[Tensor, "n 1 1 1"]:
        """g of each image."""
        return 2.0 * cells[:, CONTEXT : CONTEXT + 1].mean(dim=(2, 3), keepdim=True)


def _head(w: float) -> nn.Conv2d:
    """Logits from [6 upsampled channels, g, ink mask]: the formulas of `exact`."""
    inputs = len(CHANNELS) + 2
    weight = torch.zeros(len(CLASSES), inputs, 1, 1)
    bias = [-SURE] * len(CLASSES)
    bias[0] = SURE
    weight[0, inputs - 1] = -2.0 * SURE
    weight[BIASED_CLASS, OBJECT] = 1.0 - w
    weight[BIASED_CLASS, inputs - 2] = w
    bias[BIASED_CLASS], bias[CONFUSER_CLASS] = 0.0, 0.5
    return _conv(weight, bias)


class ConstructedNet(nn.Module):
    """Object evidence and context evidence, mixed 1 - w to w. All weights are frozen.

    Layers worth naming: `encoder`, `bottleneck` (channels above), `context` (g), `head`.
    """

    def __init__(self, w: float) -> None:
        super().__init__()
        check_weight(w)
        self.w = w
        self.encoder = _Encoder()
        self.bottleneck = _bottleneck()
        self.context = ContextMean()
        self.up = nn.Upsample(scale_factor=CELL, mode="nearest")
        self.head = _head(w)

    def forward(self, images: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 11 h w"]:
        """Logits at image size. h and w must be multiples of 4."""
        ink, cells = self.encoder(images)
        cells = self.bottleneck(cells)
        context = self.context(cells).expand(-1, -1, *images.shape[-2:])
        return self.head(torch.cat([self.up(cells), context, ink], dim=1))


def constructed_net(w: float) -> ConstructedNet:
    """The net with context weight `w`, in eval mode.

    At w = 0 its logits do not depend on the context channel: the gradient is exactly 0. The
    closed form for every w is `exact.constructed_truth`.

    Raises:
        ValueError: w outside [0, 1], or not a number.
    """
    if math.isnan(w):
        raise ValueError("context weight w is not a number")
    return ConstructedNet(w).eval()
