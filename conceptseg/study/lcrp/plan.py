"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conceptseg.engine.contract import Pass
from conceptseg.study.lcrp.background import Background
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.control import Control
from conceptseg.study.lcrp.flip import Flip
from conceptseg.study.lcrp.maps import Maps
from conceptseg.study.lcrp.ranks import Ranks
from conceptseg.study.lcrp.survey import Survey
from conceptseg.study.shared.compare import Compare

if TYPE_CHECKING:
    from conceptseg.engine.contract import Carry, Context


COMPARED_CLASSES = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: of the classes with the most images, the first drawn."""
    chosen: Chosen = carry["chosen"]
    order = sorted(chosen.classes, key=lambda c: (-chosen.count[c], c))
    return [(chosen.images[c][0], c) for c in order if chosen.images[c]][:COMPARED_CLASSES]


def passes(study: Lcrp) -> Sequence[Pass]:
    ranks = Ranks(study)
    return (
        Survey(study),
        Maps(study),
        ranks,
        Control(study, ranks),
        Background(study),
        Flip(study),
        Compare(study.compare, to_compare, study.picture_px),
    )
