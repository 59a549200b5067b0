"""Integrated gradients: gradients along the straight path from a baseline to the image."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from conceptseg.catalogue import technique
from conceptseg.explain.contract import GRADIENT, Explainer
from conceptseg.explain.explainers._paths import Make, gradients, portions
from conceptseg.explain.fill import Fill, filling
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target

Rule = Literal["trapezoid", "gauss_legendre", "midpoint"]


@technique(family="gradient", source="Sundararajan et al. 2017, arXiv:1703.01365")
class IntegratedGradients(Explainer):
    """Image minus baseline, times the target's mean gradient on the straight path between them.

    L = sum_c (x_c - b_c) integral_0^1 dT / dx_c (b + a (x - b)) da for an image x [c, h, w], a
    baseline b and a target T whose region stays that of x. Signed, in units of T. Complete: the
    map sums to T(x) - T(b), up to the integral's error, which :meth:`gap` tells. The integral is
    a sum over `steps` points (one more for the trapezoid, which takes both ends): that many
    forward passes, each with one backward pass per target, beside the clean pass.

    A pixel that has the baseline's colour gets zero, whatever it means to the network: black
    objects vanish before a black baseline. Half-way images are none that the network was trained
    on. So compare at least two baselines.

    Departures: none in the formula; the paper's sum takes the right ends of the steps, which is
    less exact. With `tolerance` the steps are doubled for each image and target until the gap is
    below it, or `max_steps` would be passed; the trapezoid then uses its points again.

    Source: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017,
    arXiv:1703.01365, equations 1 and 3.
    """

    steps: int = Field(50, ge=1, description="Steps from the baseline to the image.")
    baseline: Fill = Field("black", description="What stands for an image that says nothing.")
    rule: Rule = Field("trapezoid", description="How the path's gradients are weighed.")
    tolerance: float | None = Field(
        None, gt=0, description="Relative gap above which steps are doubled; none: never."
    )
    max_steps: int = Field(1600, ge=1, description="Doubling goes no further than this.")

    def passes(self, scene: Scene) -> float:
        return GRADIENT * self.steps

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        everyone = list(range(len(scene)))
        found = self._integral(scene, targets, everyone, self.rule, self.steps)
        if self.tolerance is None:
            return found
        wanted, steps = self._expected(scene, targets), self.steps
        while 2 * steps <= self.max_steps:
            open_ = _gap(found, wanted) > self.tolerance
            which = open_.any(0).nonzero()[:, 0].tolist()
            if not which:
                break
            finer = self._halved(found[:, which], scene, targets, which, steps)
            mine = open_[:, which, None, None]
            found[:, which] = torch.where(mine, finer, found[:, which])
            steps *= 2
        return found

    def gap(self, scene: Scene, targets: Sequence[Target], attributions: Tensor) -> Tensor:
        """|sum L - (T(x) - T(b))| / |T(x) - T(b)| of attributions [t, n, h, w]: [t, n].

        Infinite where the target is the same at the image and at the baseline but the map does
        not sum to zero. Takes a forward pass of the baseline.
        """
        return _gap(attributions, self._expected(scene, targets))

    def _expected(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        """T(x) - T(b), [t, n]."""
        blank = scene.forward(filling(scene.model, scene.images, self.baseline))
        scores = [scene.fix(target) for target in targets]
        return torch.stack([(score(scene.logits) - score(blank)).double() for score in scores])

    def _integral(
        self, scene: Scene, targets: Sequence[Target], which: list[int], rule: Rule, steps: int
    ) -> Tensor:
        """The maps [t, i, h, w] of the images `which`."""
        places, weights = points(rule, steps)
        baseline = filling(scene.model, scene.images, self.baseline)
        parts = []
        for at in portions(scene, which):
            start, way = baseline[at], scene.images[at] - baseline[at]
            mean = torch.zeros(())
            for a, b, found in gradients(scene, targets, at, len(places), line(start, way, places)):
                weight = weights[a:b].to(found)
                mean = torch.einsum("v,tivchw->tichw", weight, found) + mean.to(found)
            parts.append((mean * way).sum(2))
        return torch.cat(parts, 1)

    def _halved(
        self,
        found: Tensor,
        scene: Scene,
        targets: Sequence[Target],
        which: list[int],
        steps: int,
    ) -> Tensor:
        """The maps with each of `steps` steps cut into two."""
        if self.rule == "trapezoid":
            return (found + self._integral(scene, targets, which, "midpoint", steps)) / 2
        return self._integral(scene, targets, which, self.rule, 2 * steps)


def line(start: Tensor, way: Tensor, places: Tensor) -> Make:
    """Points start + a way for the places a, of images [i, c, h, w]."""

    def make(first: int, last: int) -> Tensor:
        a = places[first:last].to(start)
        return start[:, None] + a[:, None, None, None] * way[:, None]

    return make


def points(rule: Rule, steps: int) -> tuple[Tensor, Tensor]:
    """Places in [0, 1] and weights, which sum to 1, of an integral in `steps` steps; float64."""
    if rule == "gauss_legendre":
        import numpy as np

        places, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(steps))
        return (1 + places) / 2, weights / 2
    if rule == "midpoint":
        places = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
        return places, torch.full_like(places, 1 / steps)
    places = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    weights = torch.full_like(places, 1 / steps)
    weights[[0, -1]] /= 2
    return places, weights


def _gap(attributions: Tensor, expected: Tensor) -> Tensor:
    error = (attributions.double().sum((2, 3)) - expected).abs()
    return (error / expected.abs()).nan_to_num(nan=0.0, posinf=torch.inf)
