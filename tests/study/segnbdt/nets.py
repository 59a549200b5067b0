"""Trees and networks that can be checked by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from conceptseg.study.segnbdt.tree import Tree, random_tree

WIDE = ((0, 1, (2, 5)), 3, (4, (6, 7, 8)))
"""Nodes of two and three branches, classes at several depths."""


def trees(classes: int = 9) -> list[Tree]:
    rng = np.random.default_rng(3)
    return [Tree.of(WIDE), *(random_tree(classes, rng) for _ in range(4))]


def by_loops(part, z):
    """One pixel's logits [k] -> class probabilities by their definition, and the greedy leaf."""

    def leaves(p):
        return [p] if isinstance(p, int) else [one for child in p for one in leaves(child)]

    probabilities = {}

    def soft(p, so_far):
        if isinstance(p, int):
            probabilities[p] = so_far
            return
        scores = np.array([np.mean([z[leaf] for leaf in leaves(child)]) for child in p])
        shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        for child, share in zip(p, shares, strict=True):
            soft(child, so_far * share)

    soft(part, 1.0)
    while not isinstance(part, int):
        scores = [np.mean([z[leaf] for leaf in leaves(child)]) for child in part]
        part = part[int(np.argmax(scores))]
    return np.array([probabilities[c] for c in range(len(z))]), part


class ThreeGroups(nn.Module):
    """A 1x1 head whose six weight rows lie in three obvious groups: (0, 3), (1, 4), (2, 5)."""

    def __init__(self, upsample: bool = False):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, stride=2 if upsample else 1))
        self.body.append(nn.ReLU())
        self.head = nn.Conv2d(8, 6, 1)
        centres = torch.randn(3, 8, generator=generator)
        rows = torch.cat([centres, centres]) + 0.1 * torch.randn(6, 8, generator=generator)
        with torch.no_grad():
            self.head.weight.copy_(rows[:, :, None, None])
            self.head.bias.zero_()
            for value in self.body.parameters():
                value.copy_(0.4 * torch.randn(value.shape, generator=generator))

    def forward(self, images):
        return self.head(self.body(images))
