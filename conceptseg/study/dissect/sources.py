"""Where concepts come from: labels, errors, geometry, colour, texture, known context, user masks.

No source needs data beyond the images and what the manifest says of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.data.manifest import Manifest
from conceptseg.study.dissect.textures import Codebook, descriptors
from conceptseg.study.dissect.vocabulary import Category
from conceptseg.study.shared.overlap import referred
from conceptseg.study.shared.user_masks import UserMask

SMALL, LARGE = 0.005, 0.05
"""Shares of the image's area that divide small, medium and large objects."""
FRAME = 1 / 16
BOUNDARY_PX = 3
THIRDS = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)  # fmt: skip

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
"""The names of Berlin & Kay 1969, "Basic color terms"; where one ends is this file's choice."""
GREYS = ("black", "dark grey", "grey", "light grey", "white")


@dataclass(frozen=True)
class View:
    """A batch as sources see it. `labels` and `prediction` int64 [n, h, w], None if there are none.

    A sample without a mask has labels of -1 throughout.
    """

    ids: tuple[str, ...]
    images: Tensor
    labels: Tensor | None
    prediction: Tensor | None

    def truth(self) -> Tensor:
        """Labels, or -1 everywhere."""
        if self.labels is not None:
            return self.labels
        n, _, h, w = self.images.shape
        return torch.full((n, h, w), -1, dtype=torch.int64, device=self.images.device)

    def seen(self) -> Tensor:
        """Labels where the sample has any, else the prediction."""
        if self.prediction is None:
            return self.truth()
        return referred(self.labels, self.prediction)[0]


class ConceptSource(ABC):
    """One category of concepts, and how its map of slots comes from a batch."""

    category: Category
    predicts = False
    """Whether it needs the network's prediction, and with it the whole network."""
    seen_alone = True
    """Whether it is told by the image or the data set, not by labels or predictions of classes."""

    @abstractmethod
    def map(self, view: View) -> Tensor:
        """Slots int64 [n, y, x] on any grid that covers the image evenly."""


class Labels(ConceptSource):
    """The classes of the label map."""

    seen_alone = False

    def __init__(self, classes: Sequence[str]) -> None:
        self.category = Category("class", tuple(classes))

    def map(self, view: View) -> Tensor:
        labels = view.truth()
        return labels.where(labels >= 0, self.category.unknown)


class Predictions(ConceptSource):
    """The classes that the network predicts."""

    predicts = True
    seen_alone = False

    def __init__(self, classes: Sequence[str]) -> None:
        self.category = Category("predicted", tuple(f"predicted {name}" for name in classes))

    def map(self, view: View) -> Tensor:
        assert view.prediction is not None
        return view.prediction


class Errors(ConceptSource):
    """Wrong pixels, by their true class (missed) or by the class that they are taken for (false).

    `missed` names which of the two: false negatives or false positives.
    """

    predicts = True
    seen_alone = False

    def __init__(self, classes: Sequence[str], missed: bool) -> None:
        self._missed = missed
        kind, word = ("missed", "missed") if missed else ("false alarm", "false")
        self.category = Category(kind, tuple(f"{word} {name}" for name in classes))

    def map(self, view: View) -> Tensor:
        assert view.prediction is not None
        labels = view.truth()
        named = labels if self._missed else view.prediction
        slots = named.where(labels != view.prediction, self.category.rest)
        return slots.where(labels >= 0, self.category.unknown)


class BoundaryBand(ConceptSource):
    """A band along the borders between classes, 3 px to either side."""

    predicts = True
    seen_alone = False
    category = Category("boundary", ("boundary",))

    def map(self, view: View) -> Tensor:
        seen = view.seen()
        values = seen[:, None].float()
        side = 2 * BOUNDARY_PX + 1
        high = F.max_pool2d(values, side, stride=1, padding=BOUNDARY_PX)
        low = -F.max_pool2d(-values, side, stride=1, padding=BOUNDARY_PX)
        slots = (high == low)[:, 0].long()
        return slots.where(seen >= 0, self.category.unknown)


class Sizes(ConceptSource):
    """Objects by size: connected parts of one class other than the background."""

    predicts = True
    seen_alone = False
    category = Category("size", ("small object", "medium object", "large object"))

    def __init__(self, background: int | None) -> None:
        self._background = background

    def map(self, view: View) -> Tensor:
        seen = view.seen()
        slots = [torch.from_numpy(self._slots(one)) for one in seen.cpu().numpy()]
        return torch.stack(slots).to(seen.device)

    def _slots(self, seen: np.ndarray) -> np.ndarray:
        from skimage.measure import label

        parts = label(seen, background=-1, connectivity=2)
        share = np.bincount(parts.ravel()) / seen.size
        slots = np.digitize(share, [SMALL, LARGE])[parts].astype(np.int64)
        if self._background is not None:
            slots[seen == self._background] = self.category.rest
        slots[seen < 0] = self.category.unknown
        return slots


class Places(ConceptSource):
    """In which ninth of the image a pixel lies."""

    category = Category("position", tuple(name for row in THIRDS for name in row))

    def map(self, view: View) -> Tensor:
        n, _, h, w = view.images.shape
        rows, columns = (
            torch.arange(side, device=view.images.device) * 3 // side for side in (h, w)
        )
        return (rows[:, None] * 3 + columns).expand(n, h, w)


class Frame(ConceptSource):
    """The outer sixteenth of each side, where padding shows."""

    category = Category("frame", ("image border",))

    def map(self, view: View) -> Tensor:
        n, _, h, w = view.images.shape
        slots = torch.zeros((h, w), dtype=torch.int64, device=view.images.device)
        top, left = max(1, round(FRAME * h)), max(1, round(FRAME * w))
        slots[top : h - top, left : w - left] = self.category.rest
        return slots.expand(n, h, w)


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


class Textures(ConceptSource):
    """Clusters of local wave energies, learnt from the data set."""

    def __init__(self, codebook: Codebook) -> None:
        self._codebook = codebook
        self.category = Category("texture", codebook.names)

    def map(self, view: View) -> Tensor:
        return self._codebook.nearest(descriptors(view.images))


class KnownContext(ConceptSource):
    """Surroundings that the data set knows to matter to a class (a planted tile)."""

    category = Category("context", ("known context",))

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def map(self, view: View) -> Tensor:
        slots = torch.ones(view.truth().shape, dtype=torch.int64)
        for i, sample_id in enumerate(view.ids):
            context = self._manifest.context(self._manifest.sample(sample_id))
            if context is not None:
                slots[i][torch.from_numpy(context)] = 0
        return slots.to(view.images.device)


class UserMasks(ConceptSource):
    """One concept of the user's. Images without such a file count as not annotated."""

    def __init__(self, mask: UserMask) -> None:
        self.category = Category(f"mask {mask.name}", (mask.name,))
        self.mask = mask

    def map(self, view: View) -> Tensor:
        slots = torch.full(view.truth().shape, self.category.unknown, dtype=torch.int64)
        for i, sample_id in enumerate(view.ids):
            shown = self.mask.read(sample_id, (slots.shape[1], slots.shape[2]))
            if shown is not None:
                slots[i] = torch.from_numpy(np.where(shown, 0, 1))
        return slots.to(view.images.device)


def on_centres(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps [..., h, w] of categories, read at the centres of the cells of a y x x grid."""
    h, w = maps.shape[-2:]
    rows = ((torch.arange(grid[0], device=maps.device) + 0.5) * h / grid[0]).long()
    columns = ((torch.arange(grid[1], device=maps.device) + 0.5) * w / grid[1]).long()
    return maps[..., rows[:, None], columns[None, :]].long()
