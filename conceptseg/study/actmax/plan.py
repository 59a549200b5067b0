"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

from conceptseg.engine.contract import Carry, Context, Pass
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.exemplars import Exemplars, Real
from conceptseg.study.actmax.optimise import Optimise
from conceptseg.study.actmax.survey import Look, Survey
from conceptseg.study.actmax.template import Amplitudes
from conceptseg.study.shared.compare import Compare

COMPARED = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: the strongest of the first features, one each, with the
    class that covers most of it (the background only where nothing else is predicted).
    """
    found: Survey = carry["survey"]
    real: Real = carry["real"]
    names = context.model.classes
    chosen: dict[str, int] = {}
    for feature in range(len(found.objective.ids)):
        for sample_id, _ in found.exemplars(feature)[:1]:
            cover = real.cover[sample_id].copy()
            if context.manifest.background in names:
                cover[names.index(context.manifest.background)] *= 1e-6
            chosen.setdefault(sample_id, int(cover.argmax()))
    return list(chosen.items())[:COMPARED]


def passes(study: Actmax) -> Sequence[Pass]:
    return (
        Look(study),
        Amplitudes(study),
        Optimise(study),
        Exemplars(study),
        Compare(study.compare, to_compare, study.picture_px),
    )
