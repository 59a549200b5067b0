"""The steps of a bottleneck study, in order."""

from collections.abc import Sequence

import numpy as np

from conceptseg.data.listed import listed
from conceptseg.engine.beside import Beside
from conceptseg.engine.contract import Context, Step, Work
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.study.bottleneck import maps
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.cost import fits
from conceptseg.study.bottleneck.judge import JUDGED, check_count, grouped, judge
from conceptseg.study.bottleneck.measure import PICTURED, Measure, draw_pictured
from conceptseg.study.bottleneck.regress import check_folds
from conceptseg.study.bottleneck.shift import Shift, try_gate
from conceptseg.study.bottleneck.sliced import PictureSlices, judge_slices
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.studied import labelled
from conceptseg.study.shared.user_masks import user_masks

COMPARED = 4
MAPS, SHOWN = Key("maps", Beside), Key("shown", np.ndarray)
"""The process that lays out the maps, and which of the judged images [m] they show."""


def steps(study: Bottleneck) -> tuple[Step, ...]:
    """All images are measured and a predictor is fitted, which is then tried on spoilt images."""
    return (
        warm_maps,
        draw_pictured,
        Measure(study),
        judge,
        lay_out_maps,
        judge_slices,
        PictureSlices(study),
        Shift(study),
        try_gate,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def warm_maps(study: Bottleneck, context: Context, known: Known) -> Known:
    """Starts the process that draws the maps; it warms up while images are measured."""
    seeds = [str(study.seed + number) for number in range(study.map_seeds)]
    enough = min(len(context.manifest.samples), study.map_images) >= maps.LEAST
    return MAPS(Beside(maps.__name__, *seeds, warm=enough))


def lay_out_maps(study: Bottleneck, context: Context, known: Known) -> Known:
    """Gives the process the rows of the images that are shown."""
    judged = known[JUDGED]
    shown = np.flatnonzero(np.isin(judged.ids, list(known[PICTURED])))
    return SHOWN(shown) | MAPS(known[MAPS].give(judged.features["layer"].rows[shown]))


def check(study: Bottleneck, context: Context) -> None:
    """Refuse data of too few masks, or of fewer groups than folds, and concepts without files."""
    user_masks(study.masks, context.manifest)
    ids = list(listed(labelled(context)).ids)
    if not ids:
        raise InputError(
            f"{context.manifest.where}: none of the {len(context.manifest.samples)} images has a "
            "mask, and quality is learnt from images with masks; add masks (new images are scored "
            "by predict-quality)"
        )
    check_count(study, context, f"at most {len(ids)}", len(ids), len(ids))
    check_folds(grouped(study, context, ids)[0], study.folds)


def work(study: Bottleneck, context: Context, shape: Sequence[int]) -> list[Work]:
    """The fits, which take longer than the passes where classes or images are many."""
    return fits(study, context, shape[0])


def to_compare(study: Bottleneck, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: the most doubtful, of as many classes as possible.

    Of each image the studied class that is predicted most; images without one are left out.
    """
    judged = known[JUDGED]
    counts = judged.measured.predicted[np.ix_(judged.rows, np.array(judged.class_ids))]
    ranked = [
        (judged.ids[row], judged.class_ids[counts[row].argmax()])
        for row in np.argsort(judged.predicted(), kind="stable")
        if counts[row].any()
    ]
    _, first = np.unique([class_id for _, class_id in ranked], return_index=True)
    order = [*np.sort(first), *np.setdiff1d(np.arange(len(ranked)), first)]
    return CHOSEN(tuple(ranked[place] for place in order[:COMPARED]))
