"""One image whose regions are explained one by one as they are drawn: attribution of brushes.

Of a method that is linear in its target, what is drawn together has the sum of the maps of what was
drawn apart, and what is left out is taken off. So maps of small cells, made once, serve every
drawing that is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.regions import UserMask
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target

AT_ONCE = 16
"""Cells that are explained together: a pass back for each, of one graph."""
ADDS_UP = 1e-3
"""Largest departure, of the map's largest value, up to which maps count as adding up."""


class Brush:
    """A scene of one image, explained for a class by a method that is linear in the target.

    The target of a drawing is the class's score summed over its pixels, so maps are in units of
    that sum. Raises InputError for a method whose maps of two halves of the image do not sum to the
    map of both, and for more or fewer than one image.
    """

    def __init__(
        self, scene: Scene, class_id: int, method: Explainer, score: str = "margin"
    ) -> None:
        if len(scene) != 1:
            raise InputError(f"a brush draws on one image, got {len(scene)}")
        self.scene, self.class_id, self.method, self.score = scene, class_id, method, score
        halves = torch.zeros(scene.size, dtype=torch.bool)
        halves[:, : scene.size[1] // 2] = True
        left, right, whole = self.maps([halves, ~halves, torch.ones_like(halves)])
        apart = (left + right - whole).abs().max()
        if apart > ADDS_UP * whole.abs().max():
            raise InputError(
                f"{method.name()} is not linear in what it explains: its maps of two halves miss "
                f"that of both by {float(apart / whole.abs().max()):.2g} of its largest value; "
                "take {kind: vanilla_saliency, reduce: sum}, or integrated_gradients"
            )

    def maps(self, masks: Sequence[Tensor]) -> Tensor:
        """Signed maps [m, h, w] of drawings, booleans [h, w] each; zero of what is empty.

        A pass back for each, `AT_ONCE` of one graph.
        """
        found = []
        for start in range(0, len(masks), AT_ONCE):
            some = [one.to(self.scene.images.device) for one in masks[start : start + AT_ONCE]]
            targets = [self._target(one) for one in some]
            found.append(self.method.on(self.scene, targets)[:, 0])
        size = (0, *self.scene.size)
        return torch.cat(found) if found else self.scene.images.new_zeros(size)

    def map(self, include: Tensor, exclude: Tensor | None = None) -> Tensor:
        """The map [h, w] of what is drawn less that of what is left out.

        A pixel that is in both cancels.
        """
        if exclude is None:
            return self.maps([include])[0]
        both = self.maps([include, exclude])
        return both[0] - both[1]

    def between(self, masks: Sequence[Tensor]) -> Tensor:
        """How much of drawing i's score is put on the pixels of drawing j: sums [m, m]."""
        maps = self.maps(masks)
        inside = torch.stack([one.to(maps) for one in masks])
        return torch.einsum("ihw,jhw->ij", maps, inside)

    def cells(self, down: int, across: int) -> list[Tensor]:
        """The image in a grid of cells, booleans [h, w] each, row by row."""
        h, w = self.scene.size
        rows = (torch.arange(h) * min(down, h)) // h
        columns = (torch.arange(w) * min(across, w)) // w
        label = rows[:, None] * min(across, w) + columns
        return [label == cell for cell in range(int(label.max()) + 1)]

    def _target(self, mask: Tensor) -> Target:
        if mask.dtype != torch.bool or mask.shape != self.scene.size:
            raise InputError(
                f"a drawing holds booleans {list(self.scene.size)}, got {mask.dtype} "
                f"{list(mask.shape)}"
            )
        return Target(self.class_id, UserMask(mask), self.score, "sum")  # type: ignore[arg-type]
