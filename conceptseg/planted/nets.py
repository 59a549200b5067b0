"""The trained nets of the planted benchmark: a small U-Net, and `load_net` for shipped weights.

All nets take grey images [n, 1, 64, 64] in [0, 1], normalise nothing, and give logits
[n, 11, 64, 64] in the order of `generator.CLASSES`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptseg.planted.generator import CLASSES
from conceptseg.planted.plant import DEFAULT, Plant, from_header

WEIGHTS = Path(__file__).parent / "weights"
TRAINED = ("biased", "weak", "clean")
WIDTHS = (16, 32, 64, 128)  # encoder stages at 64, 32, 16 px, bottleneck at 8 px


class Block(nn.Sequential):
    """Convolution 3 x 3, BatchNorm, ReLU, `repeats` times. ReLU is not in place: hooks read it."""

    def __init__(self, inputs: int, outputs: int, repeats: int) -> None:
        layers: list[nn.Module] = []
        for repeat in range(repeats):
            first = inputs if repeat == 0 else outputs
            layers.append(nn.Conv2d(first, outputs, 3, padding=1, bias=False))
            layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.ReLU())
        super().__init__(*layers)


class SkipUp(nn.Module):
    """Double the size (nearest), append the encoder's map of that size, convolve."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.block = Block(inputs + skip, outputs, 1)

    def forward(
        self, low: Float[Tensor, "n a h w"], skip: Float[Tensor, "n b hh ww"]
    ) -> Float[Tensor, "n c hh ww"]:
        """Features at the skip's size: hh = 2 h, ww = 2 w."""
        return self.block(torch.cat([self.up(low), skip], dim=1))


class ContextUp(SkipUp):
    """`SkipUp` that first adds to every position what the whole image holds.

    The mean over positions goes through two layers and is added everywhere, as image pooling
    does in ParseNet (Liu et al. 2015, arXiv 1506.04579) and DeepLabv3. It is the only way by
    which the ground far from the ink can reach the ink: a position of the bottleneck sees 52 px,
    26 to each side, and the texture there is still where it lies in the image.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__(inputs, skip, outputs)
        self.context = nn.Sequential(
            nn.Linear(inputs, inputs // 2), nn.ReLU(), nn.Linear(inputs // 2, inputs)
        )

    def forward(
        self, low: Float[Tensor, "n a h w"], skip: Float[Tensor, "n b hh ww"]
    ) -> Float[Tensor, "n c hh ww"]:
        """Features at the skip's size: hh = 2 h, ww = 2 w."""
        everywhere = self.context(low.mean(dim=(2, 3)))
        return super().forward(low + everywhere[:, :, None, None], skip)


class PlantedUNet(nn.Module):
    """A U-Net with skips, BatchNorm and image pooling, 0.32 M parameters at the default widths.

    Layers worth naming: `encoder.0` to `encoder.2` (64, 32, 16 px), `bottleneck` (128 channels
    at 8 px), `decoder.0` (adds the pooled context) to `decoder.2` (16, 32, 64 px), `head` (1 x 1,
    the logits).
    """

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        first, second, third, deep = widths
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(
            [Block(1, first, 2), Block(first, second, 2), Block(second, third, 2)]
        )
        self.bottleneck_width = deep
        self.bottleneck = Block(third, deep, 1)
        self.decoder = nn.ModuleList(
            [
                ContextUp(deep, third, third),
                SkipUp(third, second, second),
                SkipUp(second, first, first),
            ]
        )
        self.head = nn.Conv2d(first, len(CLASSES), 1)

    def forward(self, images: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 11 h w"]:
        """Logits at image size. h and w must be multiples of 8."""
        skips = []
        features = images
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
            features = self.pool(features)
        features = self.bottleneck(features)
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            features = stage(features, skip)
        return self.head(features)


def load_net(name: str, w: float | None = None) -> nn.Module:
    """A net of the benchmark, in eval mode, on the CPU.

    Args:
        name: "biased", "weak", "clean" (trained, shipped weights), "constructed", or
            "constructed-0.5" with the context weight in the name.
        w: the context weight of "constructed", in [0, 1]; 1 if neither says otherwise.

    Raises:
        ValueError: an unknown name, or a w where there is none to choose.
    """
    if name in TRAINED:
        if w is not None:
            raise ValueError(f"net {name!r} is trained; only 'constructed' takes w")
        return load_unet(WEIGHTS / f"{name}.safetensors")
    match = re.fullmatch(r"constructed(?:-([0-9.]+))?", name)
    if match is None:
        known = ", ".join((*TRAINED, "constructed", "constructed-<w>"))
        raise ValueError(f"unknown net {name!r}; known: {known}")
    from conceptseg.planted.constructed import constructed_net

    if match[1] is not None:
        if w is not None and w != float(match[1]):
            raise ValueError(f"net {name!r} and w={w} disagree")
        w = float(match[1])
    return constructed_net(1.0 if w is None else w)


def load_unet(path: Path) -> PlantedUNet:
    """A `PlantedUNet` with the weights of a safetensors file, in eval mode.

    Raises:
        ValueError: no such file, or one that does not hold these weights.
    """
    return load_trained(path)[0]


def load_trained(source: str | Path) -> tuple[PlantedUNet, Plant]:
    """A trained net, in eval mode, and what was planted in it.

    Args:
        source: "biased", "weak" or "clean", or a .safetensors file that `train.save` wrote. The
            plant stands in the file's header (`plant`); the shipped ones, which have none there,
            and files like them are of the default plant.

    Raises:
        ValueError: neither, or a file that does not hold these weights or such a header.
    """
    from safetensors import SafetensorError, safe_open

    path = WEIGHTS / f"{source}.safetensors" if str(source) in TRAINED else Path(source)
    if not path.is_file():
        raise ValueError(f"{source}: no such file; give one, or one of {', '.join(TRAINED)}")
    net = PlantedUNet()
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        net.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        raise ValueError(f"{path} does not hold the weights of a planted net: {said}") from error
    return net.eval(), _plant(header, path)


def _plant(header: Mapping[str, str], path: Path) -> Plant:
    if "plant" not in header:
        return DEFAULT
    try:
        return from_header(header["plant"])
    except ValueError as error:
        raise ValueError(f"{path}: its header does not say what is planted: {error}") from error
