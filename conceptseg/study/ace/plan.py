"""The steps of an ACE study, in order."""

import numpy as np

from conceptseg.concepts.segments import WIDE
from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.engine.reading import first_images
from conceptseg.errors import InputError
from conceptseg.study.ace.apart import Apart, tell_apart
from conceptseg.study.ace.assess import PAIRS, assess
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.control import Control, count_control
from conceptseg.study.ace.discover import TESTS, discover
from conceptseg.study.ace.discovery import DISCOVERY
from conceptseg.study.ace.erase import Erase
from conceptseg.study.ace.mistaken import FoundConcepts
from conceptseg.study.ace.outside import Outside, place_uses
from conceptseg.study.ace.pictures import Pictures, lay_out_map, warm_map
from conceptseg.study.ace.reaching import about_reach
from conceptseg.study.ace.survey import Survey, cut_scales, usable_samples
from conceptseg.study.shared.compare import CHOSEN, Compare
from conceptseg.study.shared.mistaken import mistake_steps
from conceptseg.study.shared.verdicts import unreachable


def steps(study: Ace) -> tuple[Step, ...]:
    """Segments become concepts, which are tested, then erased from the layer."""
    return (
        warm_map,
        Survey(study),
        discover,
        lay_out_map,
        Erase(study),
        assess,
        Apart(study),
        tell_apart,
        *mistake_steps(FoundConcepts.of(study)),
        Outside(study),
        place_uses,
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


def remarks(study: Ace, context: Context) -> list[tuple[str, str]]:
    """How large segments are, against the narrowest class's width, whether any use can pass, and
    whether one from context can."""
    scales, name, narrow = cut_scales(study, context)
    height, width = first_images(context.manifest, context.run).shape[2:]
    side = (height * width / max(scales)) ** 0.5
    text = f"{', '.join(map(str, scales))} of an image, the smallest about {side:.0f} px wide"
    if name:
        text += f"; the narrowest class is {name}, {narrow:.0f} px wide (median)"
        if side > WIDE * narrow:
            text += ": no segment can follow it; give finer scales, or scales: auto"
    samples = usable_samples(study, context)
    ids, groups = [one.id for one in samples], [one.group for one in samples]
    open_tests = unreachable(ids, groups, study.unit, TESTS, ("nulls", study.nulls))
    tests = [("tests", remark) for remark in open_tests]
    return [("segments", text), *tests, *about_reach(context)]


COMPARED_CLASSES = 4


def to_compare(study: Ace, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: of the classes with the strongest findings, one each.

    The image is the one among the concept's exemplars in which the class covers most; classes
    without a finding follow, each with the image in which it covers most.
    """
    discovery = known[DISCOVERY]
    holders, ids = discovery.class_images, discovery.ids
    used = sorted(
        (pair for pair in known[PAIRS] if pair.used), key=lambda p: (p.loss.value, p.class_id)
    )
    cores = [(p.class_id, discovery.image[discovery.concepts[p.concept].core]) for p in used]
    rest = sorted(holders, key=lambda c: -len(holders[c]))
    chosen: dict[int, str] = {}
    for class_id, among in [*cores, *((c, holders[c]) for c in rest)]:
        images = np.intersect1d(among, holders[class_id])
        if class_id not in chosen and len(images):
            covered = discovery.share[:, class_id] * discovery.area * (discovery.level == 0)
            area = np.bincount(discovery.image, weights=covered, minlength=len(ids))
            chosen[class_id] = ids[int(images[np.argmax(area[images])])]
    shown = tuple((sample_id, class_id) for class_id, sample_id in chosen.items())
    return CHOSEN(shown[:COMPARED_CLASSES])
