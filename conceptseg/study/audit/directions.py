"""The layer's direction of each context: what it holds where the context lies, less what it holds
in images that lack it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.draw import drawn, sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.network.record import encode
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.case import CASES
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.places import Place, places
from conceptseg.study.audit.survey import HOLDINGS, LEAST, PLAN, arms

SOURCES = 24
"""Images of either kind from which a direction is learnt."""
NULLS = 19
"""Random directions of the same size."""
CELLS = 16
"""Positions of each image that random directions are made of."""


@dataclass(frozen=True)
class Ablation:
    """Case number `case`, and the images on which its context is taken out of the layer: those that
    hold it, and those that lack it."""

    case: int
    class_id: int
    place: int
    margin: float
    holding: tuple[str, ...]
    lacking: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return (*self.holding, *self.lacking)


@dataclass(frozen=True)
class Direction:
    """A context's unit `vector` [u], the component along it where the context is `absent`, and
    random unit vectors `null` [r, u] of the layer's own spread, at right angles to it."""

    vector: np.ndarray
    absent: float
    null: np.ndarray


ABLATIONS: Key[tuple[Ablation, ...]] = Key("ablations", tuple)
SOURCED: Key[dict[int, tuple[tuple[str, ...], tuple[str, ...]]]] = Key("sources", dict)
"""Images that hold each context and that lack it, of which its direction is learnt."""
LEARNT = Key("learnt", SampleTable)
DIRECTIONS: Key[dict[int, Direction]] = Key("directions", dict)


def choose_ablations(study: Audit, context: Context, known: Known) -> Known:
    """Which cases are tried, on which images, and of which others directions are learnt.

    Tried are those whose effect is shown, or all: a line that supports is of no use to others. A
    direction is never tried on images that it was learnt of.
    """
    held, plan, names = known[HOLDINGS], known[PLAN], [one.name for one in known[CONTEXTS]]
    place = {name: row for row, name in enumerate(held.ids)}
    chosen, why = list[Ablation](), list[dict[str, str]]()
    for number, case in enumerate(known[CASES]):
        if study.ablate == "none" or (study.ablate == "shown" and not case.shown):
            continue
        if case.context.kind == "place":  # no image lacks a border
            continue
        q = names.index(case.context.name)
        there, lacking = arms(study, held, q, case.context)
        some = [
            tuple(n for n in plan.recipients[case.class_id] if kind[place[n]])[
                : study.ablate_images
            ]
            for kind in (there, lacking)
        ]
        if min(map(len, some)) >= LEAST:
            chosen.append(Ablation(number, case.class_id, q, case.margin, some[0], some[1]))
        else:
            reason = f"of {case.class_name}, {len(some[0])} images that are swapped hold it and "
            reason += f"{len(some[1])} lack it; {LEAST} of each are needed to ablate its direction"
            why.append({"kind": "ablation", "context": case.context.name, "reason": reason})
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
            reason = f"fewer than {LEAST} other images hold it, or lack it, to learn a direction of"
            why.append({"kind": "ablation", "context": names[q], "reason": reason})
    able = tuple(one for one in chosen if one.place in sources)
    return ABLATIONS(able) | SOURCED(sources) | left_out("ablate")(tuple(why))


@dataclass(frozen=True)
class Learn(Pass):
    """The layer's means where each context lies, and in images that lack it."""

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
        activation = encode(context.model, batch.images, context.levels).float()
        lying, table = places(context, batch, known), SampleTable.empty()
        for i, name in enumerate(batch.ids):
            maps = activation[i].double().cpu().numpy()
            rows = self._rows(name, maps, lying[i], known)
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
        table = state.get(LEARNT, SampleTable.empty())
        if not table.ids:
            return DIRECTIONS({})
        of, kind, mean = (table.column(name) for name in ("of", "kind", "mean"))
        found = {}
        for q in known[SOURCED]:
            there, lacking = (mean[(of == q) & (kind == one)].mean(0) for one in (1, -1))
            length = float(np.linalg.norm(there - lacking))
            if length > 0:
                vector = (there - lacking) / length
                rng = np.random.default_rng([context.seed, 53, q])
                null = _random(table.column("cells").astype(np.float64), vector, rng)
                found[q] = Direction(vector, float(lacking @ vector), null)
        return DIRECTIONS(found)


def _cells(where: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """The positions of a layer that a context [h, w] takes at least half as much of as of any."""
    from torch.nn.functional import adaptive_avg_pool2d

    part = adaptive_avg_pool2d(torch.from_numpy(where.astype(np.float32))[None], (grid[0], grid[1]))
    share = part[0].numpy().ravel()
    return np.asarray((share > 0) & (share >= share.max() / 2))


def _random(cells: np.ndarray, vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random unit vectors, spread as positions [m, u] are, without their part along a unit vector:
    where a context is much of what the layer tells apart, they would hold it, too."""
    made = rng.normal(size=(NULLS, len(cells))) @ (cells - cells.mean(0))
    made -= (made @ vector)[:, None] * vector
    length = np.linalg.norm(made, axis=1, keepdims=True)
    return np.asarray(np.divide(made, length, out=np.zeros_like(made), where=length > 0))
