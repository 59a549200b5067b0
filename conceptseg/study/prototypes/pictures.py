"""Last pass: the chosen regions, and where the relevance of the concepts lies that tell them."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.report.thumbnails import overlay, shared_limit
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.prototypes.assess import GROUPED, PLACED, Grouped
from conceptseg.study.prototypes.config import Prototypes
from conceptseg.study.prototypes.regions import JUDGED, LISTED, Regions
from conceptseg.study.prototypes.relevance import (
    ATOMS,
    ENGINE,
    of_concepts,
    open_engine,
    region_relevance,
)
from conceptseg.study.shared.packed import packed_by_name, together_by_name
from conceptseg.study.shared.parts import boxes, cut_out, parts
from conceptseg.study.shared.sweep import One, Sweep

MAPS = 2
"""Concepts of a prototype that have a map."""

SHOWN: Key[tuple[tuple[int, tuple[int, ...]], ...]] = Key("regions shown", tuple)
"""Rows of the regions that are drawn, each with the concepts whose relevance is drawn as well."""
UNLIKELY: Key[tuple[int, ...]] = Key("unlikely shown", tuple)
"""Rows of the judged regions that are shown as the most unlikely of their class."""
PICTURED = Key("regions pictured", SampleTable)
DRAWN: Key[dict[str, bytes]] = Key("regions drawn", dict)


def region_key(row: int) -> str:
    return f"region {row}"


def map_key(row: int, concept: int) -> str:
    return f"map {row} {concept}"


def odd(regions: Regions, grouped: Grouped, row: int) -> tuple[int, float]:
    """The concept whose share of a region's relevance departs most from the mean over its
    prototype's nearest regions, and by how much."""
    c, j = int(regions.class_id[row]), int(grouped.component[row])
    near = next(one.nearest for one in grouped.prototypes if (one.class_id, one.number) == (c, j))
    usual = regions.relevance[list(near)].mean(0) if near else 0.0
    gap = regions.relevance[row] - usual
    concept = int(np.abs(gap).argmax())
    return concept, float(gap[concept])


def choose_shown(study: Prototypes, context: Context, known: Known) -> Known:
    """The regions nearest to each mean, and of each class the judged ones of the least p."""
    regions, grouped, placed = known[LISTED], known[GROUPED], known[PLACED]
    shown = dict[int, set[int]]()
    for one in grouped.prototypes:
        for row in one.nearest:
            shown.setdefault(row, set())
        if one.nearest:
            shown[one.nearest[0]] |= {each.concept for each in one.apart[:MAPS]}
    unlikely = list[int]()
    for c in regions.classes:
        rows = regions.rows(c, JUDGED)
        order = np.lexsort((rows, -grouped.unlikely[rows], placed.p[rows]))
        unlikely += rows[order][: study.outliers].tolist()
    for row in unlikely:
        shown.setdefault(row, set()).add(odd(regions, grouped, row)[0])
    each = sorted((row, tuple(sorted(concepts))) for row, concepts in shown.items())
    return SHOWN(tuple(each)) | UNLIKELY(tuple(unlikely))


@dataclass(frozen=True)
class Pictures(Sweep):
    """Each chosen region with its outline, and maps of its concepts."""

    study: Prototypes

    name = "pictures"
    cost = "1 forward + 1 backward of the part after the layer per region that is shown"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        return {known[LISTED].ids[row] for row, _ in known[SHOWN]}

    def forwards(self, context: Context) -> float:
        each = 3 * self.study.exemplars + self.study.outliers
        shown = each * len(self.study.class_ids(context))
        return 3.0 * min(len(context.manifest.samples), shown)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield ENGINE(open_engine(self.study, context))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        study, regions = self.study, known[LISTED]
        run = known[ENGINE].run(one.image, [context.layer])
        predicted = label_map(run.logits)[0].cpu().numpy()
        image, drawn = one.image[0].float().cpu().numpy(), list[tuple[str, bytes]]()
        least = study.min_share * predicted.size
        found = parts(predicted, study.class_ids(context), study.per_image, least)
        for row, concepts in known[SHOWN]:
            if regions.ids[row] != one.id:
                continue
            c, box = int(regions.class_id[row]), regions.box[row].tolist()
            drawn.append((region_key(row), cut_out(image, predicted == c, box, study.picture_px)))
            own = [part.mask for part in found if part.class_id == c]
            places = boxes(own).tolist()
            mask = own[places.index(box)] if box in places else None
            if mask is None or not concepts:
                continue
            relevance = region_relevance(run, mask, c, context.layer)
            each = of_concepts(relevance, run.worth(context.layer), known[ATOMS])
            drawn += self._maps(image, mask, each, row, concepts)
        return packed_by_name(drawn)

    def _maps(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        each: torch.Tensor,
        row: int,
        concepts: Sequence[int],
    ) -> Iterator[tuple[str, bytes]]:
        """The relevance [1, q, y, x] of some concepts over the whole image."""
        for k in concepts:
            large = F.interpolate(
                each[:, k : k + 1].float(), mask.shape, mode="bilinear", align_corners=False
            )
            values = large[0, 0].cpu().numpy()
            limit = shared_limit([values])
            side = self.study.picture_px
            yield map_key(row, k), overlay(image, values, -limit, limit, mask=mask, side=side)

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return DRAWN(together_by_name(table))
