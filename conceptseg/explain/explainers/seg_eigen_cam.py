"""Seg-Eigen-CAM: a layer's first principal component, as a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from conceptseg.catalogue import technique
from conceptseg.explain.explainers._cam import CamExplainer
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import FixedTarget, Target

Sign = Literal["target", "absmax", "none"]

TIED = 1e-5
"""Variances that differ by less than this share of the first cannot be told apart in float32."""

BLOCK = 8
"""So many components are sought at once; those tied with the first must be fewer."""

STEPS = 24
"""Products with the Gram matrix after which all its eigenvectors are computed instead."""

CLOSE = 2e-6
"""Residual of the first components, over the first variance, that counts as none in float32."""

UNTOLD = 1e-4
"""A correlation with the region that is below this tells nothing about the sign."""


@technique(family="CAM", source="Muhammad and Yeasin 2020, arXiv:2008.00299")
class SegEigenCam(CamExplainer):
    """Projection of a layer's positions on their first principal component; free of class.

    L = relu(X v) for X [y x, u], a layer's activation with each unit's mean over the positions
    taken off, and v its first right singular vector, of length 1. Unbounded; in units of the
    activation; >= 0 unless `relu` is off. One forward pass and no backward pass (one of the part
    after the layer where gradients weigh). The same for all classes, up to its sign: it shows what
    stands out in the image, not what speaks for the class.

    The sign of v is arbitrary and X v has mean zero, so without a rule the rectifier keeps one
    half of the map or its complement by chance. `sign: target` takes the sign with which the map
    correlates with the target's region; where there is no correlation to speak of, such as in a
    region that is the whole image, the rule is `absmax`: the largest absolute value is positive.
    Where the first principal values are equal, v is any direction of a plane or more. Then that
    one is taken whose map lies closest to the region; :meth:`gap` tells how far off this is.

    `weighting: gradient` replaces the activation by its product with dT / dA (EigenGrad-CAM), and
    `weighting: absolute` by its product with |dT / dA|. The latter with `sign: absmax` is the
    method that Chung and Ying published in 2025, under the name Seg-Eigen-CAM as well.

    Departures: the rules for the sign are ours, and `none`, the library's own sign, is what other
    implementations have; it may change from one machine to another. They take the means off, as
    here. Nothing is normalised.

    Source: Muhammad and Yeasin, "Eigen-CAM: Class Activation Map using Principal Components",
    IJCNN 2020, arXiv:2008.00299; on segmentation networks: Gizzini, Shukor and Ghandour 2023,
    arXiv:2310.01837; Chung and Ying, Applied Sciences 15(13):7562, 2025, eqs. 10-13.
    """

    weighting: Literal["none", "gradient", "absolute"] = Field(
        "none", description="What multiplies the activation: nothing, its gradient, or |gradient|."
    )
    sign: Sign = Field(
        "target", description="What is positive: the region's side, the largest absolute value."
    )

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        scene.tail(self.layer, graph=self.weighting != "none")
        # An activation says nothing about what comes after it, so that has to be asked for.
        scene.model.check_finite(scene.logits, [f"{i} of the batch" for i in range(len(scene))])
        if self.weighting != "none":
            return torch.stack([self.on_grid(scene, target) for target in targets])
        scores = [scene.fix(target) for target in targets]
        spectrum = self.spectrum(scene, scores[0])
        found = torch.stack([spectrum.map(score.mask, self.sign) for score in scores])
        return found.relu() if self.relu else found

    def combine(self, scene: Scene, score: FixedTarget) -> Tensor:
        return self.spectrum(scene, score).map(score.mask, self.sign)

    def gap(self, scene: Scene, target: Target) -> Tensor:
        """How far the first principal value is ahead: 1 - s_2 / s_1 per image, [n] in [0, 1].

        Near 0 the component, and so the map, hangs on details of the image that mean nothing.
        """
        return self.spectrum(scene, scene.fix(target)).gap

    def spectrum(self, scene: Scene, score: FixedTarget) -> Spectrum:
        """Principal components of the layer's activation, weighed for the target."""
        weighed = self.weighting != "none"
        activation = scene.tail(self.layer, graph=weighed).activation.detach()
        if weighed:
            gradient = scene.gradient(self.layer, score)
            activation = activation * (gradient.abs() if self.weighting == "absolute" else gradient)
        return Spectrum.of(activation)


@dataclass(frozen=True)
class Spectrum:
    """Principal components of maps [n, u, y, x], from the smaller of their two Gram matrices.

    `rows` [n, p, u] are the maps at p = y x positions with their means taken off, over `scale`
    [n, 1, 1]. `variances` [n, r] are the first squared singular values of `rows`, the largest
    first, and `vectors` [n, d, r] the matching columns: singular vectors over positions where
    d = p, over units where d = u. All values equal to the first are among them.
    """

    rows: Tensor
    scale: Tensor
    variances: Tensor
    vectors: Tensor
    grid: tuple[int, int]

    @classmethod
    def of(cls, maps: Tensor) -> Self:
        rows = maps.flatten(2).transpose(1, 2)
        rows = rows if rows.dtype == torch.float64 else rows.float()
        rows = rows - rows.mean(1, keepdim=True)
        # Their squares' squares are to stay within the type's range.
        scale = rows.abs().amax((1, 2), keepdim=True)
        rows = rows / scale.masked_fill(scale == 0, 1.0)
        turned = rows.transpose(1, 2)
        few_positions = rows.shape[1] <= rows.shape[2]
        gram = rows @ turned if few_positions else turned @ rows
        variances, vectors = _leading(gram)
        return cls(rows, scale, variances, vectors, (maps.shape[2], maps.shape[3]))

    @property
    def over_positions(self) -> bool:
        return self.rows.shape[1] <= self.rows.shape[2]

    @property
    def gap(self) -> Tensor:
        """1 - s_2 / s_1 for the first two singular values, [n]; 0 where all are 0."""
        first = self.variances[:, 0]
        second = self.variances[:, 1] if self.variances.shape[1] > 1 else torch.zeros_like(first)
        return 1 - (second / first.masked_fill(first == 0, 1.0)).sqrt().where(first > 0, 1.0)

    def map(self, mask: Tensor, sign: Sign) -> Tensor:
        """The first component's projection [n, y, x], with a sign told by masks [n, h, w]."""
        first = torch.zeros_like(self.variances)
        first[:, 0] = 1
        if sign == "none":
            return self._project(first)
        towards = self._towards(mask)
        told = towards.norm(dim=1, keepdim=True) > UNTOLD
        found = self._project(torch.where(told, functional.normalize(towards), first))
        turned = found.amax((1, 2)) < -found.amin((1, 2))
        if sign == "target":
            turned = turned & ~told[:, 0]
        return torch.where(turned[:, None, None], -found, found)

    def _towards(self, mask: Tensor) -> Tensor:
        """Correlations [n, d] of a mask with the first component's map, and those tied with it."""
        shares = functional.interpolate(mask[:, None].to(self.rows.dtype), self.grid, mode="area")
        region = shares.flatten(1)
        region = functional.normalize(region - region.mean(1, keepdim=True))[:, :, None]
        tied = self.variances > (1 - TIED) * self.variances[:, :1]
        if self.over_positions:
            found = self.vectors.transpose(1, 2) @ region
        else:
            found = self.vectors.transpose(1, 2) @ (self.rows.transpose(1, 2) @ region)
            length = self.variances[:, :1, None].sqrt()
            found = found / length.masked_fill(length == 0, 1.0)
        return found[:, :, 0] * tied

    def _project(self, weights: Tensor) -> Tensor:
        """The map of a unit direction given by its parts [n, d] along the first components."""
        direction = self.vectors @ weights[:, :, None]
        if self.over_positions:
            found = direction * self.variances[:, :1, None].sqrt()
        else:
            found = self.rows @ direction
        return (found * self.scale)[:, :, 0].unflatten(1, self.grid)


def _leading(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The first eigenvalues [n, r] of Gram matrices [n, d, d], and their columns [n, d, r].

    A block of vectors is multiplied by the matrix until the first ones stand still, which a few
    products do for the maps of most networks. Where they do not, or where a whole block is tied,
    every eigenvector is computed.
    """
    size = gram.shape[1]
    if size > 8 * BLOCK and gram.dtype == torch.float32:
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(size, BLOCK, generator=generator, dtype=gram.dtype).to(gram.device)
        block = start.expand(len(gram), -1, -1)
        for _ in range(STEPS // 4):
            for _ in range(3):
                block = gram @ block
                block = block / block.norm(dim=1, keepdim=True).clamp(min=1e-30)
            block = torch.linalg.qr(block)[0]
            turned = gram @ block
            variances, turn = torch.linalg.eigh(block.transpose(1, 2) @ turned)
            variances, turn = variances.flip(1).clamp(min=0), turn.flip(2)
            block, turned = block @ turn, turned @ turn
            first = variances[:, :1]
            tied = variances > (1 - TIED) * first
            left = (turned - block * variances[:, None]).norm(dim=1) * tied
            if bool((left <= CLOSE * first).all()) and not bool(tied.all(1).any()):
                return variances, block
    variances, vectors = torch.linalg.eigh(gram)
    return variances.flip(1).clamp(min=0), vectors.flip(2)
