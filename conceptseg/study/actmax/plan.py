"""The steps of an activation maximisation, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.study.actmax.config import Actmax
from conceptseg.study.actmax.embeddings import open_spaces
from conceptseg.study.actmax.exemplars import REAL, Exemplars
from conceptseg.study.actmax.judge import assess
from conceptseg.study.actmax.optimise import Optimise, name_carriers
from conceptseg.study.actmax.survey import SURVEY, Look, choose_units, load
from conceptseg.study.actmax.template import Amplitudes, describe_template
from conceptseg.study.shared.compare import CHOSEN, Compare

COMPARED = 4


def steps(study: Actmax) -> tuple[Step, ...]:
    """Units are chosen, pictures made for them, and set beside the units' own real images."""
    return (
        load,
        open_spaces,
        Look(study),
        choose_units,
        Amplitudes(study),
        describe_template,
        name_carriers,
        Optimise(study),
        Exemplars(study),
        assess,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def to_compare(study: Actmax, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: the strongest of the first features, one each, with the
    class that covers most of it (the background only where nothing else is predicted).
    """
    survey, real = known[SURVEY], known[REAL]
    names = context.model.classes
    chosen: dict[str, int] = {}
    for feature in range(len(survey.objective.ids)):
        for sample_id, _ in survey.exemplars(feature)[:1]:
            cover = real.cover[sample_id].copy()
            if context.manifest.background in names:
                cover[names.index(context.manifest.background)] *= 1e-6
            chosen.setdefault(sample_id, int(cover.argmax()))
    return CHOSEN(tuple(chosen.items())[:COMPARED])
