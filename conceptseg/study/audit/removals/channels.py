"""The channels of a class that a finished L-CRP run showed to act from context."""

from dataclasses import dataclass
from math import comb

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.known import Known
from conceptseg.result.verdict import listed
from conceptseg.study.audit.acting import ACTING, Acting
from conceptseg.study.audit.case import Case
from conceptseg.study.audit.removals.contract import (
    Ablation,
    Kind,
    Learnt,
    Removal,
    random_ones,
)

NEAR = 8
"""Channels of the nearest relevance of which a random one is first drawn."""
TRIES = 50
"""Draws of sets for each that is wanted, before more channels are drawn of."""


@dataclass(frozen=True)
class Constant(Removal):
    """Channels that are set to one `level` [u] each at every position: of each of `sets` [1 + r, k]
    of them, the class's own first."""

    others = "as many others"
    done = "set to their mean,"
    sets: np.ndarray
    level: np.ndarray

    def __len__(self) -> int:
        return len(self.sets)

    def edited(self, activation: Tensor, rows: range) -> Tensor:
        level = torch.as_tensor(self.level).to(activation)[:, None, None]
        made = activation.repeat(len(rows), 1, 1, 1)
        for one, row in zip(made, rows, strict=True):
            units = torch.as_tensor(self.sets[row], device=made.device)
            one[units] = level[units].expand(-1, *one.shape[1:])
        return made


class Channels(Kind):
    """They are set to their mean over images that lack the context, beside as many others of the
    nearest relevance for the class that were not shown to act from context.

    That mean is taken over all positions of these images, so that in images that lack the context
    the channels lose where they act, and in those that hold it also what they say of it.
    """

    name, noun, line = "channels", "its channels", "channels"

    def applies(self, case: Case, known: Known) -> bool:
        return bool(known[ACTING]) and case.context.kind != "place"

    def missing(self, case: Case, known: Known) -> str:
        acting, name = known[ACTING][0], case.class_name
        if not acting.units.get(name):
            return f"of {name}, the lcrp run showed no channel to act mostly from context"
        own, free = len(acting.units[name]), len(acting.free[name])
        if (sets := comb(free, own)) < (least := random_ones(2)):
            return (
                f"of {name}, {own} of the layer's channels act from context, and the {free} others "
                f"make {sets} sets of as many; {least} are needed to compare with"
            )
        return ""

    def spent(self, known: Known) -> frozenset[str]:
        return known[ACTING][0].ids

    def removal(
        self, one: Ablation, case: Case, learnt: Learnt, known: Known, rng: np.random.Generator
    ) -> Removal | str:
        acting: Acting = known[ACTING][0]
        name = case.class_name
        own, relevance = acting.units[name], acting.relevance[name]
        if len(relevance) != len(learnt.lacking):
            return f"the layer has {len(learnt.lacking)} channels, and in the run {len(relevance)}"
        others = alike(own, acting.free[name], relevance, one.random, rng)
        if len(others) < one.random:
            return f"{len(others)} sets of as many others were drawn; {one.random} are needed"
        many = "s" if len(own) > 1 else ""
        what = f"channel{many} {listed(map(str, own))}"
        return Constant(what, np.array([own, *others], np.int64), learnt.lacking)


def alike(
    own: tuple[int, ...],
    free: tuple[int, ...],
    relevance: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> list[tuple[int, ...]]:
    """`count` different sets of as many of the `free` channels as `own` are, of like `relevance`
    [u]: for each of them, one of those nearest to it that the set has not. Of fewer channels than
    it takes to draw so many, the nearest are twice as many, and so on; fewer sets where none of all
    are left."""
    others, near = np.array(sorted(free)), NEAR
    while True:
        found: dict[tuple[int, ...], None] = {}
        for _ in range(TRIES * count):
            drawn = list[int]()
            for unit in rng.permutation(own).tolist():
                left = others[~np.isin(others, drawn)]
                order = np.argsort(np.abs(relevance[left] - relevance[unit]), kind="stable")
                drawn.append(int(rng.choice(left[order[:near]])))
            found[tuple(sorted(drawn))] = None
            if len(found) == count:
                return list(found)
        if near >= len(others):
            return list(found)
        near *= 2
