"""The steps of an ability study, in order."""

import numpy as np

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.ability.assess import ASSESSED, assess
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.gather import Gather, labelled, learn, prepare
from conceptseg.study.ability.pictures import Pictures
from conceptseg.study.ability.read import ABILITIES, Read, draw_images
from conceptseg.study.shared.compare import CHOSEN, Compare


def steps(study: Ability) -> tuple[Step, ...]:
    """Layers are learnt on one half of the images and read on the other."""
    return (
        prepare,
        Gather(study),
        learn,
        draw_images,
        Read(study),
        assess,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Ability, context: Context) -> None:
    """Refuse data without masks; :func:`prepare` refuses layers."""
    masks, images = len(labelled(context)), len(context.manifest.samples)
    if masks < 2:
        raise InputError(
            f"{context.manifest.where}: {masks} of the {images} images have masks, and a layer is "
            "judged by them; add masks"
        )


COMPARED = 4


def to_compare(study: Ability, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: the forgotten objects, then each class's exemplar."""
    assessed, abilities = known[ASSESSED], known[ABILITIES]
    chosen = {one.class_id: one.sample for one in reversed(assessed.forgotten)}
    for class_id in assessed.class_ids:
        held = np.nan_to_num(abilities.output[:, class_id], nan=-1.0)
        if class_id not in chosen and (held >= 0).any():
            chosen[class_id] = abilities.ids[int(np.argmax(held))]
    return CHOSEN(tuple((sample, class_id) for class_id, sample in chosen.items())[:COMPARED])
