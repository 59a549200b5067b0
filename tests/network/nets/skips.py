"""A network of which each concept is decided on a level of its own, and scenes for it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 32
READ = 4
"""Units of a level that the scores read; the others amplify noise, and nothing follows them."""


class Skips(nn.Module):
    """Class 1 is where red is bright, read on the fine grid; class 2 where green is, on one four
    times as coarse. Both meet at the scores, so no layer before these knows both.

    The score of a class is its colour times `fine` or `deep`, less 0.3; the background's is 0.
    `again` puts the fine level through a layer that changes nothing. `units` are those of a level.
    """

    def __init__(
        self, fine: float = 1.0, deep: float = 1.0, units: int = READ, again: bool = False
    ) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, units, 3, padding=1, bias=False)
        self.again = nn.Identity() if again else None
        self.deep = nn.Conv2d(3, units, 4, 4, bias=False)
        self.head = nn.Conv2d(2 * units, 3, 1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.head.weight.zero_()
            for level in (self.fine, self.deep):
                noise = torch.randn(level.weight.shape, generator=generator)
                level.weight.copy_(noise - noise.mean((2, 3), keepdim=True))
                level.weight[:, :2] = 0
            self.fine.weight[:READ] = self.deep.weight[:READ] = 0
            for unit in range(READ):
                self.fine.weight[unit, 0, 1, 1] = fine * (1 + unit) / READ
                self.deep.weight[unit, 1] = deep * (1 + unit) / READ / 16
            self.head.weight[1, :READ] = self.head.weight[2, units : units + READ] = 1 / 2.5
            self.head.bias.copy_(torch.tensor([0.0, -0.3, -0.3]))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        if self.again is not None:
            fine = self.again(fine)
        return self.head(torch.cat([fine, F.interpolate(self.deep(x), x.shape[2:])], 1))


def scenes(count: int, noise: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [n, 3, 32, 32] and labels: a red square of class 1 left, a green one of 2 right.

    Squares lie on cells of 4 px, and every fourth image lacks one; elsewhere is noise.
    """
    generator = torch.Generator().manual_seed(seed)
    images = 0.2 * noise * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    labels = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    for i in range(count):
        for colour in (0, 1):
            y, x, side = torch.randint(0, 2, (3,), generator=generator).tolist()
            rows = slice(4 * y, 4 * (y + side + 2))
            columns = slice(16 * colour + 4 * x, 16 * colour + 4 * (x + side + 2))
            if i % 4 != 3 - colour:
                images[i, colour, rows, columns] += 0.8
                labels[i, rows, columns] = 1 + colour
    return images, labels
