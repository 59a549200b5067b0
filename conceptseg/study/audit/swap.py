"""The swap: an image keeps a class's region and a margin; all else is taken from donors.

Which donors an image gets depends on masks, brightness and a seed, never on a prediction. Placebo
donors are, of those that come first by the seed, those that are most like the image in brightness
and contrast, whose own things are fewest, and whose context stays in sight. Each has a twin among
the donors that lack the context, which is like it in all these: donors whose context lies clear of
the region have their own things under it more often, and that must not pass for the context.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.regions import distance_to
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS, context_types
from conceptseg.study.audit.reach import MARGIN
from conceptseg.study.audit.survey import HOLDINGS, PLAN, Holdings, arms, coarse
from conceptseg.study.shared.sweep import One, Sweep

KEPT = 64
"""Donors' images that are kept in memory."""
TRIED = 4
"""Of so many times as many donors as are needed, the fittest are taken."""
IN_SIGHT = 0.8
"""Part of a donor's context that should stay visible; less costs `HIDDEN` for each missing part."""
HIDDEN = 3.0
SCORES = ("iou", "found", "flipped", "missed")
SWAPPED = Key("swapped", SampleTable)


class Donors:
    """Images of donors at the size of the image that they are given to; the last ones are kept."""

    def __init__(self, context: Context):
        manifest = context.manifest
        self._image = lru_cache(KEPT)(lambda name: manifest.image(manifest.sample(name)))

    def image(self, name: str, like: Tensor) -> Tensor:
        """[1, c, h, w] for an image of that shape."""
        image = torch.from_numpy(self._image(name)).to(like)[None]
        if image.shape[2:] != like.shape[2:]:
            size = (like.shape[2], like.shape[3])
            image = functional.interpolate(image, size, mode="bilinear", align_corners=False)
        return image


DONORS = Key("donors", Donors)


@dataclass(frozen=True)
class Kept:
    """What of an image [1, c, h, w] stays: `region` of the class, `zone` with the margin, bool
    [h, w]; `alpha` [h, w] from 1 on the zone to 0 beyond the seam."""

    class_id: int
    region: Tensor
    zone: Tensor
    alpha: Tensor

    @classmethod
    def of(cls, labels: Tensor, class_id: int, margin: float, feather: float) -> "Kept":
        region = labels == class_id
        distance = distance_to(region[None])[0]
        fall = (distance - margin) / max(feather, 1e-6)
        return cls(class_id, region, distance <= margin, (1 - fall).clamp(0, 1))

    def within(self, image: Tensor, donor: Tensor) -> Tensor:
        """The image's zone in the donor's surroundings."""
        return torch.lerp(donor, image, self.alpha.to(image))

    def scores(self, logits: Tensor, labels: Tensor, background: int | None) -> np.ndarray:
        """`SCORES` of predictions, [n, 4]: IoU within the zone, and the shares of the region that
        are found, taken for another class, and for the background; the three sum to 1."""
        predicted = logits.argmax(1)
        own, known = predicted == self.class_id, labels >= 0
        held = self.region.sum()
        shared = (own & self.region).sum((1, 2))
        either = ((own | self.region) & self.zone & known).sum((1, 2))
        empty = torch.zeros_like(own) if background is None else predicted == background
        missed = (empty & self.region & ~own).sum((1, 2)) / held
        found = shared / held
        columns = [shared / either, found, 1 - found - missed, missed]
        return np.asarray(torch.stack(columns, 1).double().cpu().numpy())


@dataclass(frozen=True)
class Swap(Sweep):
    """Every class of its images, with all donors of all contexts; a composite serves them all."""

    study: Audit

    name = "swap"
    cost = "1 forward per image, class and donor; about (contexts + 1) x donors donors"
    labels = "required"
    rows = SWAPPED

    def forwards(self, context: Context) -> float:
        """At most, as if every class and context had all images and donors that it may have."""
        contexts = len(context_types(self.study, context))
        each = 1 + self.study.donors * (1 + contexts)
        images = min(self.study.images, len(context.manifest.samples))
        return float(len(self.study.class_ids(context)) * images * each)

    def wanted(self, known: Known) -> Collection[str]:
        return {one for ids in known[PLAN].recipients.values() for one in ids}

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield DONORS(Donors(context))

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return SWAPPED(table)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        parts = [self.swapped(context, one, known, c) for c in known[PLAN].classes_of(one.id)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def swapped(self, context: Context, one: One, known: Known, class_id: int) -> Tables:
        """The rows of one class: the image as it is (donor ""), then with each donor."""
        assert one.labels is not None
        study, held = self.study, known[HOLDINGS]
        kept = Kept.of(one.labels, class_id, known[MARGIN], study.feather_px)
        chosen = choose_donors(study, context, known, one.id, kept)
        names = [held.ids[row] for row in chosen.rows.tolist()]
        scores = [self._scores(context, one, kept, one.image)]
        size = context.run.batch_size
        for start in range(0, len(names), size):
            given = [known[DONORS].image(name, one.image) for name in names[start : start + size]]
            mixed = torch.cat([kept.within(one.image, donor) for donor in given])
            scores.append(self._scores(context, one, kept, mixed))
        q = chosen.arm.shape[1]
        return {
            "class": np.full(1 + len(names), class_id),
            "donor": np.array(["", *names], np.str_),
            "arm": np.concatenate([np.zeros((1, q), np.int8), chosen.arm]),
            "visible": np.concatenate([np.zeros((1, q), np.float32), chosen.visible]),
            "scores": np.concatenate(scores),
        }

    def _scores(self, context: Context, one: One, kept: Kept, images: Tensor) -> np.ndarray:
        assert one.labels is not None
        with torch.no_grad():
            logits = context.model(images)
        context.model.check_finite(logits, [one.id])
        return kept.scores(logits, one.labels, background(context))


def background(context: Context) -> int | None:
    """The network's class that is the masks' background, if there is one."""
    classes, name = context.model.classes, context.manifest.background
    return classes.index(name) if name in classes else None


@dataclass(frozen=True)
class Chosen:
    """The donors of an image: their `rows` [m] among the holdings; `arm` [m, q] 1 where one holds
    a context and is used for it, -1 where it lacks it and is, else 0; `visible` [m, q] the part of
    a located context that stays in sight, 1 of others."""

    rows: np.ndarray
    arm: np.ndarray
    visible: np.ndarray


def choose_donors(study: Audit, context: Context, known: Known, image: str, kept: Kept) -> Chosen:
    """The donors of an image for all contexts of a class."""
    held, wanted = known[HOLDINGS], known[PLAN].contexts[kept.class_id]
    own, empty = held.ids.index(image), background(context)
    key = sample_priority(context.seed, f"{image}:{kept.class_id}")
    order = np.random.default_rng(key % 2**63).permutation(len(held.ids))
    others = np.array(held.groups, np.str_) != held.groups[own]
    order = order[others[order]]
    zone = coarse(kept.zone.cpu().numpy())
    q, most = held.share.shape[1], TRIED * study.donors
    arm, visible = np.zeros((len(held.ids), q), np.int8), np.ones((len(held.ids), q), np.float32)
    for one in wanted:
        there, lacking = (order[able[order]][:most] for able in arms(study, held, one))
        tested = known[CONTEXTS][one]
        traits = [
            _traits(held, own, rows, zone, kept.class_id, tested.class_id, empty)
            for rows in (there, lacking)
        ]
        cost = traits[0].sum(1)
        if tested.located:
            seen = in_sight(held.lies(there, one), zone)
            visible[there, one] = seen
            cost = cost + HIDDEN * np.maximum(0.0, IN_SIGHT - seen)
            cost[seen < study.min_visible] = np.inf
        best = np.argsort(cost, kind="stable")[: study.donors]
        best = best[np.isfinite(cost[best])]
        arm[there[best], one] = 1
        arm[lacking[_twins(traits[0][best], traits[1])], one] = -1
    rows = np.flatnonzero(arm.any(1))
    return Chosen(rows, arm[rows], visible[rows])


def _traits(
    held: Holdings,
    own: int,
    rows: np.ndarray,
    zone: np.ndarray,
    class_id: int,
    tested: int,
    empty: int | None,
) -> np.ndarray:
    """In what donors may differ beside the context, [m, 4]: by how far mean and spread of their
    pixels are off the image's, and the parts of the zone, where they are cut, and of the rest that
    their things take: pixels of the class, and where there is a background of all others but the
    context."""
    ground = held.ground[rows]
    things = ground == class_id
    if empty is not None:
        things |= (ground >= 0) & (ground != empty) & (ground != tested)
    under = (things & zone).sum((1, 2)) / max(int(zone.sum()), 1)
    beside = (things & ~zone).sum((1, 2)) / max(int((~zone).sum()), 1)
    return np.concatenate(
        [np.abs(held.tone[rows] - held.tone[own]), under[:, None], beside[:, None]], 1
    )


def _twins(traits: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each donor with traits [m, f] the most like one of others [l, f], each given once: the
    kinds are to differ in the context alone."""
    far = np.abs(traits[:, None] - among[None]).sum(2)
    taken: list[int] = []
    for row in far:
        row[taken] = np.inf
        if np.isfinite(row).any():
            taken.append(int(row.argmin()))
    return np.array(taken, np.int64)


def in_sight(lies: np.ndarray, zone: np.ndarray) -> np.ndarray:
    """The part of a context's cells [m, y, x] that a zone of cells [y, x] leaves in sight, [m]."""
    cells = lies.sum((1, 2))
    return np.asarray((lies & ~zone).sum((1, 2)) / np.maximum(cells, 1), np.float32)


def rows_of(table: SampleTable, class_id: int, ids: Sequence[str]) -> dict[str, Tables]:
    """The rows of a class, by image."""
    found: dict[str, Tables] = {}
    for name in ids:
        own = table.tables[name]
        here = own["class"] == class_id
        found[name] = {key: values[here] for key, values in own.items()}
    return found
