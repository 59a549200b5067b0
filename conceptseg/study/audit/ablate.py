"""What becomes of a class when the layer's direction of a context is taken out of it."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.record import Tail
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.case import CASES, Mechanism
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.directions import ABLATIONS, DIRECTIONS, NULLS, Ablation, Direction
from conceptseg.study.audit.kept import Kept, background
from conceptseg.study.shared.studied import sampling_of
from conceptseg.study.shared.sweep import One, Sweep

ABLATED = Key("ablated", SampleTable)


@dataclass(frozen=True)
class Ablate(Sweep):
    """The rest of the network with a context's direction taken out, and with random ones."""

    study: Audit

    name = "ablate"
    cost = f"1 forward and {1 + NULLS} tails for each image and reliance that is shown"
    labels = "required"
    rows = ABLATED

    def forwards(self, context: Context) -> float:
        """Of as many reliances as there are classes, with a tail taken for half a pass."""
        if self.study.ablate == "none":
            return 0.0
        images = 2 * self.study.ablate_images * len(self.study.class_ids(context))
        return images * (1 + 0.5 * (1 + NULLS))

    def wanted(self, known: Known) -> Collection[str]:
        there = known[DIRECTIONS]
        return {n for one in known[ABLATIONS] if one.place in there for n in one.ids}

    def look(self, context: Context, one: One, known: Known) -> Tables:
        assert one.labels is not None
        own = [
            each
            for each in known[ABLATIONS]
            if one.id in each.ids and each.place in known[DIRECTIONS]
        ]
        with torch.no_grad():
            tail = Tail.of(context.model, one.image, context.levels)
            scores = [self._scores(context, one, tail, each, known) for each in own]
        return {
            "case": np.array([each.case for each in own]),
            "holds": np.array([one.id in each.holding for each in own]),
            "iou": np.stack(scores),
        }

    def _scores(
        self, context: Context, one: One, tail: Tail, each: Ablation, known: Known
    ) -> np.ndarray:
        """IoU as it is, without the context's direction, and without each random one, [2 + r]."""
        assert one.labels is not None
        kept = Kept.of(one.labels, each.class_id, each.margin, self.study.feather_px)
        edited = ablated(tail.activation, known[DIRECTIONS][each.place])
        parts = [tail.logits]
        parts += [tail.resume(part) for part in edited.split(context.run.batch_size)]
        logits = torch.cat(parts)
        context.model.check_finite(logits, [one.id])
        return kept.scores(logits, one.labels, background(context))[:, 0]

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return ABLATED(table)


def ablated(activation: Tensor, direction: Direction) -> Tensor:
    """The activation [1, u, y, x] without a context, and as much away from it along each random
    direction, [1 + r, u, y, x].

    A' = A - max(0, A . v - absent) d, with d = v, and d each random direction: what exceeds the
    component where the context is absent is taken away, and positions that do not show it stay.
    """
    vector = torch.as_tensor(direction.vector).to(activation)
    along = torch.einsum("nuyx,u->nyx", activation, vector) - direction.absent
    every = torch.cat([vector[None], torch.as_tensor(direction.null).to(activation)])
    return activation - along.clamp(min=0)[:, None] * every[:, :, None, None]


def weigh_mechanism(study: Audit, context: Context, known: Known) -> Known:
    """The cases, with what ablating says of them."""
    table, cases = known[ABLATED], list(known[CASES])
    if not table.ids:
        return Known()
    case, holds, iou = (table.column(name) for name in ("case", "holds", "iou"))
    names = [table.ids[i] for i in table.owner("case")]
    whole = sampling_of(context, names, study.unit, (context.seed, 49))
    for number in np.unique(case).tolist():
        rows = np.flatnonzero(case == number)
        cases[number] = replace(
            cases[number], mechanism=weighed(iou[rows], holds[rows], whole.at(rows))
        )
    return CASES(tuple(cases))


def weighed(iou: np.ndarray, holds: np.ndarray, sampling: Sampling) -> Mechanism:
    """Of IoUs [n, 2 + r] of images, as they are, ablated, and with random directions: what images
    that hold the context lose by it, less what those lose that lack it."""
    lost = iou[:, :1] - iou[:, 1:]
    each = lost[holds].mean(0) - lost[~holds].mean(0)
    beyond = sampling.difference(lost[:, 0] - lost[:, 1:].mean(1), holds, -1.0, 1.0)
    return Mechanism(beyond, float(each[0]), tuple(each[1:].tolist()))
