"""Networks that do what networks in use do and a plain one does not, small enough for any test.

Each is built by a callable of this module, and so reaches the package by the same door as a user's
own. :data:`NETWORKS` has the keys of a study's file by which each is read as it is meant, and
:func:`write_scenes` images that all of them segment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from conceptseg.config import ModelConfig
from conceptseg.network.model import SegmentationModel, load_model

CLASSES = ("ground", "crimson", "azure", "verdant")
ANY = ("any", "crimson", "azure")
COLOURS = ((220, 30, 30), (30, 30, 220), (30, 220, 30))
HEIGHT, WIDTH = 24, 32
UNITS = 6


class Plain(nn.Module):
    """Logits of the classes by a small U-Net that reads the excess of red, blue and green.

    `first` and `body`, at half the size, hold excess of red, green and blue, brightness and two
    mixtures of these; `head` reads both. `padding` 0 makes all of it without padding: the map
    then lies in the image's middle.
    """

    def __init__(self, padding: int = 1, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.padding = padding
        norms = [] if norm is None else [norm]
        self.first = nn.Sequential(nn.Conv2d(3, UNITS, 3, padding=padding), *norms, nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.body = nn.Sequential(nn.Conv2d(UNITS, UNITS, 3, padding=padding), nn.ReLU())
        self.up = nn.ConvTranspose2d(UNITS, UNITS, 2, 2)
        self.head = nn.Conv2d(2 * UNITS, len(CLASSES), 1)
        self._wire()

    def _wire(self) -> None:
        dice = torch.Generator().manual_seed(0)
        colours = torch.cat([1.5 * torch.eye(3) - 0.5, torch.full((1, 3), 0.3)])
        mixtures = torch.randn(UNITS - len(colours), 3, generator=dice) / 2
        reads = torch.zeros(len(CLASSES), 2 * UNITS)
        for c, unit in ((1, 0), (2, 2), (3, 1)):
            reads[c, unit], reads[c, UNITS + unit] = 4.0, 6.0
        with torch.no_grad():
            for conv in (self.first[0], self.body[0]):
                conv.weight.copy_(0.02 * torch.randn(conv.weight.shape, generator=dice))
                conv.bias.zero_()
            self.first[0].weight[:, :, 1, 1] += torch.cat([colours, mixtures])
            self.first[0].bias[:3] = -0.1
            self.body[0].weight[:, :, 1, 1] += torch.eye(UNITS)
            self.up.weight.copy_(torch.eye(UNITS)[:, :, None, None].expand(-1, -1, 2, 2))
            self.up.bias.zero_()
            self.head.weight.copy_(reads[:, :, None, None])
            # No two classes alike anywhere, or rounding would decide between them.
            self.head.bias.copy_(torch.tensor([1.0, 0.0, -0.05, -0.1]))

    def coarse(self, first: Tensor) -> Tensor:
        return self.up(self.body(self.pool(first)))

    def rest(self, first: Tensor) -> Tensor:
        coarse = self.coarse(first)
        if coarse.shape != first.shape:
            sides = zip(first.shape[2:], coarse.shape[2:], strict=True)
            top, left = ((wide - narrow) // 2 for wide, narrow in sides)
            first = first[:, :, top : top + coarse.shape[2], left : left + coarse.shape[3]]
        return self.head(torch.cat([coarse, first], 1))

    def logits(self, x: Tensor) -> Tensor:
        return self.rest(self.first(x))

    def forward(self, x: Tensor) -> Any:
        return self.logits(x)


class Listed(Plain):
    """A list of two maps of one size, the first an aid to training that says otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.aid = nn.Conv2d(UNITS, len(CLASSES), 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.first(x)
        return [self.aid(first), self.rest(first)]


class Probabilities(Plain):
    """A softmax inside."""

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).softmax(1)


class One(Plain):
    """One map, the logit of crimson against ground."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        return logits[:, 1:2] - logits[:, :1]


class Sigmoid(One):
    """The same with its sigmoid inside."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(x))


class Independent(Plain):
    """Each class but ground is a yes or no of its own."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        return logits[:, 1:] - logits[:, :1]


class Overlapping(Independent):
    """Three yes or no: any colour, which contains the others, crimson, and azure."""

    def forward(self, x: Tensor) -> Tensor:
        colours = super().forward(x)
        return torch.cat([colours.sum(1, keepdim=True) + 2, colours[:, :2]], 1)


class Dropping(Plain):
    """Forgets to switch its dropout off."""

    def logits(self, x: Tensor) -> Tensor:
        return super().logits(functional.dropout(x, 0.3, training=True))


class Recomputing(Plain):
    """Computes what lies at half the size again in the backward pass, in evaluation too."""

    def __init__(self, reentrant: bool = False) -> None:
        super().__init__()
        self.reentrant = reentrant

    def coarse(self, first: Tensor) -> Tensor:
        return checkpoint(super().coarse, first, use_reentrant=self.reentrant)


class Copied(torch.autograd.Function):
    """x, by a derivative that nobody has finished."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        raise LookupError("no derivative is kept")


class Unfinished(Plain):
    """Its passes are plain, and its gradients fail in code of the user's own."""

    def rest(self, first: Tensor) -> Tensor:
        return Copied.apply(super().rest(first))  # type: ignore[no-any-return,no-untyped-call]


def batch_norm() -> nn.Module:
    """Batch norms that take their statistics from the batch in evaluation too."""
    norm = nn.BatchNorm2d(UNITS, track_running_stats=False)
    with torch.no_grad():
        norm.weight.fill_(0.2)
        norm.bias.fill_(-0.05)
    return Plain(norm=norm)


def compiled() -> nn.Module:
    return torch.compile(Plain(), backend="eager")  # type: ignore[return-value]


class Failing(Plain):
    """NaN for images whose first pixel is magenta."""

    def forward(self, images: Tensor) -> Tensor:
        spoilt = images.new_tensor([1.0, 0.0, 1.0])
        fails = ((images[:, :, 0, 0] - spoilt).abs() < 0.01).all(1)
        return super().forward(images).masked_fill(fails[:, None, None, None], torch.nan)


class FailingEarly(Failing):
    """The same from the first layer on."""

    def logits(self, x: Tensor) -> Tensor:
        spoilt = x.new_tensor([1.0, 0.0, 1.0])
        fails = ((x[:, :, 0, 0] - spoilt).abs() < 0.01).all(1)
        return self.rest(self.first(x.masked_fill(fails[:, None, None, None], torch.nan)))


def half() -> nn.Module:
    return Plain().half()


@dataclass(frozen=True)
class Network:
    """How a study's file names a network of this module, and what is known of it.

    `like`: the network of :data:`NETWORKS` that puts out the same logits, if one does; `refused`:
    what the examination says of it, if it is not to be studied; `gradient`: what is said where its
    gradient is asked for, if it has none.
    """

    builder: str
    classes: tuple[str, ...] = CLASSES
    keys: dict[str, Any] = field(default_factory=dict)
    like: str = ""
    refused: str = ""
    gradient: str = ""

    @property
    def config(self) -> ModelConfig:
        return ModelConfig(**self.content)

    @property
    def content(self) -> dict[str, Any]:
        name = f"tests.strange_models:{self.builder}"
        return {"source": "factory", "name": name, "classes": list(self.classes), **self.keys}


CROPPED = {"arguments": {"padding": 0}}
YES_OR_NO = {"values": "independent", "positive_class": "crimson"}
NETWORKS = {
    "plain": Network("Plain"),
    "one_map": Network("One", CLASSES[:2]),
    "listed": Network("Listed", keys={"output": "last"}, like="plain"),
    "probabilities": Network("Probabilities", like="plain"),
    "sigmoid": Network("Sigmoid", CLASSES[:2], like="one_map"),
    "cropped": Network("Plain", keys=CROPPED),
    "independent": Network("Independent", CLASSES[1:], YES_OR_NO, like="one_map"),
    "batch_norm": Network("batch_norm"),
    "dropping": Network("Dropping", refused="other numbers when it is asked again"),
    "recomputing": Network("Recomputing", like="plain"),
    "reentrant": Network("Recomputing", keys={"arguments": {"reentrant": True}}, like="plain"),
    "compiled": Network("compiled", like="plain"),
    "half": Network("half"),
    "unfinished": Network(
        "Unfinished",
        like="plain",
        gradient="fails in its backward pass: LookupError: no derivative is kept (line ",
    ),
}
STRANGE = tuple(name for name in NETWORKS if name not in ("plain", "one_map"))


def model_of(name: str) -> SegmentationModel:
    """The network as a study's file loads it."""
    network = NETWORKS[name]
    return load_model(network.config, network.classes)


def paint(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Scene `number`: uint8 [h, w, 3], and labels.

    Of a red, a blue and a green rectangle one is missing, in every fourth scene none.
    """
    dice = np.random.default_rng([11, number])
    pixels = dice.normal(110, 8, (HEIGHT, WIDTH, 3))
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for c, colour in enumerate(COLOURS, start=1):
        if number % 4 != c:
            top, left = int(dice.integers(0, 10)), 10 * (c - 1) + int(dice.integers(0, 4))
            place = slice(top, top + int(dice.integers(8, 14))), slice(left, left + 8)
            pixels[place] = np.array(colour) + dice.normal(0, 8, pixels[place].shape)
            labels[place] = c
    return pixels.clip(0, 255).astype(np.uint8), labels


def images(count: int = 2) -> Tensor:
    """The first scenes [n, 3, h, w] in [0, 1]."""
    pixels = np.stack([paint(number)[0] for number in range(count)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def write_overlapping(folder: Path, count: int) -> Path:
    """Scenes with a mask file for each class of :class:`Overlapping`; the manifest's file."""
    write_scenes(folder, count)
    for number in range(count):
        _, labels = paint(number)
        drawn = {"any": labels > 0, "crimson": labels == 1, "azure": labels == 2}
        for name, mask in drawn.items():
            (folder / name).mkdir(exist_ok=True)
            file = folder / name / f"g{number // 2}_s{number:02d}.png"
            Image.fromarray(np.uint8(255 * mask)).save(file)
    path = folder / "set.yaml"
    content = yaml.safe_load(path.read_text())
    masks = {name: f"{name}/{{id}}.png" for name in ANY}
    content["folders"] = [{"images": "images/{id}.png", "masks": masks}]
    content["labels"] = {"names": ["ground", *ANY], "background": "ground"}
    path.write_text(yaml.safe_dump(content))
    return path


def write_scenes(folder: Path, count: int, outputs: tuple[str, ...] = CLASSES) -> Path:
    """Scenes, masks and their manifest, in groups of two; returns the manifest's file.

    For a network that puts out ground and crimson alone, all else is ground. In `marks` lies where
    the green rectangle is, as a user may draw it.
    """
    for name in ("images", "masks", "marks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        pixels, labels = paint(number)
        drawn = {"images": pixels, "masks": labels, "marks": (labels == 3).astype(np.uint8)}
        for name, array in drawn.items():
            Image.fromarray(array).save(folder / name / f"g{number // 2}_s{number:02d}.png")
    content = {
        "name": "rectangles",
        "channels": 3,
        "group": "([^_]+)_",
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": list(CLASSES), "background": CLASSES[0]},
    }
    if outputs == CLASSES[:2]:
        remap = {0: "ground", 1: "crimson", 2: "ground", 3: "ground"}
        content["labels"] = {"names": list(outputs), "background": "ground", "remap": remap}
    path = folder / "set.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
