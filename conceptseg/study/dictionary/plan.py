"""The steps of a dictionary study, in order."""

from collections.abc import Iterator

import numpy as np

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.engine.reading import first_images
from conceptseg.study.dictionary.assess import LOSSES, describe, judge_losses
from conceptseg.study.dictionary.config import Dictionary
from conceptseg.study.dictionary.erase import Erase, mean_codes
from conceptseg.study.dictionary.learn import Gather, Recover, choose, learn
from conceptseg.study.dictionary.pictures import Pictures, choose_shown
from conceptseg.study.dictionary.repair import (
    Harm,
    Try,
    choose_atoms,
    find_failures,
    judge_repairs,
)
from conceptseg.study.dictionary.sobol import Indices, sobol_images
from conceptseg.study.dictionary.survey import SURVEY, Survey, divide
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.studied import labelled

COMPARED = 4


def steps(study: Dictionary) -> tuple[Step, ...]:
    """Atoms are learnt, the least number that recovers is taken, erased, dimmed, and repaired."""
    return (
        divide,
        Gather(study),
        learn,
        Recover(study),
        choose,
        Survey(study),
        mean_codes,
        Erase(study),
        judge_losses,
        sobol_images,
        Indices(study),
        describe,
        find_failures,
        Try(study),
        choose_atoms,
        Harm(study),
        judge_repairs,
        choose_shown,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Dictionary, context: Context) -> None:
    """Refuse what the finder refuses of so many positions and units."""
    from conceptseg.network.record import encode

    images = first_images(context.manifest, context.run)[:1]
    _, units, y, x = encode(context.model, images, context.levels).shape
    count = min(study.images, len(context.manifest.samples))
    study.finder.allowed(count * min(study.positions, y * x), units, "positions")


def remarks(study: Dictionary, context: Context) -> Iterator[tuple[str, str]]:
    """That without masks nothing can fail."""
    if not len(labelled(context)):
        yield "repair", "no image has a mask, so no failure is known, and none can be repaired"


def to_compare(study: Dictionary, context: Context, known: Known) -> Known:
    """Of the classes that lose most without an atom, the image in which each is largest."""
    table, chosen = known[SURVEY], dict[int, str]()
    share = np.where(table.column("iou") > 0, table.column("share"), 0.0)
    for one in sorted(known[LOSSES], key=lambda one: (one.change.value, one.class_id)):
        row = int(np.argmax(share[:, one.class_id]))
        if one.class_id not in chosen and share[row, one.class_id] > 0:
            chosen[one.class_id] = table.ids[row]
    return CHOSEN(tuple((name, c) for c, name in chosen.items())[:COMPARED])
