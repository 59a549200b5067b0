"""The steps of a landmarks study, in order."""

import numpy as np

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.landmarks.assess import LISTED, assess, choose_shown, list_marks
from conceptseg.study.landmarks.config import Landmarks
from conceptseg.study.landmarks.look import Look, Pictures
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.studied import labelled

COMPARED = 3


def steps(study: Landmarks) -> tuple[Step, ...]:
    """Landmarks are explained and measured, classes are assessed, and a few are drawn."""
    return (
        Look(study),
        list_marks,
        assess,
        choose_shown,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Landmarks, context: Context) -> None:
    """Refuse labelled regions without labels, and a method that cannot explain the network."""
    if study.regions == "labelled" and not len(labelled(context)):
        raise InputError(
            f"{context.manifest.where}: regions: labelled, but none of the "
            f"{len(context.manifest.samples)} images has a mask; add masks, or take predicted"
        )
    if not context.suiting((study.method,)):
        raise context.nothing_suits("method")


def to_compare(study: Landmarks, context: Context, known: Known) -> Known:
    """Of each class with the most landmarks, the image that holds most of them."""
    marks, chosen = known[LISTED], list[tuple[int, str, int]]()
    for c in np.unique(marks.class_id).tolist():
        names, counts = np.unique(
            [marks.ids[i] for i in np.flatnonzero(marks.class_id == c)], return_counts=True
        )
        chosen.append((-int(counts.sum()), str(names[np.argmax(counts)]), c))
    return CHOSEN(tuple((name, c) for _, name, c in sorted(chosen)[:COMPARED]))
