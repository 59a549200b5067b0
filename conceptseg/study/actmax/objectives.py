"""What a picture is to excite: units, directions or classes, as maps of responses.

An objective turns a layer's activation A [n, u, y, x] (for classes the logits) into responses
r [n, f, y, x] of f features, and these into one number per image and feature:

===========  =======================================  ==========================  ================
objective    response                                 of a picture                of a real image
===========  =======================================  ==========================  ================
channel      A_u                                      mean over positions         best such frame
position     A_u                                      value at the centre         largest value
direction    (A . v) max(cos(A, v), 0.1)^2            mean over positions         best such frame
class        log-odds z_c - log sum_{k != c} exp z_k  mean in a centred window    best such window
===========  =======================================  ==========================  ================

v is a unit vector. The window has half the picture's sides. A frame is as large in the image as
the picture is: a picture that a unit likes everywhere is not set against the mean of a whole image.

Sources: Olah et al. 2017; for directions, the objective `direction` with cosine of lucid.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import Recorder

Kind = Literal["channel", "position", "direction", "class"]
LEAST_COSINE = 0.1
"""Below it the cosine's factor stops falling, so that a direction can be found at all."""


@dataclass(frozen=True)
class Objective:
    """`ids` of features: units, rows of `directions` [q, u], or classes."""

    kind: Kind
    layer: str
    ids: tuple[int, ...] = ()
    directions: np.ndarray | None = None

    def only(self, ids: Sequence[int]) -> "Objective":
        return Objective(self.kind, self.layer, tuple(ids), self.directions)

    def responses(self, source: Tensor, ids: Sequence[int] | None = None) -> Tensor:
        """Maps [n, f, y, x] of the features `ids` (all of the objective's) on a batch."""
        wanted = list(self.ids if ids is None else ids)
        if self.kind == "direction":
            dot = torch.einsum("nuyx,fu->nfyx", source, self._vectors(source, wanted))
            return _focused(dot, source.norm(dim=1)[:, None])
        if self.kind == "class":
            rest = [torch.cat([source[:, :c], source[:, c + 1 :]], 1) for c in wanted]
            return source[:, wanted] - torch.stack([others.logsumexp(1) for others in rest], 1)
        return source[:, wanted]

    def own(self, source: Tensor, ids: Sequence[int]) -> Tensor:
        """Maps [n, y, x], of row i the response of feature ids[i]."""
        rows = torch.arange(len(ids), device=source.device)
        if self.kind == "direction":
            dot = torch.einsum("nuyx,nu->nyx", source, self._vectors(source, list(ids)))
            return _focused(dot, source.norm(dim=1))
        if self.kind == "class":
            picked = source[rows, list(ids)]
            others = source.clone()
            others[rows, list(ids)] = -torch.inf
            return picked - others.logsumexp(1)
        return source[rows, list(ids)]

    def of_pictures(self, maps: Tensor) -> Tensor:
        """Maps [..., y, x] of pictures -> what is maximised [...]."""
        y, x = maps.shape[-2:]
        if self.kind == "position":
            return maps[..., y // 2, x // 2]
        if self.kind == "class":
            maps = maps[..., y // 4 : y - y // 4, x // 4 : x - x // 4]
        return maps.mean((-2, -1))

    def of_images(self, maps: Tensor, size: tuple[int, int], image: tuple[int, int]) -> Tensor:
        """Maps [n, f, y, x] of real images -> the same quantity [n, f], wherever it is largest.

        `size` is the pictures' (h, w), `image` that of the real images: windows and frames are as
        large as in the pictures, but no larger than the image.
        """
        if self.kind == "position":
            return maps.amax((-2, -1))
        own = [side - 2 * (side // 4) if self.kind == "class" else side for side in size]
        cells = [
            min(whole, max(1, round(side * whole / full)))
            for side, whole, full in zip(own, maps.shape[-2:], image, strict=True)
        ]
        steps = [max(1, side // 8) for side in cells]
        return F.avg_pool2d(maps, cells, steps).amax((-2, -1))

    def _vectors(self, like: Tensor, ids: list[int]) -> Tensor:
        assert self.directions is not None
        rows = self.directions[ids]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return torch.as_tensor(rows, dtype=like.dtype, device=like.device)


def _focused(dot: Tensor, norm: Tensor) -> Tensor:
    cosine = dot / norm.clamp(min=1e-8)
    return dot * cosine.clamp(min=LEAST_COSINE) ** 2


@contextmanager
def source_of(
    model: SegmentationModel, objective: Objective, *others: str
) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
    """A function of images to what the objective reads (key ""), and `others`' activations.

    Nothing runs after the last layer that is asked for. Images that require a gradient keep
    their graph.
    """
    whole = objective.kind == "class"
    layers = [*dict.fromkeys([*others, *([] if whole else [objective.layer])])]
    with Recorder(model, layers, stop=not whole) as recorder:

        def run(images: Tensor) -> dict[str, Tensor]:
            logits = recorder(images)
            main = logits if whole else recorder.activations[objective.layer]
            assert main is not None
            # A source of its own key: it may also be one of the layers.
            return {"": main, **recorder.activations}

        yield run
