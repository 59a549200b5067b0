"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

from conceptseg.engine.contract import Carry, Context, Pass
from conceptseg.study.dissect.ablate import Ablate, Ablations
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import Detection
from conceptseg.study.dissect.pictures import Pictures
from conceptseg.study.dissect.pilot import Pilot
from conceptseg.study.dissect.published import Published
from conceptseg.study.dissect.tally import Tally
from conceptseg.study.shared.compare import Compare

COMPARED = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps, one for each class that uses some concept's units most.

    Of the images that hold the class, one on which that concept's best unit is highest, if there
    is one; classes that use nothing follow.
    """
    found: Detection = carry["detection"]
    ablations: Ablations = carry["ablations"]
    held = found.held.classes
    background = context.manifest.background
    chosen: dict[int, str] = {}
    for loss in sorted(ablations.concept_losses, key=lambda one: (one.change, one.class_id)):
        if loss.used and loss.class_id not in chosen:
            best = int(found.best_units(ablations.concepts[loss.edit], 1)[0])
            own = [name for name, classes in held.items() if loss.class_id in classes]
            high = [name for name, _ in found.exemplars(best) if name in own]
            if own:
                chosen[loss.class_id] = (high or sorted(own))[0]
    for name in sorted(held):
        for class_id in sorted(held[name]):
            if context.model.classes[class_id] != background:
                chosen.setdefault(class_id, name)
    return [(sample_id, class_id) for class_id, sample_id in chosen.items()][:COMPARED]


def passes(study: Dissect) -> Sequence[Pass]:
    return (
        Pilot(study),
        Tally(study),
        *([Published(study)] if study.published else []),
        Ablate(study),
        Pictures(study),
        Compare(study.compare, to_compare, study.picture_px),
    )
