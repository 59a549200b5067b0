"""The steps of an ACE study, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.ace.assess import PAIRS, assess
from conceptseg.study.ace.control import Control, count_control
from conceptseg.study.ace.discover import discover
from conceptseg.study.ace.discovery import DISCOVERY, Discovery
from conceptseg.study.ace.erase import Erase
from conceptseg.study.ace.gradients import needs_labels
from conceptseg.study.ace.pictures import Pictures, lay_out_map, warm_map
from conceptseg.study.ace.survey import Survey
from conceptseg.study.shared.compare import CHOSEN, Compare

if TYPE_CHECKING:
    from conceptseg.study.ace.config import Ace


def steps(study: Ace) -> tuple[Step, ...]:
    """Segments become concepts, which are tested, then erased from the layer."""
    return (
        warm_map,
        Survey(study),
        discover,
        lay_out_map,
        Erase(study),
        assess,
        Pictures(study),
        Control(study),
        count_control,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Ace, context: Context) -> None:
    """Refuse a target that needs labels where there are none."""
    manifest = context.manifest
    if needs_labels(study.target) and not any(map(manifest.labelled, manifest.samples)):
        raise InputError(
            f"target.region {study.target.region!r} is told from labels, and none of the "
            f"{len(manifest.samples)} images of {manifest.name} has a mask; take 'predicted'"
        )


COMPARED_CLASSES = 4


def to_compare(study: Ace, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: of the classes with the strongest findings, one each.

    The image is the one among the concept's exemplars in which the class covers most; classes
    without a finding follow, each with the image in which it covers most.
    """
    discovery, pairs = known[DISCOVERY], known[PAIRS]
    chosen: dict[int, str] = {}
    for pair in sorted((p for p in pairs if p.used), key=lambda p: (p.loss.value, p.class_id)):
        core = discovery.concepts[pair.concept].core
        candidates = np.intersect1d(discovery.image[core], discovery.class_images[pair.class_id])
        if pair.class_id not in chosen and len(candidates):
            chosen[pair.class_id] = _fullest(discovery, pair.class_id, candidates)
    for class_id in sorted(discovery.class_images, key=lambda c: -len(discovery.class_images[c])):
        if class_id not in chosen and len(discovery.class_images[class_id]):
            chosen[class_id] = _fullest(discovery, class_id, discovery.class_images[class_id])
    shown = tuple((sample_id, class_id) for class_id, sample_id in chosen.items())
    return CHOSEN(shown[:COMPARED_CLASSES])


def _fullest(discovery: Discovery, class_id: int, images: np.ndarray) -> str:
    """Of the images, the id of the one in which the class covers the largest area."""
    covered = discovery.share[:, class_id] * discovery.area * (discovery.level == 0)
    area = np.bincount(discovery.image, weights=covered, minlength=len(discovery.ids))
    return discovery.ids[int(images[np.argmax(area[images])])]
