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

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Manifest
from conceptseg.study.dissect.textures import Codebook, descriptors
from conceptseg.study.dissect.vocabulary import Category

SMALL, LARGE = 0.005, 0.05
"""Shares of the image's area that divide small, medium and large objects."""
FRAME = 1 / 16
BOUNDARY_PX = 3
THIRDS = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """A batch as sources see it. `labels` and `prediction` int64 [n, h, w], None if there are none.

    A sample without a mask has labels of -1 throughout.
    """

    ids: tuple[str, ...]
    images: Tensor
    labels: Tensor | None
    prediction: Tensor | None

    @classmethod
    def of(cls, batch: Batch, prediction: Tensor | None) -> "View":
        return cls(batch.ids, batch.images, batch.labels, prediction)

    def truth(self) -> Tensor:
        """Labels, or -1 everywhere."""
        if self.labels is not None:
            return self.labels
        n, _, h, w = self.images.shape
        return torch.full((n, h, w), -1, dtype=torch.int64, device=self.images.device)

    def seen(self) -> Tensor:
        """Labels where the sample has any, else the prediction."""
        labels = self.truth()
        if self.prediction is None:
            return labels
        labelled = (labels >= 0).flatten(1).any(1)
        return torch.where(labelled[:, None, None], labels, self.prediction)


class ConceptSource(ABC):
    """One category of concepts, and how its map of slots comes from a batch."""

    category: Category
    predicts = False
    """Whether it needs the network's prediction, and with it the whole network."""

    @abstractmethod
    def map(self, view: View) -> Tensor:
        """Slots int64 [n, y, x] on any grid that covers the image evenly."""


class Labels(ConceptSource):
    """The classes of the label map."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.category = Category("class", tuple(classes))

    def map(self, view: View) -> Tensor:
        labels = view.truth()
        return labels.where(labels >= 0, self.category.unknown)


class Predictions(ConceptSource):
    """The classes that the network predicts."""

    predicts = True

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


def slot_maps(sources: Sequence[ConceptSource], view: View, grid: tuple[int, int]) -> Tensor:
    """Each category's slots on a grid, int64 [g, n, y, x]: what lies at the cells' centres."""
    return torch.stack([on_centres(source.map(view), grid) for source in sources])


def on_centres(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps [..., h, w] of categories, read at the centres of the cells of a y x x grid."""
    h, w = maps.shape[-2:]
    rows = ((torch.arange(grid[0], device=maps.device) + 0.5) * h / grid[0]).long()
    columns = ((torch.arange(grid[1], device=maps.device) + 0.5) * w / grid[1]).long()
    return maps[..., rows[:, None], columns[None, :]].long()
