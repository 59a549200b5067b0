"""What of an image stays when its surroundings are swapped, and what is told of its prediction."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.explain.regions import distance_to
from conceptseg.network.label_map import label_map

SCORES = ("iou", "found", "flipped", "missed")


@dataclass(frozen=True)
class Kept:
    """What of an image [1, c, h, w] stays: `region` of the class, `zone` with the margin, bool
    [h, w]; `alpha` [h, w] from 1 on the zone to 0 beyond the seam."""

    class_id: int
    region: Tensor
    zone: Tensor
    alpha: Tensor

    @classmethod
    def of(cls, labels: Tensor, class_id: int, margin: float, feather: float) -> "Kept":
        region = labels == class_id
        distance = distance_to(region[None])[0]
        fall = (distance - margin) / max(feather, 1e-6)
        return cls(class_id, region, distance <= margin, (1 - fall).clamp(0, 1))

    def within(self, image: Tensor, donor: Tensor) -> Tensor:
        """The image's zone in the donor's surroundings."""
        return torch.lerp(donor, image, self.alpha.to(image))

    def scores(self, logits: Tensor, labels: Tensor, background: int | None) -> np.ndarray:
        """`SCORES` of predictions, [n, 4]: IoU within the zone, and the shares of the region that
        are found, taken for another class, and for the background; the three sum to 1."""
        return self._scores(label_map(logits), labels, background)

    def judged(
        self, logits: Tensor, labels: Tensor, background: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`scores` [n, 4], and the share of the region that is predicted as each class,
        [n, k]."""
        predicted, classes = label_map(logits), logits.shape[1]
        own = predicted[:, self.region]
        places = own + classes * torch.arange(len(own), device=own.device)[:, None]
        counts = torch.bincount(places.flatten(), minlength=classes * len(own))
        taken = counts.reshape(len(own), classes) / max(own.shape[1], 1)
        scores = self._scores(predicted, labels, background)
        return scores, np.asarray(taken.cpu().numpy(), np.float16)

    def _scores(self, predicted: Tensor, labels: Tensor, background: int | None) -> np.ndarray:
        own, known = predicted == self.class_id, labels >= 0
        held = self.region.sum()
        shared = (own & self.region).sum((1, 2))
        either = ((own | self.region) & self.zone & known).sum((1, 2))
        empty = torch.zeros_like(own) if background is None else predicted == background
        missed = (empty & self.region & ~own).sum((1, 2)) / held
        found = shared / held
        columns = [shared / either, found, 1 - found - missed, missed]
        return np.asarray(torch.stack(columns, 1).double().cpu().numpy())


def background(context: Context) -> int | None:
    """The network's class that is the masks' background, if there is one."""
    classes, name = context.model.classes, context.manifest.background
    return classes.index(name) if name in classes else None
