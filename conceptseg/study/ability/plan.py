"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Carry, Context, Pass
from conceptseg.study.ability.assess import Assessed
from conceptseg.study.ability.config import Ability
from conceptseg.study.ability.gather import Gather
from conceptseg.study.ability.pictures import Pictures
from conceptseg.study.ability.read import Abilities, Read
from conceptseg.study.shared.compare import Compare

COMPARED = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: the forgotten objects, then each class's exemplar."""
    found: Assessed = carry["assessed"]
    abilities: Abilities = carry["abilities"]
    chosen = {one.class_id: one.sample for one in reversed(found.forgotten)}
    for class_id in found.class_ids:
        held = np.nan_to_num(abilities.output[:, class_id], nan=-1.0)
        if class_id not in chosen and (held >= 0).any():
            chosen[class_id] = abilities.ids[int(np.argmax(held))]
    return [(sample_id, class_id) for class_id, sample_id in chosen.items()][:COMPARED]


def passes(study: Ability) -> Sequence[Pass]:
    return (
        Gather(study),
        Read(study),
        Pictures(study),
        Compare(study.compare, to_compare, study.picture_px),
    )
