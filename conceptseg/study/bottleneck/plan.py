"""The steps of a bottleneck study, in order."""

import numpy as np

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.judge import JUDGED, check_masks, judge
from conceptseg.study.bottleneck.layout import lay_out_maps, warm_maps
from conceptseg.study.bottleneck.measure import Measure
from conceptseg.study.bottleneck.shift import Shift, try_gate
from conceptseg.study.shared.compare import CHOSEN, Compare

COMPARED = 4


def steps(study: Bottleneck) -> tuple[Step, ...]:
    """All images are measured and a predictor is fitted, which is then tried on spoilt images."""
    return (
        warm_maps,
        Measure(study),
        judge,
        lay_out_maps,
        Shift(study),
        try_gate,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Bottleneck, context: Context) -> None:
    """Refuse data of too few masks, or of fewer groups than folds."""
    check_masks(study, context)


def to_compare(study: Bottleneck, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: the most doubtful, of as many classes as possible.

    Of each image the studied class that is predicted most; images without one are left out.
    """
    judged = known[JUDGED]
    ids = judged.class_ids
    chosen: list[tuple[str, int]] = []
    spare: list[tuple[str, int]] = []
    for row in np.argsort(judged.predicted(), kind="stable"):
        counts = judged.measured.predicted[judged.rows[row], list(ids)]
        if not counts.any():
            continue
        pair = (judged.ids[row], ids[int(np.argmax(counts))])
        (spare if any(pair[1] == c for _, c in chosen) else chosen).append(pair)
    return CHOSEN(tuple(chosen + spare)[:COMPARED])
