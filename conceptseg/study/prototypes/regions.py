"""The regions of the classes that have enough, what each is like, and which part it is in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.intervals import units
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.prototypes.config import Prototypes
from conceptseg.study.prototypes.relevance import REGIONS
from conceptseg.study.shared.attributes import of_objects
from conceptseg.study.shared.outcomes import wrongness
from conceptseg.study.shared.studied import sampling_of

FITTED, CALIBRATES, JUDGED = 0, 1, 2
PARTS = (0.4, 0.3)
"""Shares of the groups that the mixtures are fitted to, and that calibrate; the rest are judged."""
FEWEST_GROUPS = 64
"""With fewer groups single images are dealt to the parts: a p-value of 0.05 takes 19 that
calibrate. They then stand for images of these groups alone."""
LABELLED, KNOWN = "labelled as", "known context"


@dataclass(frozen=True)
class Regions:
    """Regions of the classes that have enough of them, [m]: a row is one region.

    `wrong` is 1, 0, or -1 where labels do not say; `relevance` [m, q]; `attributes` by name, a text
    of each region. `dealt` names what is dealt to the parts as a whole (its group, or its image),
    called `dealt_of`, and `part` is where each fell; `sampling` says what regions count as.
    """

    ids: tuple[str, ...]
    class_id: np.ndarray
    box: np.ndarray
    area: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    relevance: np.ndarray
    outside: np.ndarray
    attributes: Mapping[str, tuple[str, ...]]
    dealt: tuple[str, ...]
    dealt_of: str
    part: np.ndarray
    sampling: Sampling

    @property
    def classes(self) -> list[int]:
        return [int(c) for c in np.unique(self.class_id)]

    def rows(self, class_id: int, *parts: int) -> np.ndarray:
        """Those of a class, in some of the parts, or in all."""
        own = self.class_id == class_id
        return np.flatnonzero(own & np.isin(self.part, parts) if parts else own)


LISTED = Key("regions listed", Regions)


def list_regions(study: Prototypes, context: Context, known: Known) -> Known:
    """The regions, dealt to the three parts. Raises InputError where no class has enough."""
    table, wanted = known[REGIONS], study.class_ids(context)
    column = table.column("class") if table.ids else np.empty(0, np.int64)
    owner = [table.ids[i] for i in table.owner("class").tolist()] if table.ids else []
    groups = [context.manifest.sample(name).group for name in owner]
    dealt, dealt_of = units(owner, groups, study.unit, FEWEST_GROUPS)
    part = parts_of(dealt, context.seed)
    counts = {c: int(((column == c) & (part == FITTED)).sum()) for c in wanted}
    enough = [c for c in wanted if counts[c] >= study.min_regions]
    if not enough:
        most = max(wanted, key=lambda c: counts[c])
        raise InputError(
            f"{context.manifest.where}: no class has {study.min_regions} regions to fit prototypes "
            f"to, among four tenths of the {dealt_of}s ({context.model.classes[most]!r} has the "
            f"most, {counts[most]}); give more images, or lower min_regions or min_share"
        )
    kept = np.isin(column, enough)
    ids = [name for name, held in zip(owner, kept.tolist(), strict=True) if held]
    right = table.column("right")[kept].astype(np.float64)
    return LISTED(
        Regions(
            tuple(ids),
            column[kept],
            table.column("box")[kept],
            table.column("area")[kept],
            table.column("confidence")[kept].astype(np.float64),
            right,
            wrongness(right, study.right),
            table.column("relevance")[kept].astype(np.float64),
            table.column("outside")[kept].astype(np.float64),
            _attributes(context, table, kept, ids),
            tuple(name for name, held in zip(dealt, kept.tolist(), strict=True) if held),
            dealt_of,
            part[kept],
            sampling_of(context, ids, study.unit, (context.seed, 83)),
        )
    )


def parts_of(dealt: Sequence[str], seed: int) -> np.ndarray:
    """The part of each region, [m]: whole groups, in an order by hash."""
    order = sorted(set(dealt), key=lambda one: (sample_priority(seed + 3, one), one))
    first, second = (round(sum(PARTS[: n + 1]) * len(order)) for n in range(2))
    place = {name: int(n >= first) + int(n >= second) for n, name in enumerate(order)}
    return np.array([place[name] for name in dealt], np.int64)


def _attributes(
    context: Context, table: SampleTable, kept: np.ndarray, ids: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """What each region is labelled as, whether the known context is in its image, its size and
    place in thirds, and the manifest's columns; those alone that differ among regions."""
    classes, area, middle = context.model.classes, table.column("area"), table.column("middle")
    given = of_objects(context.manifest, ids, area[kept], middle[kept])
    texts = {name: tuple(values) for name, values in given.items()}
    truth, beside = table.column("truth")[kept], table.column("beside")[kept]
    if (truth >= 0).any():
        texts[LABELLED] = tuple("nothing" if c < 0 else classes[c] for c in truth.tolist())
    if (beside >= 0).any():
        said = {1: "in the image", 0: "not in the image", -1: "unknown"}
        texts[KNOWN] = tuple(said[one] for one in beside.tolist())
    return {name: values for name, values in sorted(texts.items()) if len(set(values)) > 1}
