"""Squares of many brightnesses, and a network that misses the dim ones: quality that can be told.

A scene shows a square on dark ground. The network calls a pixel `square` where it is brighter than
0.601, so of a square of brightness b with noise of 0.08 it finds the share of pixels above it. Its
layer `body` holds the mean brightness of 4 x 4 px cells beside noise filters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

from conceptseg.study import __main__ as command

CLASSES = ("ground", "square")
HEIGHT, WIDTH = 24, 32


class DimNet(nn.Module):
    """Cells of brightness and noise; logits (0, 20 (b - 0.601)) at each pixel's own brightness."""

    def __init__(self, poison: bool = False) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 4, 4)
        self.head = nn.Conv2d(3, 2, 1)
        self.poison = poison
        noise = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) / 7
        with torch.no_grad():
            self.body.weight.copy_(torch.cat([torch.full((1, 3, 4, 4), 1 / 48), noise]))
            self.body.bias.zero_()
            self.head.weight.copy_(torch.tensor([[0.0] * 3, [20 / 3] * 3])[:, :, None, None])
            self.head.bias.copy_(torch.tensor([0.0, -12.02]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = self.body(images)
        logits = self.head(images) + 0.0 * cells.mean((1, 2, 3), keepdim=True)
        return logits * float("nan") if self.poison else logits


def paint(number: int, brightness: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scene `number`: uint8 [h, w, 3] and labels [h, w]; every seventh has no square."""
    rng = np.random.default_rng([3, number])
    pixels, labels = np.full((HEIGHT, WIDTH), 0.3), np.zeros((HEIGHT, WIDTH), np.uint8)
    top, left = int(rng.integers(0, 12)), int(rng.integers(0, 20))
    bright = rng.uniform(0.48, 0.85) if brightness is None else brightness
    if number % 7 != 6:
        pixels[top : top + 12, left : left + 12] = bright
        labels[top : top + 12, left : left + 12] = 1
    noisy = pixels[..., None] + rng.normal(0, 0.08, (HEIGHT, WIDTH, 3)) * [1, 1, 1]
    return (255 * noisy.clip(0, 1)).astype(np.uint8), labels


def write(folder: Path, study: str, count: int = 42, /, **changes: Any) -> Path:
    """Scenes, their manifest and a study's file; groups of three images. Returns the file.

    `masks`: how many images have one, all if absent; `brightness`: of all squares; `groups`: how
    many images a group has.
    """
    masks, brightness = changes.pop("masks", count), changes.pop("brightness", None)
    size = changes.pop("groups", 3)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(count):
        name = f"g{number // size:02d}_s{number:02d}.png"
        pixels, labels = paint(number, brightness)
        Image.fromarray(pixels).save(folder / "images" / name)
        if number < masks:
            Image.fromarray(labels).save(folder / "masks" / name)
    names = [f"g{number // size:02d}_s{number:02d}" for number in range(count)]
    folders = []
    for listed, own in (("with", names[:masks]), ("without", names[masks:])):
        if own:
            (folder / f"{listed}.txt").write_text("\n".join(own) + "\n")
            pattern = {"images": "images/{id}.png", "ids": f"{listed}.txt"}
            folders.append(pattern | ({"masks": "masks/{id}.png"} if listed == "with" else {}))
    content = {
        "name": "dim squares",
        "channels": 3,
        "group": "([^_]+)_",
        "folders": folders,
        "labels": {"names": list(CLASSES), "background": "ground"},
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(content))
    fields = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "factory", "name": "tests.study.dim:DimNet"},
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 8, "shards": 2, "threads": 1},
        "picture_px": 48,
        **changes,
    }
    path = folder / f"{study}_dim.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def run(study: str, path: Path, out: Path, *words: str) -> int:
    """The command's exit code."""
    return command.main([study, "--config", str(path), "--out", str(out), "--quiet", *words])
