"""Squares that are red or blue, and a network wired to call a pixel `square` for either."""

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
HEIGHT, WIDTH = 20, 28


class TwoWays(nn.Module):
    """Channels of `body`: red above 0.5, blue above 0.5, green; `square` is either of the two.

    With `square` = 10 (red + blue) + green - 1 against ground's 0, and the epsilon rule in the last
    layer, a red square's relevance lies on channel 0, a blue one's on channel 1, but for the green.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            self.body[0].weight.zero_()
            for unit, colour in enumerate((0, 2, 1)):
                self.body[0].weight[unit, colour] = 1.0
            self.body[0].bias.copy_(torch.tensor([-0.5, -0.5, 0.0, 0.0]))
            self.head.weight.zero_()
            self.head.weight[1, :3, 0, 0] = torch.tensor([10.0, 10.0, 1.0])
            self.head.bias.copy_(torch.tensor([0.0, -1.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def paint(number: int, both: bool = False) -> tuple[np.ndarray, np.ndarray, str]:
    """Scene `number`: uint8 [h, w, 3], labels [h, w], and the colour. Blue ones, of which there is
    one in three, are labelled ground: the network is wrong in them. `both`: violet."""
    rng = np.random.default_rng([5, number])
    pixels, labels = np.full((HEIGHT, WIDTH, 3), 0.2), np.zeros((HEIGHT, WIDTH), np.uint8)
    colour = "violet" if both else "blue" if number % 3 == 0 else "red"
    top, left = int(rng.integers(0, 10)), int(rng.integers(0, 18))
    for channel, own in ((0, ("red", "violet")), (2, ("blue", "violet"))):
        if colour in own:
            pixels[top : top + 9, left : left + 9, channel] = rng.uniform(0.75, 0.95)
    pixels[..., 1] = rng.uniform(0.1, 0.4)
    labels[top : top + 9, left : left + 9] = int(colour != "blue")
    noisy = pixels + rng.normal(0, 0.02, pixels.shape)
    return (255 * noisy.clip(0, 1)).astype(np.uint8), labels, colour


def write(folder: Path, count: int = 90, /, **changes: Any) -> Path:
    """Scenes, their manifest and a study's file, which it returns. `masks`: whether there are any;
    `violet`: the number of the scene that is."""
    masks, violet = changes.pop("masks", True), changes.pop("violet", ())
    folder.mkdir(parents=True)
    lines = ["id,image,mask,colour"] if masks else ["id,image,colour"]
    for number in range(count):
        pixels, labels, colour = paint(number, number in violet)
        Image.fromarray(pixels).save(folder / f"s{number:03d}.png")
        Image.fromarray(labels).save(folder / f"s{number:03d}_mask.png")
        mask = f"s{number:03d}_mask.png," if masks else ""
        lines.append(f"s{number:03d},s{number:03d}.png,{mask}{colour}")
    (folder / "samples.csv").write_text("\n".join(lines) + "\n")
    content = {
        "name": "squares",
        "channels": 3,
        "table": {"file": "samples.csv"},
        "labels": {"names": list(CLASSES), "background": "ground"},
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(content))
    fields = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "factory", "name": "tests.study.prototypes.wired:TwoWays"},
        "layer": "body",
        "run": {"device": "cpu", "batch_size": 8, "shards": 2, "threads": 1},
        "picture_px": 48,
        **changes,
    }
    path = folder / "prototypes.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def run(path: Path, out: Path, *words: str) -> int:
    """The command's exit code."""
    return command.main(["prototypes", "--config", str(path), "--out", str(out), "-q", *words])
