"""What is taken out of the layer for which cases, on which images; and what the layer holds where
each context lies, and in images that lack it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.draw import drawn, sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.network.levels import Levels
from conceptseg.network.record import encode
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.case import CASES, Case
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.places import Place, places
from conceptseg.study.audit.removals.contract import Ablation, Kind, Learnt, Removal
from conceptseg.study.audit.removals.kinds import KINDS
from conceptseg.study.audit.survey import HOLDINGS, LEAST, PLAN, arms

SOURCES = 24
"""Images of either kind from which a direction is learnt."""
CELLS = 16
"""Positions of each image that random directions are made of."""

ABLATIONS: Key[tuple[Ablation, ...]] = Key("ablations", tuple)
SOURCED: Key[dict[int, tuple[tuple[str, ...], tuple[str, ...]]]] = Key("sources", dict)
"""Images that hold each context and that lack it, of which it is learnt."""
LEARNT = Key("learnt", SampleTable)
REMOVALS: Key[dict[int, Removal]] = Key("removals", dict)
"""By the place among the ablations."""


def choose_ablations(study: Audit, context: Context, known: Known) -> Known:
    """Which cases are tried, on which images, and of which others contexts are learnt.

    Tried are those whose effect is shown, or all: a line that supports is of no use to others. What
    is taken out is never tried on images that it was learnt of.
    """
    held, names = known[HOLDINGS], [one.name for one in known[CONTEXTS]]
    chosen, why = list[Ablation](), list[dict[str, str]]()
    for number, case in enumerate(known[CASES]):
        if study.ablate == "none" or (study.ablate == "shown" and not case.shown):
            continue
        own = list[Ablation]()
        for kind in KINDS.values():
            if kind.applies(case, known):
                one: Ablation | str = kind.missing(case, known)
                one = one or _planned(study, context, known, number, kind)
                if isinstance(one, Ablation):
                    own.append(one)
                else:
                    why.append({"kind": "ablation", "context": case.context.name, "reason": one})
        chosen += [replace(one, count=len(own)) for one in own]
    sources: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for q in sorted({one.place for one in chosen}):
        tried = {name for one in chosen if one.place == q for name in one.ids}
        free = np.array([name not in tried for name in held.ids])
        kinds = [kind & free for kind in arms(study, held, q, known[CONTEXTS][q])]
        if min(int(kind.sum()) for kind in kinds) >= LEAST:
            first, second = (
                tuple(drawn(context.seed, [held.ids[i] for i in np.flatnonzero(kind)], SOURCES))
                for kind in kinds
            )
            sources[q] = (first, second)
        else:
            reason = f"fewer than {LEAST} other images hold it, or lack it, to learn it of"
            why.append({"kind": "ablation", "context": names[q], "reason": reason})
    able = tuple(one for one in chosen if one.place in sources)
    return ABLATIONS(able) | SOURCED(sources) | left_out("ablate")(tuple(why))


def _planned(
    study: Audit, context: Context, known: Known, number: int, kind: Kind
) -> Ablation | str:
    """The images on which a kind is tried of a case, or why there are too few."""
    held, case = known[HOLDINGS], known[CASES][number]
    q = [one.name for one in known[CONTEXTS]].index(case.context.name)
    row, spent = {name: row for row, name in enumerate(held.ids)}, kind.spent(known)
    free = [name for name in known[PLAN].recipients[case.class_id] if name not in spent]
    there, lacking = (
        tuple(name for name in free if arm[row[name]])[: study.ablate_images]
        for arm in arms(study, held, q, case.context)
    )
    if min(len(there), len(lacking)) < LEAST:
        seen = " and that its run did not look at" if spent else ""
        return (
            f"of {case.class_name}, {len(there)} images that are swapped{seen} hold it and "
            f"{len(lacking)} lack it; {LEAST} of each are needed to ablate {kind.noun}"
        )
    layer = kind.layer(context, known)
    return Ablation(number, kind.name, case.class_id, q, case.margin, layer, 1, there, lacking)


def layers_of(ablations: Sequence[Ablation]) -> tuple[Levels, ...]:
    """The layers that are read, each once; mostly one."""
    return tuple(dict.fromkeys(one.layer for one in ablations))


@dataclass(frozen=True)
class Learn(Pass):
    """The layers' means where each context lies, and in images that lack it."""

    study: Audit

    name = "learn"
    cost = (
        f"1 pass up to the layer of {SOURCES} images that hold a context and as many that lack it"
    )
    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        every = known[SOURCED].values()
        return context.manifest.named({n for kinds in every for ids in kinds for n in ids})

    def forwards(self, context: Context) -> float:
        return 0.0 if self.study.ablate == "none" else 2.0 * SOURCES

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        lying, table = places(context, batch, known), SampleTable.empty()
        read = [
            encode(context.model, batch.images, layer).double().cpu().numpy()
            for layer in layers_of(known[ABLATIONS])
        ]
        for i, name in enumerate(batch.ids):
            rows = dict[str, np.ndarray]()
            for number, activation in enumerate(read):
                own = self._rows(name, activation[i], lying[i], known)
                rows |= {f"{key}-{number}": column for key, column in own.items()}
            table = table.merge(SampleTable.of(name, rows))
        return LEARNT(table)

    def _rows(self, name: str, maps: np.ndarray, lying: list[Place], known: Known) -> Tables:
        """`mean` [m, u] of each context's kind that the image is a source of, and a few cells."""
        units = maps.reshape(len(maps), -1).T
        of, kinds, means = list[int](), list[int](), list[np.ndarray]()
        for q, (holding, lacking) in known[SOURCED].items():
            where = lying[q]
            if name in holding:
                cells = (
                    np.ones(len(units), bool) if where is None else _cells(where, maps.shape[1:])
                )
            elif name in lacking:
                cells = np.ones(len(units), bool)
            else:
                continue
            of.append(q)
            kinds.append(1 if name in holding else -1)
            means.append(units[cells].mean(0))
        rng = np.random.default_rng(sample_priority(0, name) % 2**63)
        some = units[rng.integers(0, len(units), CELLS)]
        return {
            "of": np.array(of, np.int64),
            "kind": np.array(kinds, np.int64),
            "mean": np.array(means, np.float64).reshape(len(of), len(maps)),
            "cells": some.astype(np.float32),
        }

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table, cases = state.get(LEARNT, SampleTable.empty()), known[CASES]
        removals, why = dict[int, Removal](), list[dict[str, str]]()
        layers = layers_of(known[ABLATIONS])
        for number, one in enumerate(known[ABLATIONS]):
            learnt = _learnt(table, layers.index(one.layer), one.place)
            rng = np.random.default_rng([context.seed, 53, one.place])
            case: Case = cases[one.case]
            made = KINDS[one.kind].removal(one, case, learnt, known, rng)
            if isinstance(made, Removal):
                removals[number] = made
            else:
                reason = f"of {case.class_name}, {KINDS[one.kind].noun}: {made}"
                why.append({"kind": "ablation", "context": case.context.name, "reason": reason})
        return REMOVALS(removals) | left_out(self.name)(tuple(why))


def _learnt(table: SampleTable, layer: int, place: int) -> Learnt:
    """Of the layer with this number and a context."""
    of, kind, mean, cells = (
        table.column(f"{name}-{layer}") for name in ("of", "kind", "mean", "cells")
    )
    there, lacking = (mean[(of == place) & (kind == one)].mean(0) for one in (1, -1))
    return Learnt(there, lacking, cells.astype(np.float64))


def _cells(where: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """The positions of a layer that a context [h, w] takes at least half as much of as of any."""
    from torch.nn.functional import adaptive_avg_pool2d

    part = adaptive_avg_pool2d(torch.from_numpy(where.astype(np.float32))[None], (grid[0], grid[1]))
    share = part[0].numpy().ravel()
    return np.asarray((share > 0) & (share >= share.max() / 2))
