"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Carry, Context, Pass
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.judge import Judged
from conceptseg.study.bottleneck.measure import Measure
from conceptseg.study.bottleneck.shift import Shift
from conceptseg.study.shared.compare import Compare

COMPARED = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: the most doubtful, of as many classes as possible.

    Of each image the studied class that is predicted most; images without one are left out.
    """
    judged: Judged = carry["judged"]
    ids = judged.class_ids
    order = np.argsort(judged.predicted(), kind="stable")
    found: list[tuple[str, int]] = []
    spare: list[tuple[str, int]] = []
    for row in order:
        counts = judged.measured.predicted[judged.rows[row], list(ids)]
        if not counts.any():
            continue
        pair = (judged.ids[row], ids[int(np.argmax(counts))])
        (spare if any(pair[1] == c for _, c in found) else found).append(pair)
    return (found + spare)[:COMPARED] if len(found) < COMPARED else found[:COMPARED]


def passes(study: Bottleneck) -> Sequence[Pass]:
    return (Measure(study), Shift(study), Compare(study.compare, to_compare, study.picture_px))
