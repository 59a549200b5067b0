"""Occlusion: how much worse the prediction becomes when a window is hidden."""

from collections.abc import Sequence
from math import ceil
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import Explainer
from conceptseg.explain.explainers._masking import Measure, reader, respond
from conceptseg.explain.fill import Fill
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target


@technique(family="perturbation", source="Gipiškis and Kurasova 2023; Zeiler and Fergus 2014")
class Occlusion(Explainer):
    """Drop of a segmentation metric when a sliding window is hidden, averaged over windows.

    O(w) = Q(x) - Q(x with window w filled), and a pixel's value is the mean of O over the windows
    that cover it. Q is an overlap of the class's prediction with the target's region, or the
    target's score (`measure`). In [-1, 1] for an overlap, else unbounded and in units of the score;
    > 0 where hiding harms. Windows start at multiples of the stride; those that reach beyond the
    image are cut off there. One forward pass, and one for each of
    (ceil((h - window) / stride) + 1) (ceil((w - window) / stride) + 1) windows.

    What two windows hold twice over, neither misses: redundant evidence gets no value. `dice` and
    `iou` change only where the argmax does, so that most windows of a sure prediction score
    exactly 0; the default is their smooth form.

    Departures: window, stride and fill of the source are not known to us; Q is taken against the
    clean prediction's region, or against the labels by a target whose region is labelled.

    Source: Gipiškis and Kurasova, "Occlusion-based approach for interpretable semantic
    segmentation", CISTI 2023, 10.23919/CISTI58278.2023.10212017; Zeiler and Fergus, "Visualizing
    and understanding convolutional networks", ECCV 2014, section 4.2.
    """

    window: int = Field(32, ge=1, description="Side of the hidden window in pixels.")
    stride: int = Field(16, ge=1, description="Pixels from one window to the next.")
    fill: Fill = Field("mean", description="What the window is filled with.")
    measure: Measure = Field(
        "softdice",
        description="What drops: softdice, dice or iou with the region, or the target's score.",
    )

    @property
    def classes_only(self) -> bool:
        return self.measure != "score"

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.stride > self.window:
            raise ValueError(
                f"stride {self.stride} is larger than window {self.window}, which leaves pixels "
                "that no window covers; take at most the window"
            )
        return self

    def passes(self, scene: Scene) -> float:
        down, across = (len(self._windows(size)) for size in scene.size)
        return 1.0 + down * across

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        down, across = (self._windows(size).to(scene.images.device) for size in scene.size)
        wide = len(across)

        def masks(start: int, stop: int) -> Tensor:
            at = torch.arange(start, stop, device=down.device)
            return 1 - down[at // wide, :, None] * across[at % wide, None, :]

        read = reader(scene, targets, self.measure)
        hidden = respond(scene, self.fill, len(down) * wide, masks, read)
        drops = (read(scene.logits)[..., None] - hidden).double().unflatten(-1, (-1, wide))
        down, across = down.double(), across.double()
        return down.T @ drops @ across / (down.sum(0)[:, None] * across.sum(0))

    def _windows(self, size: int) -> Tensor:
        """Which of `size` pixels each window covers along one axis, 0 or 1, [windows, size]."""
        count = max(0, ceil((size - self.window) / self.stride)) + 1
        start = self.stride * torch.arange(count)[:, None]
        at = torch.arange(size)
        return ((at >= start) & (at < start + self.window)).float()
