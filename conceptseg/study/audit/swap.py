"""The swap: an image keeps a class's region and a margin; all else is taken from donors."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.explainers.grid_saliency import GridSaliency
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import context_types
from conceptseg.study.audit.kept import Kept, background
from conceptseg.study.audit.margins import margins_of
from conceptseg.study.audit.match import MATCHED
from conceptseg.study.audit.survey import HOLDINGS, PLAN
from conceptseg.study.shared.donors import Donors
from conceptseg.study.shared.sweep import One, Sweep

KEPT = 64
"""Donors' images that are kept in memory."""
SWAPPED = Key("swapped", SampleTable)


DONORS = Key("donors", Donors)
FLAT = GridSaliency(colours=(0.0, 0.5, 1.0))
"""Hides surroundings: by flat colours that span what they are made of."""


@dataclass(frozen=True)
class Swap(Sweep):
    """Every class of its images, with all donors of all contexts; a composite serves them all."""

    study: Audit

    name = "swap"
    cost = (
        "1 forward per image, class and donor; at most (contexts + 1) x donors donors, and "
        f"{len(FLAT.colours)} flat colours"
    )
    labels = "required"
    rows = SWAPPED

    def forwards(self, context: Context) -> float:
        """At most, as if every class and context had all images and donors that it may have."""
        contexts, others = len(context_types(self.study, context)), len(context.manifest.samples)
        # A donor serves all contexts at once: no image has more of them than there are others.
        each = 1 + len(FLAT.colours) + min(self.study.donors * (1 + contexts), others - 1)
        return float(len(self.study.class_ids(context)) * min(self.study.images, others) * each)

    def wanted(self, known: Known) -> Collection[str]:
        return known[PLAN].images

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield DONORS(Donors(context, KEPT))

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return SWAPPED(table)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        parts = [
            self.swapped(context, one, known, c, margin)
            for c in known[PLAN].classes_of(one.id)
            for margin in margins_of(known, c)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def swapped(
        self, context: Context, one: One, known: Known, class_id: int, margin: float
    ) -> Tables:
        """The rows of one class and margin: the image as it is (donor ""), then with each donor.

        `hidden`, of the first row alone, is its :func:`hidden_iou`.
        """
        assert one.labels is not None
        held, matched = known[HOLDINGS], known[MATCHED].tables[one.id]
        kept = Kept.of(one.labels, class_id, margin, self.study.feather_px)
        here = (matched["class"] == class_id) & (matched["margin"] == margin)
        arm, names = matched["arm"][here], [held.ids[row] for row in matched["donor"][here]]
        found = [self._scores(context, one, kept, one.image, [one.id])]
        size = context.run.batch_size
        for start in range(0, len(names), size):
            some = names[start : start + size]
            given = [known[DONORS].image(name, one.image) for name in some]
            mixed = torch.cat([kept.within(one.image, donor) for donor in given])
            called = [f"{one.id} in the surroundings of {name}" for name in some]
            found.append(self._scores(context, one, kept, mixed, called))
        scores, taken = (np.concatenate(parts) for parts in zip(*found, strict=True))
        hidden = np.full(1 + len(names), np.nan)
        hidden[0] = hidden_iou(context, one.id, one.image, one.labels, kept)
        return {
            "class": np.full(1 + len(names), class_id),
            "margin": np.full(1 + len(names), margin),
            "donor": np.array(["", *names], np.str_),
            "arm": np.concatenate([np.zeros((1, arm.shape[1]), arm.dtype), arm]),
            "scores": scores,
            "taken": taken,
            "hidden": hidden,
        }

    def _scores(
        self, context: Context, one: One, kept: Kept, images: Tensor, called: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`SCORES` [n, 4], and the share of the region that each class takes, [n, k], of images
        that are `called` so."""
        assert one.labels is not None
        with torch.no_grad():
            logits = context.model(images)
        context.model.check_finite(logits, called)
        return kept.judged(logits, one.labels, background(context))


def hidden_iou(context: Context, name: str, image: Tensor, labels: Tensor, kept: Kept) -> float:
    """The class's IoU in an image [1, c, h, w] of which all that does not stay is hidden: the
    median over `FLAT`'s colours, for each may itself be evidence of a class."""
    colours = FLAT.flat(image, ~kept.zone[None])[:, 0, :, None, None]
    with torch.no_grad():
        logits = context.model(kept.within(image, colours))
    context.model.check_finite(logits, [name])
    return float(np.median(kept.scores(logits, labels, background(context))[:, 0]))


def rows_of(
    table: SampleTable, class_id: int, margin: float, ids: Sequence[str]
) -> dict[str, Tables]:
    """The rows of a class and margin, by image."""
    found: dict[str, Tables] = {}
    for name in ids:
        own = table.tables[name]
        here = (own["class"] == class_id) & (own["margin"] == margin)
        found[name] = {key: values[here] for key, values in own.items()}
    return found
