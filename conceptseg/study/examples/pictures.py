"""Pass 2: the chosen objects, cut out of their images with something around them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.report.thumbnails import outlined
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.examples.assess import LISTED, NEIGHBOURS, PORTRAITS, Objects
from conceptseg.study.examples.config import Examples
from conceptseg.study.shared.packed import packed, unpacked
from conceptseg.study.shared.sweep import One, Sweep

SHOWN: Key[tuple[int, ...]] = Key("shown", tuple)
"""Rows of the objects that are drawn."""
CASES: Key[tuple[int, ...]] = Key("cases", tuple)
"""Rows of the wrong objects that are shown beside their neighbours."""
PICTURED = Key("pictured", SampleTable)
DRAWN: Key[dict[int, bytes]] = Key("drawn", dict)
"""Pictures by the row of their object."""
MARGIN = 0.6
"""What is shown around an object, on each side, as a part of its box's longer side."""
LEAST_PX = 8
"""Half the side of the least that is shown."""


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
            regions = context.model(one.image).argmax(1)[0].cpu().numpy()
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
        found = dict(one for own in table.tables.values() for one in unpacked(own))
        return DRAWN(dict(sorted(found.items())))


def cut_out(image: np.ndarray, region: np.ndarray, box: list[int], side: int) -> bytes:
    """A square of an image [c, h, w] around a box, the object in it outlined."""
    from scipy.ndimage import label

    top, left, bottom, right = box
    numbers = label(region[top:bottom, left:right], np.ones((3, 3), int))[0]
    mask = np.zeros(region.shape, bool)
    if numbers.any():  # the object is the largest component in its own box
        mask[top:bottom, left:right] = numbers == 1 + np.argmax(np.bincount(numbers.ravel())[1:])
    half = max(LEAST_PX, round((0.5 + MARGIN) * max(bottom - top, right - left)))
    rows = _window((top + bottom) // 2, half, region.shape[0])
    columns = _window((left + right) // 2, half, region.shape[1])
    return outlined(image[:, rows, columns], mask[rows, columns], side)


def _window(centre: int, half: int, length: int) -> slice:
    """2 half pixels around a centre, moved so that they lie in 0..length; all where it is less."""
    start = min(max(0, centre - half), max(0, length - 2 * half))
    return slice(start, min(length, start + 2 * half))
