"""Pass 2: the chosen objects, cut out of their images with something around them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.examples.assess import LISTED, NEIGHBOURS, PORTRAITS, Objects
from conceptseg.study.examples.config import Examples
from conceptseg.study.shared.packed import packed, together
from conceptseg.study.shared.parts import cut_out
from conceptseg.study.shared.sweep import One, Sweep

SHOWN: Key[tuple[int, ...]] = Key("shown", tuple)
"""Rows of the objects that are drawn."""
CASES: Key[tuple[int, ...]] = Key("cases", tuple)
"""Rows of the wrong objects that are shown beside their neighbours."""
PICTURED = Key("pictured", SampleTable)
DRAWN: Key[dict[int, bytes]] = Key("drawn", dict)
"""Pictures by the row of their object."""


def choose_shown(study: Examples, context: Context, known: Known) -> Known:
    """Prototypes, criticisms, and of each class the wrong objects that neighbours foretold best."""
    objects, near = known[LISTED], known[NEIGHBOURS]
    cases = list[int]()
    for portrait in known[PORTRAITS]:
        rows = objects.rows(portrait.class_id)
        rows = rows[(objects.wrong[rows] == 1) & np.isfinite(near.score[rows])]
        cases += rows[np.argsort(-near.score[rows], kind="stable")][: study.cases].tolist()
    shown = {s.row for one in known[PORTRAITS] for s in one.prototypes}
    shown |= {row for one in known[PORTRAITS] for row in one.criticisms}
    shown |= {*cases, *(int(row) for one in cases for row in near.nearest[one])}
    return CASES(tuple(cases)) | SHOWN(tuple(sorted(shown)))


@dataclass(frozen=True)
class Pictures(Sweep):
    """Each chosen object with its outline."""

    study: Examples

    name = "pictures"
    cost = "1 forward per image that is shown"
    labels = "optional"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        return {known[LISTED].ids[row] for row in known[SHOWN]}

    def forwards(self, context: Context) -> float:
        classes = len(self.study.class_ids(context))
        each = self.study.prototypes + self.study.criticisms + 3 * self.study.cases
        return float(min(len(context.manifest.samples), classes * each))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        objects = known[LISTED]
        with torch.no_grad():
            regions = label_map(context.model(one.image))[0].cpu().numpy()
        if self.study.regions == "labelled":
            regions = np.full_like(regions, -1) if one.labels is None else one.labels.cpu().numpy()
        image = one.image[0].float().cpu().numpy()
        return packed(
            (row, self._drawn(objects, row, image, regions))
            for row in known[SHOWN]
            if objects.ids[row] == one.id
        )

    def _drawn(self, objects: Objects, row: int, image: np.ndarray, regions: np.ndarray) -> bytes:
        class_id, box = int(objects.class_id[row]), objects.box[row].tolist()
        return cut_out(image, regions == class_id, box, self.study.picture_px)

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return DRAWN(together(table))
