"""A network wired by hand: of which unit leads where, nothing is left to be found out.

colour r -> a1 -> b1 -> c1 -> object
colour g -> a2 -> b2 -> c1
colour b -> a3 -----------------> object (past b and c)
colour r -> a4 -> b3 (leads nowhere), b4 has no input but noise of g, c2 none at all of it
"""

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

WAYS = {("a/1", "b/1"), ("b/1", "c/1"), ("a/2", "b/2"), ("b/2", "c/1")}
STRAIGHT = {("a/3", "object"), ("c/1", "object")}
"""What leads to the class."""


class Wired(nn.Module):
    """Logits (0, z); with `bent` there is a ReLU behind each layer."""

    def __init__(self, bent: bool = False) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(4, 4, 1)
        self.c = nn.Conv2d(4, 2, 1)
        self.head = nn.Conv2d(6, 1, 1)
        self.act = nn.ReLU() if bent else nn.Identity()
        for layer in (self.a, self.b, self.c, self.head):
            layer.weight.data.zero_()
            layer.bias.data.zero_()
        for unit, colour in enumerate((0, 1, 2, 0)):
            self.a.weight.data[unit, colour] = 1.0
        self.b.weight.data[0, 0] = 2.0
        self.b.weight.data[1, 1] = -1.0
        self.b.bias.data[1] = 1.0
        self.b.weight.data[2, 3] = 3.0
        self.b.weight.data[3, 1] = 0.5
        self.c.weight.data[0, 0], self.c.weight.data[0, 1] = 1.0, 1.5
        self.c.weight.data[1, 3] = 1.0
        self.head.weight.data[0, 2], self.head.weight.data[0, 4] = 1.5, 1.0
        self.head.bias.data[0] = -2.5

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        a = self.act(self.a(images))
        c = self.act(self.c(self.act(self.b(a))))
        z = self.head(torch.cat([a, c], 1))
        return torch.cat([torch.zeros_like(z), z], 1)


def write(folder, count=32, /, **changes):
    """Coloured noise, three images to a group; returns the study's file."""
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng([5, number])
        coarse = rng.random((4, 4, 3)).repeat(3, 0).repeat(3, 1)
        pixels = np.rint(255 * (0.8 * coarse + 0.2 * rng.random((12, 12, 3)))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/g{number // 2:02}_{number:02}.png")
    manifest = {
        "name": "colours",
        "channels": 3,
        "group": "([^_]+)_",
        "labels": {"names": ["ground", "object"], "background": "ground"},
        "folders": [{"images": "images/{id}.png"}],
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(manifest))
    fields = {
        "data": {"manifest": "set.yaml"},
        "model": {"source": "factory", "name": "tests.study.graph.wired:Wired"},
        "layers": ["a", "b", "c"],
        "run": {"device": "cpu", "batch_size": 8, "threads": 1},
        "picture_px": 48,
        **changes,
    }
    path = folder / "graph.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path
