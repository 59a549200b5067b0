"""Sixth sweep of L-CRP: what a class's score loses when channels go in the order of relevance.

Channels of the layer are set to zero (or all but they), the most relevant first, and the network
goes on from there; under `rescale` they are set to what they are in the image's reference, for what
a change is worth shows when it is undone. A faithful order costs the class's score most, soonest.
Random orders say how much any order would.

Source: Dreyer et al. 2023, arXiv:2211.11426, section 4.2.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.explain.lrp.composites import CompositeName
from conceptseg.explain.regions import UserMask
from conceptseg.explain.target import Target
from conceptseg.network.record import Tail
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.engines import (
    ENGINES,
    Engines,
    object_mask,
    predict,
    regions,
    start_of,
)
from conceptseg.study.shared.sweep import One, Sweep

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


@dataclass(frozen=True)
class Curves:
    """Changes of the logit [rows, orders, points], a row per image and class; `share` of channels
    that are gone at each point. Orders: those of `names`, then random ones."""

    samples: tuple[str, ...]
    classes: np.ndarray
    change: np.ndarray
    share: np.ndarray
    names: tuple[str, ...]

    @property
    def random(self) -> np.ndarray:
        """The random orders' mean, by row, [rows, points]."""
        return self.change[:, len(self.names) :].mean(1)

    def area(self, curve: np.ndarray) -> np.ndarray:
        """Area under each curve [rows]: its mean over the share of channels (trapezoids)."""
        steps = np.diff(self.share)
        middle = (curve[:, 1:] + curve[:, :-1]) / 2
        return np.asarray((middle * steps).sum(1))

    def error(self, area: np.ndarray, sampling: Sampling) -> float | None:
        """Standard error of the mean of areas [rows]; those of one image or group count together.

        Source: Liang & Zeger 1986, for a mean, with g / (g - 1) for g groups.
        """
        mine = sampling.named(self.samples)
        known = np.isfinite(area)
        if not known.all():
            area, mine = area[known], mine.at(known)
        if mine.n < 2:
            return None
        sums = mine.sums(area - area.mean())
        return float(np.sqrt(mine.n / (mine.n - 1) * (sums**2).sum()) / len(area))


CURVES = Key("curves", Curves)


@dataclass(frozen=True)
class Flip(Sweep):
    """Per image and class, a pass of the part after the layer for each point of each curve.

    An order whose rules fail on the network, or whose relevance is not finite, has no curve there,
    and the result says so.
    """

    study: Lcrp

    name = "flip"
    cost = "1 forward + (steps + 1) x orders passes of the part after the layer, per class"
    labels = "optional"
    rows = Key("flipped", SampleTable)

    @property
    def _count(self) -> int:
        return len(names(self.study)) + self.study.random_orders

    def wanted(self, known: Known) -> Collection[str]:
        chosen = known[CHOSEN_PAIRS]
        return {s for c in chosen.classes for s in chosen.drawn(c, self.study.flip_images)}

    def forwards(self, context: Context) -> float:
        orders = self._count
        images = min(len(context.manifest.samples), self.study.flip_images)
        classes = len(self.study.class_ids(context))
        return classes * images * (6 + 0.4 * orders * (self.study.flip_steps + 1))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        chosen, engines = known[CHOSEN_PAIRS], known[ENGINES]
        mine = [c for c in chosen.classes if one.id in chosen.drawn(c, self.study.flip_images)]
        where = regions(predict(context, one.image)[0], tuple(mine))
        tail = Tail.of(context.model, one.image, context.layer, graph=True)
        blank = flipped_to(context, engines, one.image, tail)
        failed = dict.fromkeys(names(self.study), "")
        curves = [np.zeros((0, self._count, len(points(chosen.units, self.study.flip_steps))))]
        for class_id, region in where.items():
            mask = object_mask(one.labels, class_id, region)
            orders = self._orders(context, engines, one.image, tail, region, class_id, failed)
            orders += self._random(context, one.id, class_id, chosen.units)
            curves.append(self._curves(tail, blank, orders, mask, class_id)[None])
        return {
            "class": np.array(list(where), np.int64),
            "curve": np.concatenate(curves),
            "failed": np.array(list(failed.values()), np.str_),
        }

    def _orders(
        self,
        context: Context,
        engines: Engines,
        image: Tensor,
        tail: Tail,
        region: Tensor,
        class_id: int,
        failed: dict[str, str],
    ) -> list[np.ndarray | None]:
        """Channels, most relevant first, by each method, for the predicted region's mean logit.

        None for a method that fails, with the reason put into `failed`.
        """
        ranked: list[Tensor | None] = []
        for name, composite in methods(self.study).items():
            try:
                run = engines.of(composite).run(image, [context.layer])
                start = start_of(self.study, run, region, class_id)
                (relevance,) = run.at_layers(start, [context.layer])
            except InputError as error:
                failed[name] = str(error)
                ranked.append(None)
                continue
            found = relevance.double().sum((0, 2, 3))
            finite = bool(found.isfinite().all())
            failed[name] = failed[name] if finite else "relevance at the layer is not finite"
            ranked.append(found if finite else None)
        target = Target(class_id, UserMask(region), score="logit").on(tail.logits.detach(), None)
        gradient, activation = tail.gradient(target)[0], tail.activation[0].detach()
        weight = gradient.mean((1, 2))
        ranked.append(weight * activation.sum((1, 2)))
        ranked.append((gradient * activation).sum((1, 2)))
        return [
            None if r is None else np.argsort(-r.double().cpu().numpy(), kind="stable")
            for r in ranked
        ]

    def _random(
        self, context: Context, sample_id: str, class_id: int, units: int
    ) -> list[np.ndarray | None]:
        key = sample_priority(context.seed, sample_id)
        rng = np.random.default_rng([context.seed, key % 2**63, class_id, 4])
        return [rng.permutation(units) for _ in range(self.study.random_orders)]

    def _curves(
        self,
        tail: Tail,
        blank: Tensor,
        orders: list[np.ndarray | None],
        mask: Tensor,
        class_id: int,
    ) -> np.ndarray:
        """Change of the class's mean logit on the object [orders, steps + 1], nan without order."""
        activation = tail.activation.detach()
        counts = points(activation.shape[1], self.study.flip_steps)
        clean = tail.logits.detach()[0, class_id][mask].mean()
        parts = []
        with torch.no_grad():
            made = [order for order in orders if order is not None]
            keeps = torch.cat([self._keep(order, counts, activation) for order in made])
            # Orders share their ends, and often more: each set of channels is run once.
            keeps, place = torch.unique(keeps, dim=0, return_inverse=True)
            for keep in keeps.split(AT_ONCE):
                logits = tail.resume(torch.where(keep[:, :, None, None] > 0, activation, blank))
                parts.append((logits[:, class_id][:, mask].mean(1) - clean).double().cpu())
        found = np.full((len(orders), len(counts)), np.nan)
        known = [order is not None for order in orders]
        found[known] = torch.cat(parts)[place.cpu()].view(len(made), len(counts)).numpy()
        return found

    def _keep(self, order: np.ndarray, counts: Sequence[int], activation: Tensor) -> Tensor:
        """Which channels stay at each point, [points, u]."""
        keep = torch.ones(len(counts), len(order))
        for row, count in enumerate(counts):
            keep[row, torch.from_numpy(order[:count].copy())] = 0
        return (keep if self.study.flip_mode == "remove" else 1 - keep).to(activation)

    def gathered(self, table: SampleTable, known: Known) -> Known:
        units, steps = known[CHOSEN_PAIRS].units, self.study.flip_steps
        share = np.array(points(units, steps)) / units
        empty = np.zeros((0, self._count, len(share)))
        classes = [table.tables[s]["class"] for s in table.ids]
        lost = tuple(
            {"kind": "method", "method": f"flipping by {name}", "sample": s, "reason": reason}
            for s in table.ids
            for name, reason in zip(
                names(self.study), table.tables[s]["failed"].tolist(), strict=True
            )
            if reason
        )
        return left_out(self.name)(lost) | CURVES(
            Curves(
                tuple(s for s, held in zip(table.ids, classes, strict=True) for _ in held),
                np.concatenate([np.zeros(0, np.int64), *classes]),
                np.concatenate([empty, *(table.tables[s]["curve"] for s in table.ids)]),
                share,
                names(self.study),
            )
        )


def flipped_to(context: Context, engines: Engines, image: Tensor, tail: Tail) -> Tensor:
    """What flipped channels of an image are set to, [1, u, y, x]."""
    references = engines.of().references(image)
    if references is None:
        return torch.zeros_like(tail.activation)
    return Tail.of(context.model, references, context.layer).activation.detach()


def points(units: int, steps: int) -> list[int]:
    """How many channels are gone at each point: 0 to all, evenly, none twice."""
    return sorted(
        {round(units * step / min(steps, units)) for step in range(min(steps, units) + 1)}
    )
