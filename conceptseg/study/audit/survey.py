"""First pass: what each image holds, so that donors can be chosen without looking at predictions.

Places are kept on a grid of `GRID` x `GRID` cells, so that of each image a few kilobytes are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import adaptive_max_pool2d

from conceptseg.data.batch import Batch
from conceptseg.data.draw import drawn
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS, ContextType, share
from conceptseg.study.audit.found import FOUND
from conceptseg.study.audit.places import places
from conceptseg.study.shared.overlap import pixel_counts
from conceptseg.study.shared.studied import labelled

GRID = 32
LEAST = 5
"""Donors of either kind that an image needs; of fewer nothing can be told."""
SURVEYED = Key("surveyed", SampleTable)


@dataclass(frozen=True)
class Holdings:
    """What images hold, in the order of their ids.

    `pixels` [n, k] of each class, `size` [n] of the image; `share` [n, q] of it that each context
    takes, nan where unknown; `cells` [n, q, GRID * GRID / 8] where located ones lie, as bits;
    `ground` [n, GRID, GRID] the class at the middle of each cell; `tone` [n, 2] mean and spread.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    pixels: np.ndarray
    size: np.ndarray
    share: np.ndarray
    cells: np.ndarray
    ground: np.ndarray
    tone: np.ndarray

    def lies(self, rows: np.ndarray, context: int) -> np.ndarray:
        """Where a context lies in images, bool [m, GRID, GRID]."""
        bits = np.unpackbits(self.cells[rows, context], axis=-1)
        return bits.reshape(len(rows), GRID, GRID).astype(bool)


HOLDINGS = Key("holdings", Holdings)


@dataclass(frozen=True)
class Survey(Pass):
    """The masks of all images; the network is not run."""

    study: Audit

    name = "survey"
    cost = "no pass of the network, but one up to a layer where contexts are found ones"
    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        """All that have masks but those that chose the contexts."""
        chose = {name for found in known[FOUND] for name in found.ids}
        given = labelled(context)
        return [one for one in given if one.id not in chose] if chose else given

    def forwards(self, context: Context) -> float:
        return float(len(context.manifest.samples)) if self.study.found else 0.0

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        assert batch.labels is not None
        truth, wanted, lying = batch.labels, known[CONTEXTS], places(context, batch, known)
        counts = pixel_counts(truth, truth, len(context.model.classes))[2].cpu().numpy()
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            sample, labels = context.manifest.sample(sample_id), truth[i].cpu().numpy()
            shares, cells = np.full(len(wanted), np.nan), np.zeros((len(wanted), GRID**2 // 8))
            for q, one in enumerate(wanted):
                where = lying[i][q]
                shares[q] = share(one, sample, where)
                if where is not None:
                    cells[q] = np.packbits(coarse(where).ravel())
            image = batch.images[i].float()
            row = {
                "pixels": counts[i][None].astype(np.int64),
                "size": np.array([labels.size]),
                "share": shares[None],
                "cells": cells[None].astype(np.uint8),
                "ground": _middles(labels)[None].astype(np.int16),
                "tone": np.array([[image.mean().item(), image.std().item()]]),
            }
            table = table.merge(SampleTable.of(sample_id, row))
        return SURVEYED(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state[SURVEYED]
        groups = tuple(context.manifest.sample(one).group for one in table.ids)
        names = ("pixels", "size", "share", "cells", "ground", "tone")
        columns = {name: table.column(name) for name in names}
        return HOLDINGS(Holdings(tuple(table.ids), groups, **columns))


def coarse(where: np.ndarray) -> np.ndarray:
    """The cells of a grid that a region [h, w] touches, bool [GRID, GRID]."""
    given = torch.from_numpy(np.asarray(where, np.float32))[None]
    return np.asarray(adaptive_max_pool2d(given, GRID)[0].numpy() > 0)


def _middles(labels: np.ndarray) -> np.ndarray:
    rows, columns = (((np.arange(GRID) + 0.5) * side / GRID).astype(int) for side in labels.shape)
    return np.asarray(labels[np.ix_(rows, columns)])


@dataclass(frozen=True)
class Plan:
    """Which images of each class are swapped, and which contexts are tested on it, by place."""

    recipients: dict[int, tuple[str, ...]]
    contexts: dict[int, tuple[int, ...]]

    @property
    def images(self) -> set[str]:
        return {name for ids in self.recipients.values() for name in ids}

    def classes_of(self, sample_id: str) -> list[int]:
        return [c for c, ids in self.recipients.items() if sample_id in ids]


PLAN = Key("plan", Plan)


def choose(study: Audit, context: Context, known: Known) -> Known:
    """The families of tests, fixed before any prediction is looked at.

    Raises InputError where no class and context can be tested.
    """
    held, wanted = known[HOLDINGS], known[CONTEXTS]
    classes, why = context.model.classes, []
    able: dict[int, np.ndarray] = {}
    for q, one in enumerate(wanted):
        kinds = arms(study, held, q, one)
        counts = [int(kind.sum()) for kind in kinds]
        if min(counts) >= LEAST:
            able[q] = np.min([_of_others(held, kind) for kind in kinds], axis=0) >= LEAST
        elif one.kind != "known" or counts[0] or len(wanted) == 1:
            why.append(_lacking(study, one, *counts))
    plan = Plan({}, {})
    for c in study.class_ids(context):
        enough = held.pixels[:, c] > study.min_share * held.size
        own = {q: enough & served for q, served in able.items() if wanted[q].class_id != c}
        if enough.sum() < study.min_images:
            reason = f"in {enough.sum()} images, and min_images is {study.min_images}"
            why.append({"kind": "class", "class": classes[c], "reason": reason})
            continue
        for q in [q for q, served in own.items() if served.sum() < study.min_images]:
            reason = f"{own.pop(q).sum()} images of {classes[c]} have {LEAST} donors of either kind"
            reason += f" in other groups; min_images is {study.min_images}"
            why.append({"kind": "context", "context": wanted[q].name, "reason": reason})
        if own:
            rows = np.flatnonzero(np.any(list(own.values()), axis=0))
            plan.recipients[c] = tuple(
                drawn(context.seed, [held.ids[row] for row in rows], study.images)
            )
            plan.contexts[c] = tuple(own)
    if not plan.recipients and not study.place:
        raise InputError(
            f"{context.manifest.where}: no class can be tested on any context ({told(why)}); give "
            "more images, or name contexts by context_classes, masks, columns or found"
        )
    return PLAN(plan) | left_out("audit")(tuple(why))


def arms(
    study: Audit, held: Holdings, place: int, context: ContextType
) -> tuple[np.ndarray, np.ndarray]:
    """Which images hold a context and which lack it, bool [n] each; others are neither."""
    share = np.nan_to_num(held.share[:, place], nan=np.inf)
    # Of what somebody has drawn one pixel is enough, and one too much.
    least, most = (1e-9, 0.0) if context.drawn else (study.min_context, study.most_lacking)
    return np.isfinite(share) & (share >= least), share <= most


def _of_others(held: Holdings, kind: np.ndarray) -> np.ndarray:
    """How many images of a kind [n] are of other groups than each image, [n]."""
    place = np.unique(np.array(held.groups, np.str_), return_inverse=True)[1]
    own = np.bincount(place, kind)[place]
    return np.asarray(kind.sum() - own)


def told(why: Sequence[dict[str, str]]) -> str:
    """The first reason of several, and how many more there are."""
    if not why:
        return "none is asked for"
    first, more = why[0], len(why) - 1
    name = first.get("context", first.get("class"))
    return f"{name}: {first['reason']}{f', and {more} more' if more else ''}"


def _lacking(study: Audit, one: ContextType, there: int, not_there: int) -> dict[str, str]:
    how = "" if one.drawn else f" (on {study.min_context:.2%} of the image or more)"
    reason = (
        f"{there} images hold it{how} and {not_there} lack it; {LEAST} of each are needed as donors"
    )
    return {"kind": "context", "context": one.name, "reason": reason}
