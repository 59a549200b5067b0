"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Carry, Context, Pass
from conceptseg.study.ace.assess import Pair
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.control import Control
from conceptseg.study.ace.discovery import Discovery
from conceptseg.study.ace.erase import Erase
from conceptseg.study.ace.pictures import Pictures
from conceptseg.study.ace.survey import Survey
from conceptseg.study.shared.compare import Compare

COMPARED_CLASSES = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: of the classes with the strongest findings, one each.

    The image is the one among the concept's exemplars in which the class covers most; classes
    without a finding follow, each with the image in which it covers most.
    """
    found: Discovery = carry["discovery"]
    pairs: Sequence[Pair] = carry["pairs"]
    chosen: dict[int, str] = {}
    for pair in sorted((p for p in pairs if p.used), key=lambda p: (p.loss, p.class_id)):
        core = found.concepts[pair.concept].core
        candidates = np.intersect1d(found.image[core], found.class_images[pair.class_id])
        if pair.class_id not in chosen and len(candidates):
            chosen[pair.class_id] = _fullest(found, pair.class_id, candidates)
    for class_id in sorted(found.class_images, key=lambda c: -len(found.class_images[c])):
        if class_id not in chosen and len(found.class_images[class_id]):
            chosen[class_id] = _fullest(found, class_id, found.class_images[class_id])
    return [(sample_id, class_id) for class_id, sample_id in chosen.items()][:COMPARED_CLASSES]


def _fullest(found: Discovery, class_id: int, images: np.ndarray) -> str:
    """Of the images, the id of the one in which the class covers the largest area."""
    covered = found.share[:, class_id] * found.area * (found.level == 0)
    area = np.bincount(found.image, weights=covered, minlength=len(found.ids))
    return found.ids[int(images[np.argmax(area[images])])]


def passes(study: Ace) -> Sequence[Pass]:
    return (
        Survey(study),
        Erase(study),
        Pictures(study),
        Control(study),
        Compare(study.compare, to_compare, study.picture_px),
    )
