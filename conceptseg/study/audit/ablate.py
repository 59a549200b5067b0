"""What becomes of a class when a context is taken out of the layer."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.record import Tail
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import among
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.case import CASES, Case, Mechanism
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.kept import Kept, background
from conceptseg.study.audit.learn import ABLATIONS, REMOVALS
from conceptseg.study.audit.removals.contract import Ablation, Removal, random_ones
from conceptseg.study.audit.removals.kinds import KINDS
from conceptseg.study.shared.studied import sampling_of
from conceptseg.study.shared.sweep import One, Sweep

ABLATED = Key("ablated", SampleTable)


@dataclass(frozen=True)
class Ablate(Sweep):
    """The rest of the network with a context taken out, and with random things of the same make."""

    study: Audit

    name = "ablate"
    cost = (
        f"1 forward and {1 + random_ones(1)} tails for each image and reliance that is shown; with "
        f"channels {2 * (1 + random_ones(2))} tails"
    )
    labels = "required"
    rows = ABLATED

    def forwards(self, context: Context) -> float:
        """Of as many reliances as there are classes, with a tail taken for half a pass."""
        if self.study.ablate == "none":
            return 0.0
        kinds = 1 if self.study.channels is None else 2
        images = 2 * self.study.ablate_images * len(self.study.class_ids(context))
        return images * (1 + 0.5 * kinds * (1 + random_ones(kinds)))

    def wanted(self, known: Known) -> Collection[str]:
        there = known[REMOVALS]
        return {n for i, one in enumerate(known[ABLATIONS]) if i in there for n in one.ids}

    def look(self, context: Context, one: One, known: Known) -> Tables:
        """Of each ablation of an image, `iou` [1 + largest r]: with it taken out, and with each
        random thing; nan beyond those that it has."""
        own = {i: each for i, each in enumerate(known[ABLATIONS]) if one.id in each.ids}
        own = {i: each for i, each in own.items() if i in known[REMOVALS]}
        with torch.no_grad():
            tails = {
                layer: Tail.of(context.model, one.image, layer)
                for layer in dict.fromkeys(each.layer for each in own.values())
            }
            scores = [
                self._scores(context, one, tails[each.layer], each, known[REMOVALS][i])
                for i, each in own.items()
            ]
        iou = np.full((len(own), 2 + max(each.random for each in known[ABLATIONS])), np.nan)
        for row, values in zip(iou, scores, strict=True):
            row[: len(values)] = values
        return {
            "ablation": np.array(list(own)),
            "holds": np.array([one.id in each.holding for each in own.values()]),
            "iou": iou,
        }

    def _scores(
        self, context: Context, one: One, tail: Tail, each: Ablation, removal: Removal
    ) -> np.ndarray:
        """IoU as it is, without the context, and without each random thing, [2 + r]."""
        assert one.labels is not None
        kept = Kept.of(one.labels, each.class_id, each.margin, self.study.feather_px)
        logits = edited_logits(tail, removal, context.run.batch_size)
        context.model.check_finite(logits, [one.id])
        return kept.scores(logits, one.labels, background(context))[:, 0]

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return ABLATED(table)


def edited_logits(tail: Tail, removal: Removal, at_once: int) -> Tensor:
    """Logits [2 + r, k, h, w] of an image as it is, without what is taken out, and without each
    random thing."""
    parts = [tail.logits]
    for start in range(0, len(removal), at_once):
        rows = range(start, min(start + at_once, len(removal)))
        parts.append(tail.resume(removal.edited(tail.activation, rows)))
    return torch.cat(parts)


def weigh_mechanism(study: Audit, context: Context, known: Known) -> Known:
    """The cases, with what ablating says of them."""
    table, cases = known[ABLATED], list[Case](known[CASES])
    if not table.ids:
        return Known()
    which, holds, iou = (table.column(name) for name in ("ablation", "holds", "iou"))
    names = [table.ids[i] for i in table.owner("ablation")]
    whole = sampling_of(context, names, study.unit, (context.seed, 49))
    for number in np.unique(which).tolist():
        one, rows = known[ABLATIONS][number], np.flatnonzero(which == number)
        own = iou[rows]
        found = weighed(
            own[:, np.isfinite(own).all(0)],
            holds[rows],
            whole.at(rows),
            KINDS[one.kind].line,
            known[REMOVALS][number],
            one.count,
        )
        case = cases[one.case]
        cases[one.case] = replace(case, mechanisms=(*case.mechanisms, found))
    return CASES(tuple(cases))


def weighed(
    iou: np.ndarray,
    holds: np.ndarray,
    sampling: Sampling,
    line: str,
    removal: Removal,
    count: int = 1,
) -> Mechanism:
    """Of IoUs [n, 2 + r] of images, as they are, ablated, and with random things: what images that
    hold the context lose by it, less what those lose that lack it. The interval is one of `count`
    that are looked through together."""
    lost = iou[:, :1] - iou[:, 1:]
    each = lost[holds].mean(0) - lost[~holds].mean(0)
    beyond = sampling.difference(lost[:, 0] - lost[:, 1:].mean(1), holds, -1.0, 1.0)
    low, high = among(beyond.value, beyond.low, beyond.high, beyond.n, count)
    beyond = replace(beyond, low=low, high=high)
    lost_by = tuple(each[1:].tolist())
    words = (line, removal.what, removal.done, removal.others)
    return Mechanism(*words, beyond, float(each[0]), lost_by)
