"""Third sweep, if asked for: an explicit attack on each method's map in the gallery's cases.

The goal is the method's own map of the same case, upside down and mirrored: as rich as a real one,
and it says something else. Noise is sought that makes the map correlate with it, while the
prediction holds (:mod:`conceptseg.explain.manipulate`): on the network and the method as they are.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.explain.contract import Explainer
from conceptseg.explain.manipulate import Search
from conceptseg.explain.methods import explainers, failing
from conceptseg.explain.metrics._base import correlation
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target, configured
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.saliency.choose import CASES
from conceptseg.study.saliency.config import Saliency
from conceptseg.study.shared.compare import METHODS, passes_of, score_of
from conceptseg.study.shared.sweep import One, Sweep

RANDOM = 5
"""Draws of plain noise of the same size, which the search begins with."""
AGREEMENT = 0.99
"""Dice with the clean prediction that has to be kept."""
ATTACKS = Key("attacks", SampleTable)


@dataclass(frozen=True)
class Attacked:
    """What attacks reached in the first cases.

    `reached` [cases, methods, 4] is the correlation with the goal before the attack, of the best of
    5 draws of plain noise, and after it, and the size of the noise; nan where the map is constant,
    the method failed, or no noise kept the prediction. `clean` and `attacked` [cases][methods, h,
    w] are the maps, nan in the same places.
    """

    methods: tuple[str, ...]
    reached: np.ndarray
    clean: list[np.ndarray]
    attacked: list[np.ndarray]


ATTACKED = Key("attacked", Attacked)


@dataclass(frozen=True)
class Attack(Sweep):
    """Each method's map of each case of the gallery, and what noise can make of it."""

    study: Saliency

    name = "attack"
    cost = "each method's own passes for each step of the attack, per case of the gallery"
    labels = "optional"
    rows = ATTACKS

    def wanted(self, known: Known) -> Collection[str]:
        return {sample_id for sample_id, _ in known[CASES][: self.study.gallery]}

    def forwards(self, context: Context) -> float:
        each = sum(passes_of(context, self.study.local_methods()).values())
        return self.study.gallery * each * (1 + RANDOM + self.study.attack_steps)

    def beside(self, context: Context, logits: Tensor) -> object:
        return score_of(logits)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield METHODS(explainers(context.suiting(self.study.local_methods()), context.layer))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        shown = known[CASES][: self.study.gallery]
        numbers = [n for n, (sample_id, _) in enumerate(shown) if sample_id == one.id]
        truth = None if one.labels is None else one.labels[None]
        size, room = context.run.batch_size, self.study.memory_gib
        rows = []
        for number in numbers:
            target = configured(self.study.target, shown[number][1])
            made = []
            for method in known[METHODS].values():
                scene = Scene(context.model, one.image, truth, batch_size=size, memory_gib=room)
                made.append(self._attacked(scene, method, target, context.seed))
            reached, maps, why = zip(*made, strict=True)
            rows.append((number, np.stack(reached), np.stack(maps), np.array(why, np.str_)))
        names = ("number", "reached", "maps", "failed")
        return {
            name: np.stack(part) for name, part in zip(names, zip(*rows, strict=True), strict=True)
        }

    def _attacked(
        self, scene: Scene, method: Explainer, target: Target, seed: int
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Correlations [3] and the noise's size [4], the clean map and the attacked one [2, h, w],
        and why it failed."""
        nothing = np.full(4, np.nan), np.full((2, *scene.size), np.nan, np.float32)
        try:
            clean = method.on(scene, [target])[0]
            goal = clean.flip(1, 2)
            search = Search(
                self.study.attack_epsilon, self.study.attack_steps, RANDOM, AGREEMENT, seed
            )
            found = search.run(scene, method, target, lambda maps: likeness(maps, goal))
        except Exception as error:
            reason = failing(error)
            if reason is None:
                raise
            return *nothing, reason
        before = likeness(clean, goal)
        reached = torch.stack(
            [before, *(one.to(before) for one in (found.chance, found.value, found.epsilon))]
        )[:, 0]
        reached = reached.masked_fill(reached.isinf(), torch.nan)
        if reached[2].isnan():
            return reached.cpu().numpy(), nothing[1], ""
        return reached.cpu().numpy(), torch.cat((clean, found.maps)).cpu().numpy(), ""


def likeness(maps: Tensor, goal: Tensor) -> Tensor:
    """Correlation of maps [n, h, w] with their goals, [n]; -inf where one is constant."""
    found = correlation(maps.flatten(1).double(), goal.flatten(1).double())
    return found.nan_to_num(-torch.inf)


def join_attacks(study: Saliency, context: Context, known: Known) -> Known:
    """The sweep's table, case by case."""
    tables, methods = known[ATTACKS].tables, tuple(known_labels(study, context))
    place = {
        number: (sample_id, row)
        for sample_id, table in tables.items()
        for row, number in enumerate(table["number"].tolist())
    }
    rows = [place[number] for number in range(len(place))]
    maps = [tables[sample_id]["maps"][row] for sample_id, row in rows]
    failed = [
        {"kind": "attack", "method": method, "sample": sample_id, "reason": why}
        for sample_id, row in rows
        for method, why in zip(methods, tables[sample_id]["failed"][row].tolist(), strict=True)
        if why
    ]
    reached = np.stack([tables[sample_id]["reached"][row] for sample_id, row in rows])
    found = Attacked(methods, reached, [one[:, 0] for one in maps], [one[:, 1] for one in maps])
    return ATTACKED(found) | left_out("attack")(tuple(failed))


def known_labels(study: Saliency, context: Context) -> list[str]:
    """What the methods that suit are called, in order."""
    return list(explainers(context.suiting(study.local_methods()), context.layer))
