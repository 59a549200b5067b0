"""MeTFA: what a method's maps of noisy copies of an image have in common, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy.stats import binom
from torch import Tensor
from torch.nn import functional

from conceptseg.catalogue import one_of, technique
from conceptseg.explain.contract import Explainer, unit
from conceptseg.explain.explainers._paths import portions
from conceptseg.explain.explainers.vanilla_saliency import VanillaSaliency
from conceptseg.explain.noise import noisy
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target, pinned
from conceptseg.stats.corrections import benjamini_hochberg, benjamini_yekutieli

CORRECTIONS = {
    "yekutieli": benjamini_yekutieli,
    "hochberg": benjamini_hochberg,
    "none": lambda p: np.asarray(p, np.float64),
}


@technique(family="stable", source="Gan et al. 2022, arXiv:2209.01782")
class Metfa(Explainer):
    """What a method's maps have in common under noise: the mean of each pixel's middle values.

    The method `of` explains `draws` copies of the image, with uniform noise in [-radius, radius]
    that is cut off at black and white; the target's region stays that of the clean image. Each of
    the n maps is brought to [0, 1] by its least and largest value. Of a pixel's sorted values
    E_(0) <= ... <= E_(n-1) the map is the mean of E_(k1) ... E_(k2), with

        k1 = max {k: P(Bin(n, 1/2) <= k) < level / 2},   k2 = n - 1 - k1.

    [E_(k1), E_(k2)] holds the median of the value under the noise with probability
    1 - 2 P(Bin(n, 1/2) <= k1), whatever its distribution (0.9785 for n = 10, 0.9586 for n = 20 at
    a level of 0.05): it is given for the means over `cells` (:meth:`solve`), with two sign tests of
    each cell, whether its median lies above `threshold` (salient) or below it (irrelevant), each
    corrected over the cells of the image. Values in [0, 1], of no unit. As many passes as the
    method takes for `draws` images, and the clean one.

    What is inferred is the median of the *method's* value under this noise, and not that the
    network needs the pixel: a method that is wrong in the same way each time is stably wrong. Cells
    of which nothing is said are those with too few draws: the least p-value is 2^-n, and a
    correction over m cells multiplies it by up to m (1 + 1/2 + ... + 1/m).

    Departures: the authors' code tests single pixels without correction, at a threshold by natural
    breaks or 0.2; the correction and the cells are ours. A map that is the same everywhere counts
    as 0.

    Source: Gan, Zhang, Fu et al., "MeTFA: a robustness evaluation framework for feature
    attribution", ACM CCS 2022, arXiv:2209.01782.
    """

    of: one_of(Explainer, "explainers", "vanilla_saliency") = Field(  # type: ignore[valid-type]
        default_factory=VanillaSaliency, description="The method whose maps are taken."
    )
    draws: int = Field(20, ge=2, description="Noisy copies of each image.")
    radius: float = Field(
        0.1, gt=0, le=1, description="Bound of the noise, on the images' scale of [0, 1]."
    )
    level: float = Field(
        0.05, gt=0, lt=1, description="Level of each cell's interval, and of the tests of all."
    )
    threshold: float = Field(
        0.2, ge=0, le=1, description="Value above which the median of a cell counts as salient."
    )
    correction: Literal["yekutieli", "hochberg", "none"] = Field(
        "yekutieli",
        description="Of the tests of an image's cells: for any dependence, for positive, or none.",
    )
    cells: tuple[int, int] = Field(
        (16, 16), description="Cells down and across that are tested; never more than pixels."
    )
    show: Literal["smoothed", "salient", "low", "high", "width"] = Field(
        "smoothed",
        description="Which map: the smoothed one, the same in cells found salient and 0 elsewhere, "
        "or the ends or width of the cells' intervals.",
    )
    seed: int = Field(0, ge=0, description="Seed of the noise.")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if 2.0**-self.draws >= self.level / 2:
            least = int(np.ceil(np.log2(2 / self.level) + 1e-9))
            raise ValueError(
                f"draws: an interval at level {self.level:g} needs at least {least} draws"
            )
        if min(self.cells) < 1:
            raise ValueError("cells: a grid has at least one cell each way")
        return self

    @property
    def own_rules(self) -> bool:
        return bool(self.of.own_rules)

    @property
    def classes_only(self) -> bool:
        return bool(self.of.classes_only)

    @property
    def fitted(self) -> bool:
        return bool(self.of.fitted)

    @property
    def layers_named(self) -> set[str]:
        return set(self.of.layers_named)

    def at(self, layer: str) -> Metfa:
        return self.model_copy(update={"of": self.of.at(layer)})

    def passes(self, scene: Scene) -> float:
        return float(self.draws * self.of.passes(scene))

    def check(self, scene: Scene) -> None:
        self.of.check(scene)

    def reduced(self, scene: Scene) -> Metfa:
        return self.model_copy(update={"of": self.of.reduced(scene), "draws": 1})

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        found = [self.intervals(maps, scene) for maps in self.maps(scene, targets)]
        return torch.stack([self._shown(one) for one in found])

    def solve(self, scene: Scene, target: Target) -> Stable:
        """The intervals and tests of the images for one target."""
        return self.intervals(self.maps(scene, [target])[0], scene)

    def maps(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        """The method's maps of the noisy copies, each in [0, 1]: [t, n, draws, h, w].

        Raises InputError for more than there is room for.
        """
        scene.check_room(len(targets) * self.draws)
        scores = [scene.fix(target) for target in targets]
        parts = []
        for rows in portions(scene):
            step, own = max(1, scene.batch_size // len(rows)), []
            for start in range(0, self.draws, step):
                some = range(start, min(start + step, self.draws))
                copies = [noisy(scene, rows, self.radius, self.seed, draw) for draw in some]
                which = rows * len(copies)
                other = scene.beside(torch.cat(copies), which)
                pairs = zip(targets, scores, strict=True)
                same = [pinned(target, score.mask[which]) for target, score in pairs]
                found = unit(self.of.on(other, same))
                scene.take_over(other)
                own.append(found.unflatten(1, (len(copies), len(rows))).transpose(1, 2))
            parts.append(torch.cat(own, 2))
        return torch.cat(parts, 1)

    def intervals(self, maps: Tensor, scene: Scene) -> Stable:
        """What maps [n, draws, h, w] in [0, 1] of noisy copies have in common."""
        first, last = order(maps.shape[1], self.level)
        smoothed = maps.sort(1).values[:, first : last + 1].mean(1)
        y, x = (min(c, side) for c, side in zip(self.cells, scene.size, strict=True))
        cells = functional.adaptive_avg_pool2d(maps, (y, x))
        ordered = cells.sort(1).values
        above = self._tested((cells > self.threshold).sum(1), maps.shape[1])
        below = self._tested((cells < self.threshold).sum(1), maps.shape[1])
        return Stable(smoothed, ordered[:, first], ordered[:, last], above, below, self.level)

    def _tested(self, counts: Tensor, draws: int) -> Tensor:
        """Corrected p-values [n, y, x] of counts: P(Bin(draws, 1/2) >= count)."""
        p = binom.sf(counts.cpu().numpy() - 1, draws, 0.5)
        rows = [CORRECTIONS[self.correction](one.ravel()).reshape(one.shape) for one in p]
        return torch.from_numpy(np.stack(rows)).to(counts.device)

    def _shown(self, found: Stable) -> Tensor:
        size = found.smoothed.shape[1:]
        if self.show == "smoothed":
            return found.smoothed
        if self.show == "salient":
            return found.smoothed * _enlarged(found.salient.to(found.smoothed), size)
        chosen: dict[str, Any] = {"low": found.low, "high": found.high}
        return _enlarged(chosen.get(self.show, found.high - found.low), size)


@dataclass(frozen=True)
class Stable:
    """What the maps of n images have in common under noise, on a grid of y by x cells.

    `smoothed` [n, h, w]; `low` and `high` [n, y, x] the ends of the interval of each cell's median;
    `above` and `below` [n, y, x] corrected p-values that it lies above, or below, the threshold.
    """

    smoothed: Tensor
    low: Tensor
    high: Tensor
    above: Tensor
    below: Tensor
    level: float

    @property
    def salient(self) -> Tensor:
        """Cells [n, y, x] whose median lies above the threshold."""
        return self.above <= self.level

    @property
    def irrelevant(self) -> Tensor:
        """Cells [n, y, x] whose median lies below the threshold."""
        return self.below <= self.level


def order(draws: int, level: float) -> tuple[int, int]:
    """k1 and k2: which of n sorted values, from 0, are the ends of the median's interval.

    The whole range where n is too small for the level.
    """
    tails = binom.cdf(np.arange(draws), draws, 0.5)
    first = max(int((tails < level / 2).sum()) - 1, 0)
    return first, draws - 1 - first


def coverage(draws: int, level: float) -> float:
    """How probable it is that the interval holds the median of a continuous value."""
    first, last = order(draws, level)
    return float(binom.cdf(last, draws, 0.5) - binom.cdf(first, draws, 0.5))


def _enlarged(cells: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(cells[:, None], size=tuple(size), mode="nearest-exact")[:, 0]
