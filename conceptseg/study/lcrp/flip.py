"""Sixth sweep of L-CRP: what a class's score loses when channels go in the order of relevance.

Channels of the layer are set to zero (or all but they), the most relevant first, and the network
goes on from there; under `rescale` they are set to what they are in the image's reference, for what
a change is worth shows when it is undone. A faithful order costs the class's score most, soonest.
Random orders say how much any order would.

Source: Dreyer et al. 2023, arXiv:2211.11426, section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, State
from conceptseg.explain.regions import UserMask
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.engines import Sweep, object_mask, predict, regions, start_of

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.explain.lrp.composites import CompositeName
    from conceptseg.study.lcrp.config import Lcrp

METHODS: Mapping[str, CompositeName] = {
    "LRP z+": "epsilon_plus",
    "LRP gamma": "gamma",
    "LRP epsilon": "epsilon",
}
"""Rules whose orders are compared, beside those of the study itself."""
AT_ONCE = 16
OTHERS = ("Grad-CAM", "gradient x activation")


def methods(study: Lcrp) -> dict[str, CompositeName]:
    """The orders by relevance that are compared, by name: the published ones, the study's own."""
    name = "rescale" if study.composite == "rescale" else f"LRP {study.composite}"
    own: dict[str, CompositeName] = {name: study.composite}
    return dict(METHODS) | ({} if study.composite in METHODS.values() else own)


def names(study: Lcrp) -> tuple[str, ...]:
    """What all orders are called but the random ones, in their order."""
    return (*methods(study), *OTHERS)


class Flip(Sweep):
    """Per image and class, a pass of the part after the layer for each point of each curve."""

    name = "flip"
    cost = "1 forward + (steps + 1) x orders passes of the part after the layer, per class"
    labels = "optional"

    @property
    def _count(self) -> int:
        return len(names(self.study)) + self.study.random_orders

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        chosen: Chosen = carry["chosen"]
        wanted = {s for c in chosen.classes for s in chosen.drawn(c, self.study.flip_images)}
        return self._only(context, wanted)

    def forwards(self, context: Context) -> float:
        orders = self._count
        images = min(len(context.manifest.samples), self.study.flip_images)
        classes = len(self.study.class_ids(context))
        return classes * images * (6 + 0.4 * orders * (self.study.flip_steps + 1))

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        chosen: Chosen = carry["chosen"]
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            labels = None if batch.labels is None else batch.labels[i]
            mine = [
                c for c in chosen.classes if sample_id in chosen.drawn(c, self.study.flip_images)
            ]
            where = regions(predict(context, image)[0], tuple(mine))
            tail = Tail.of(context.model, image, context.layer, graph=True)
            blank = self._blank(context, image, tail)
            found = {}
            for class_id, region in where.items():
                mask = object_mask(labels, class_id, region)
                orders = self._orders(context, image, tail, region, class_id)
                orders += self._random(context, sample_id, class_id, chosen.units)
                found[class_id] = self._curves(tail, blank, orders, mask, class_id)
            empty = np.zeros((0, self._count, len(points(chosen.units, self.study.flip_steps))))
            one = {
                "class": np.array(list(found), np.int64),
                "curve": np.stack(list(found.values())) if found else empty,
            }
            table = table.merge(SampleTable.of(sample_id, one))
        return {"flip": table}

    def _orders(
        self,
        context: Context,
        image: Tensor,
        tail: Tail,
        region: Tensor,
        class_id: int,
    ) -> list[np.ndarray]:
        """Channels, most relevant first, by each method, for the predicted region's mean logit."""
        ranked = []
        for composite in methods(self.study).values():
            run = self._engines.of(context, image, composite).run(image, [context.layer])
            start = start_of(self.study, run, region, class_id)
            (relevance,) = run.at_layers(start, [context.layer])
            ranked.append(relevance.double().sum((0, 2, 3)))
        target = Target(class_id, UserMask(region), score="logit").on(tail.logits.detach(), None)
        gradient, activation = tail.gradient(target)[0], tail.activation[0].detach()
        weight = gradient.mean((1, 2))
        ranked.append(weight * activation.sum((1, 2)))
        ranked.append((gradient * activation).sum((1, 2)))
        return [np.argsort(-r.double().cpu().numpy(), kind="stable") for r in ranked]

    def _random(
        self, context: Context, sample_id: str, class_id: int, units: int
    ) -> list[np.ndarray]:
        key = sample_priority(context.seed, sample_id)
        rng = np.random.default_rng([context.seed, key % 2**63, class_id, 4])
        return [rng.permutation(units) for _ in range(self.study.random_orders)]

    def _blank(self, context: Context, image: Tensor, tail: Tail) -> Tensor:
        """What flipped channels are set to, [1, u, y, x]."""
        references = self._engines.of(context, image).references(image)
        if references is None:
            return torch.zeros_like(tail.activation)
        return Tail.of(context.model, references, context.layer).activation.detach()

    def _curves(
        self,
        tail: Tail,
        blank: Tensor,
        orders: list[np.ndarray],
        mask: Tensor,
        class_id: int,
    ) -> np.ndarray:
        """Change of the class's mean logit on the object, [orders, steps + 1]."""
        activation = tail.activation.detach()
        counts = points(activation.shape[1], self.study.flip_steps)
        clean = tail.logits.detach()[0, class_id][mask].mean()
        found = []
        with torch.no_grad():
            keeps = torch.cat([self._keep(order, counts, activation) for order in orders])
            # Orders share their ends, and often more: each set of channels is run once.
            keeps, place = torch.unique(keeps, dim=0, return_inverse=True)
            for keep in keeps.split(AT_ONCE):
                logits = tail.resume(torch.where(keep[:, :, None, None] > 0, activation, blank))
                found.append((logits[:, class_id][:, mask].mean(1) - clean).double().cpu())
        return torch.cat(found)[place.cpu()].view(len(orders), len(counts)).numpy()

    def _keep(self, order: np.ndarray, counts: Sequence[int], activation: Tensor) -> Tensor:
        """Which channels stay at each point, [points, u]."""
        keep = torch.ones(len(counts), len(order))
        for row, count in enumerate(counts):
            keep[row, torch.from_numpy(order[:count].copy())] = 0
        return (keep if self.study.flip_mode == "remove" else 1 - keep).to(activation)

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get("flip", SampleTable.empty())
        assert isinstance(table, SampleTable)
        chosen: Chosen = carry["chosen"]
        samples, classes, curves = [], [], []
        for sample_id in table.ids:
            one = table.tables[sample_id]
            samples += [sample_id] * len(one["class"])
            classes += one["class"].tolist()
            curves.append(one["curve"])
        empty = np.zeros((0, self._count, len(points(chosen.units, self.study.flip_steps))))
        share = np.array(points(chosen.units, self.study.flip_steps)) / chosen.units
        return {
            "flip": Curves(
                tuple(samples),
                np.array(classes, np.int64),
                np.concatenate(curves) if curves else empty,
                share,
                names(self.study),
            )
        }


@dataclass(frozen=True)
class Curves:
    """Changes of the logit [rows, orders, points], a row per image and class; `share` of channels
    that are gone at each point. Orders: those of `names`, then random ones."""

    samples: tuple[str, ...]
    classes: np.ndarray
    change: np.ndarray
    share: np.ndarray
    names: tuple[str, ...]

    def of(self, number: int) -> np.ndarray:
        """One method's curves [rows, points]."""
        return self.change[:, number]

    @property
    def random(self) -> np.ndarray:
        """The random orders' mean, by row, [rows, points]."""
        return self.change[:, len(self.names) :].mean(1)

    def area(self, curve: np.ndarray) -> np.ndarray:
        """Area under each curve [rows]: its mean over the share of channels (trapezoids)."""
        steps = np.diff(self.share)
        middle = (curve[:, 1:] + curve[:, :-1]) / 2
        return np.asarray((middle * steps).sum(1))


def points(units: int, steps: int) -> list[int]:
    """How many channels are gone at each point: 0 to all, evenly, none twice."""
    return sorted(
        {round(units * step / min(steps, units)) for step in range(min(steps, units) + 1)}
    )
