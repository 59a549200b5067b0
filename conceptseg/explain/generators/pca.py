"""PCA: an image and its main ways to vary, which are linear and know nothing of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.generate import WHOLE, Code, Generator, Group, Subject

FIXED = "fit them to images of one size"


@technique(family="learnt", source="Pearson 1901; as a generator it is a test instrument")
class Pca(Generator):
    """The image plus a sum of the data's principal components.

        x' = x + sum_k t_k reach s_k v_k,  |t_k| <= 1,

    with v_k the components of images of one size and s_k the deviations along them. One group, for
    components are no parts of a scene. Linear, so of a linear network the smallest edit that flips
    is a projection, known in closed form: it serves to test the search. Zero parameters give the
    image bit for bit.
    """

    components: int = Field(24, ge=1, le=500, description="Components, of at most the images.")
    reach: float = Field(3.0, gt=0, description="Largest change along one, in its deviations.")

    @property
    def fitted(self) -> bool:
        return True

    def fit(self, images: Sequence[Tensor], seed: int) -> dict[str, Tensor]:
        rows = torch.stack([one.flatten() for one in images]).double()
        rows = rows - rows.mean(0)
        _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
        kept = min(self.components, max(1, len(rows) - 1))
        spread = values[:kept] / max(1, len(rows) - 1) ** 0.5
        shape = torch.tensor(images[0].shape)
        return {"vectors": vectors[:kept].float(), "spread": spread.float(), "shape": shape}

    def encode(self, subject: Subject, fitted: Mapping[str, Tensor]) -> Code:
        shape = tuple(fitted["shape"].tolist())
        if shape != tuple(subject.image.shape[1:]):
            raise InputError(
                f"generator: pca was fitted to images of {list(shape)}, and this one is "
                f"{list(subject.image.shape[1:])}; {FIXED}"
            )
        return _Sum(self, subject, fitted)


class _Sum(Code):
    def __init__(self, pca: Pca, subject: Subject, fitted: Mapping[str, Tensor]) -> None:
        self.image = subject.image
        self.vectors = fitted["vectors"].to(self.image)
        self.scale = pca.reach * fitted["spread"].to(self.image)
        count = len(self.scale)
        self.groups = (Group(WHOLE, "main variation", tuple(range(count))),)
        self.high = self.image.new_ones(count)
        self.low = -self.high

    def render(self, theta: Tensor) -> Tensor:
        change = ((theta * self.scale) @ self.vectors).unflatten(1, self.image.shape[1:])
        return (self.image + change).clamp(0, 1)

    def describe(self, theta: Tensor, group: Group) -> str:
        most = int(theta.abs().argmax())
        return f"most along component {most + 1}, by {100 * float(theta[most]):+.0f} % of its reach"
