"""The steps of a diff study, in order."""

from collections.abc import Iterator

import numpy as np

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.engine.reading import first_images
from conceptseg.network.record import encode
from conceptseg.study.diff.assess import SHIFTS, judge_classes, judge_concepts, match_units
from conceptseg.study.diff.config import Diff
from conceptseg.study.diff.learn import Gather, Recover, choose, learn
from conceptseg.study.diff.measure import PIXELS, Erase, Predict
from conceptseg.study.diff.networks import MEMBERS, open_members
from conceptseg.study.diff.pictures import Pictures, choose_shown
from conceptseg.study.shared.compare import CHOSEN, Compare

COMPARED = 4


def steps(study: Diff) -> tuple[Step, ...]:
    """All networks are factorised together, each concept is erased from each, and compared."""
    return (
        open_members,
        Gather(study),
        match_units,
        learn,
        Recover(study),
        choose,
        Predict(study),
        judge_classes,
        Erase(study),
        judge_concepts,
        choose_shown,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Diff, context: Context) -> None:
    """Refuse networks that cannot be compared, and what the finder refuses."""
    members = open_members(study, context, Known())[MEMBERS]
    images = first_images(context.manifest, context.run)
    units, cells = 0, 0
    for one in members:
        shape = encode(one.model, images, one.layer).shape
        units, cells = units + shape[1], shape[2] * shape[3]
    count = min(study.images, len(context.manifest.samples))
    study.finder.allowed(count * min(study.positions, cells), units, "positions")


def remarks(study: Diff, context: Context) -> Iterator[tuple[str, str]]:
    """That without other seeds the unit of drift is chance over images alone."""
    if not study.seeds:
        yield (
            "drift",
            "no seeds are given: what two trainings of the same network differ by is not known, "
            "and changes are told in standard errors over images",
        )


def to_compare(study: Diff, context: Context, known: Known) -> Known:
    """The classes that changed most, each in the image in which its IoU did."""
    table = known[PIXELS]
    iou = table.column("iou").astype(np.float64)
    chosen: dict[int, str] = {}
    for one in sorted(known[SHIFTS], key=lambda one: (-abs(one.change.value), one.class_id)):
        c = one.class_id
        seen = np.nan_to_num(iou[:, 0, c])
        if c not in chosen and seen.max() > 0:
            change = np.where(seen > 0, np.abs(np.nan_to_num(iou[:, 1, c]) - seen), -1.0)
            chosen[c] = table.ids[int(np.argmax(change))]
    return CHOSEN(tuple((name, c) for c, name in chosen.items())[:COMPARED])
