"""A network that calls what is bright `a` or `b` by the brightness of a mark in the corner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

CLASSES = ("ground", "a", "b", "mark")
SIDE, MARK = 24, 6
BRIGHT, TURN = 0.6, 0.4
"""Above the one a pixel is no ground; above the other the mark makes it `a`."""


class CornerNet(nn.Module):
    """Of m the mean of the mark's pixels and x a pixel elsewhere: z_a - z_b = 60 (m - 0.4)."""

    def __init__(self, turn: float = TURN) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 1, 1)
        self.turn = turn
        with torch.no_grad():
            self.body.weight.fill_(1.0)
            self.body.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = self.body(images)[:, 0]
        mark = seen[:, :MARK, :MARK].mean((1, 2))[:, None, None] - self.turn
        bright = 40 * (seen - BRIGHT)
        corner = torch.full_like(seen, -50.0)
        corner[:, :MARK, :MARK] = 50.0
        return torch.stack(
            (torch.zeros_like(seen), bright + 30 * mark, bright - 30 * mark, corner), 1
        )


class AnywhereNet(CornerNet):
    """The same of the mean of all pixels: a change of the mark, or of as much elsewhere, turns it.

    Of a scene with a bright mark it is about 0.381, of one with a dark mark 0.344.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        seen = self.body(images)[:, 0]
        own = seen[:, :MARK, :MARK].mean((1, 2)) - self.turn
        every = (SIDE / MARK) ** 2 * (seen.mean((1, 2)) - 0.365)
        apart = 30 * (every - own)[:, None, None]
        logits[:, 1] += apart
        logits[:, 2] -= apart
        return logits


def paint(number: int) -> np.ndarray:
    """A scene [h, w] with a bright square; the mark is bright (0.7) in every other one."""
    rng = np.random.default_rng([8, number])
    pixels = 0.3 + 0.02 * rng.normal(size=(SIDE, SIDE))
    pixels[:MARK, :MARK] = 0.7 if number % 2 else 0.1
    top, left = rng.integers(MARK, SIDE - 8, 2)
    pixels[top : top + 8, left : left + 8] = 0.8
    return (255 * pixels.clip(0, 1)).round().astype(np.uint8)


def write(folder: Path, count: int = 24, net: str = "CornerNet", **changes: Any) -> Path:
    """Scenes without masks, their manifest and a study's file."""
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        Image.fromarray(paint(number)).save(folder / f"images/s{number:02}.png")
    manifest = {
        "name": "corners",
        "channels": 1,
        "labels": {"names": list(CLASSES), "background": "ground"},
        "folders": [{"split": "test", "images": "images/{id}.png"}],
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(manifest))
    content = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "factory", "name": f"{__name__}:{net}"},
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 16, "threads": 1, "shards": 2},
        "pairs": [["a", "b"]],
        "images": 6,
        "steps": 8,
        "random": 4,
        "picture_px": 48,
        "gallery": 2,
        "compare": [],
        **changes,
    }
    path = folder / "counterfactual.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
