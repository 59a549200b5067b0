"""The steps of an ACE study, in order."""

import numpy as np

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.ace.assess import PAIRS, assess
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.control import Control, count_control
from conceptseg.study.ace.discover import discover
from conceptseg.study.ace.discovery import DISCOVERY, Discovery
from conceptseg.study.ace.erase import Erase
from conceptseg.study.ace.pictures import Pictures, lay_out_map, warm_map
from conceptseg.study.ace.survey import Survey, usable_samples
from conceptseg.study.shared.compare import CHOSEN, Compare


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
    """Refuse a target that needs labels where there are none, and too few images for any class."""
    manifest, region = context.manifest, study.target.region
    images = len(usable_samples(study, context))
    if not images:
        raise InputError(
            f"target.region {region!r} needs labels, and none of the {len(manifest.samples)} "
            f"images of {manifest.name} has a mask; take 'predicted'"
        )
    if images < study.min_images:
        raise InputError(
            f"min_images: a class needs {study.min_images} images, and {manifest.name} has "
            f"{images} that can be used: give more, or set min_images lower"
        )


COMPARED_CLASSES = 4


def to_compare(study: Ace, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: of the classes with the strongest findings, one each.

    The image is the one among the concept's exemplars in which the class covers most; classes
    without a finding follow, each with the image in which it covers most.
    """
    discovery, pairs = known[DISCOVERY], known[PAIRS]
    chosen: dict[int, str] = {}
    holders = discovery.class_images
    for pair in sorted((p for p in pairs if p.used), key=lambda p: (p.loss.value, p.class_id)):
        core = discovery.concepts[pair.concept].core
        candidates = np.intersect1d(discovery.image[core], holders[pair.class_id])
        if pair.class_id not in chosen and len(candidates):
            chosen[pair.class_id] = _fullest(discovery, pair.class_id, candidates)
    for class_id in sorted(holders, key=lambda c: -len(holders[c])):
        if class_id not in chosen and len(holders[class_id]):
            chosen[class_id] = _fullest(discovery, class_id, holders[class_id])
    shown = tuple((sample_id, class_id) for class_id, sample_id in chosen.items())
    return CHOSEN(shown[:COMPARED_CLASSES])


def _fullest(discovery: Discovery, class_id: int, images: np.ndarray) -> str:
    """Of the images, the id of the one in which the class covers the largest area."""
    covered = discovery.share[:, class_id] * discovery.area * (discovery.level == 0)
    area = np.bincount(discovery.image, weights=covered, minlength=len(discovery.ids))
    return discovery.ids[int(images[np.argmax(area[images])])]
