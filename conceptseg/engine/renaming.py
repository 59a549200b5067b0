"""Whether masks fit other classes because names are exchanged, or because the network errs so.

On few images these look alike: a network that takes a 3 without brick for a 9, and a 9 with brick
for a 3, has exchanged the two names on four images of these kinds. But names that are exchanged are
so on every image, and a network that errs is right on some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from conceptseg.errors import few

ORDER = "check the order of model.classes and of labels.names (and labels.ignore)"
IMAGES = 40
"""Images on which it is asked, where a few look as if names were exchanged."""
FEW = 0.3
"""Share of objects that may go by their own name where names are exchanged: a poor network's."""


@dataclass(frozen=True)
class Renamed:
    """Of `images`, the objects (a class in an image) of the classes that fit others better, and
    how many of these are seen as that other more than as themselves."""

    images: int
    objects: int
    other: int

    @property
    def exchanged(self) -> bool:
        """Whether seven in ten or more go by the other name."""
        return self.objects > 0 and self.objects - self.other <= FEW * self.objects

    @property
    def words(self) -> str:
        return f"so do {self.other} of {self.objects} such objects on {self.images} images"

    def refuted(self, moved: str, images: int) -> str:
        """Why a reading that few `images` suggest is no doubt."""
        return (
            f"on {images} images masks fit other classes better ({moved}), but of {self.images} "
            f"images {self.objects - self.other} of {self.objects} such objects go by their own "
            "names: the network errs so, and names are not exchanged"
        )


def in_words(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> str:
    """Which class of the masks is which of the network's."""
    moved = [f"{names[c]} by {names[o]}" for c, o in pairs if c != o]
    k, steps = len(names), {(o - c) % len(names) for c, o in pairs}
    step = steps.pop() if len(steps) == 1 else 0
    shifted = f"all are shifted by {step - k * (step > k // 2):+d}: " if step else ""
    return f"{shifted}{few(moved, 4)}"


def followed(both: Iterable[Tensor], pairs: Sequence[tuple[int, int]]) -> Renamed:
    """How single images show the pairs (the masks' class, the network's that fits it better).

    `both` holds parts of the images: int [n, k, k], the pixels of each image by class of the mask
    and of the prediction. Of no account is an object of which neither is seen.
    """
    every = torch.cat(list(both))
    moved = [(c, o) for c, o in pairs if c != o]
    own = torch.stack([every[:, c, c] for c, _ in moved])
    other = torch.stack([every[:, c, o] for c, o in moved])
    seen = torch.maximum(own, other) > 0
    return Renamed(len(every), int(seen.sum()), int((seen & (other > own)).sum()))
