"""Colours as concepts: the eleven basic names, by hue, saturation and value.

The names are those of Berlin & Kay 1969, "Basic color terms"; where one ends and the next begins
is this module's own choice.
"""

import torch
from torch import Tensor

from conceptseg.study.dissect.sources import ConceptSource, View
from conceptseg.study.dissect.vocabulary import Category

COLOURS = (
    "black",
    "grey",
    "white",
    "brown",
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
)
GREYS = ("black", "dark grey", "grey", "light grey", "white")


class Colours(ConceptSource):
    """Eleven colour names by hue, saturation and value; five greys for images of one channel."""

    def __init__(self, channels: int) -> None:
        self._three = channels == 3
        self.category = Category("colour", COLOURS if self._three else GREYS)

    def map(self, view: View) -> Tensor:
        images = view.images.float()
        if not self._three:
            return (images.mean(1) * len(GREYS)).long().clamp(0, len(GREYS) - 1)
        value, low = images.amax(1), images.amin(1)
        span = value - low
        saturation = span / value.clamp(min=1e-6)
        red, green, blue = images.unbind(1)
        safe = span.clamp(min=1e-6)
        sector = torch.where(
            value == red,
            ((green - blue) / safe) % 6,
            torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
        )
        hue = 60 * sector
        # Ends of red, orange, yellow, green, blue, purple, pink, red again, in degrees.
        ends = torch.tensor([15.0, 42.0, 70.0, 165.0, 255.0, 295.0, 340.0], device=hue.device)
        by_hue = torch.tensor([4, 5, 6, 7, 8, 9, 10, 4], device=hue.device)
        slots = by_hue[torch.bucketize(hue, ends, right=True)]
        dark_warm = (hue >= 10) & (hue < 50) & (value < 0.6)
        slots = slots.where(~dark_warm, 3)
        grey = torch.where(value > 0.85, 2, 1)
        slots = slots.where(saturation >= 0.15, grey)
        return slots.where(value >= 0.15, 0)
