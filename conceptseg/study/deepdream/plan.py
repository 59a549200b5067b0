"""The steps of a deepdream study, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.errors import InputError
from conceptseg.study.deepdream.assess import assess
from conceptseg.study.deepdream.config import DeepDream
from conceptseg.study.deepdream.survey import SURVEY, Look, background, choose_paths, given_pairs
from conceptseg.study.deepdream.travel import Travel
from conceptseg.study.shared.compare import CHOSEN, Compare


def steps(study: DeepDream) -> tuple[Step, ...]:
    """Images are chosen from which paths start; the paths are taken, then tested."""
    return (
        Look(study),
        choose_paths,
        Travel(study),
        assess,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: DeepDream, context: Context) -> None:
    """Refuse the background as a class, and pairs of which no path can be made."""
    for name in study.data.classes:
        if context.model.class_id(name) == background(context):
            raise InputError(
                f"data.classes: {name!r} is the background; paths need a class beside it"
            )
    given_pairs(study, context)


COMPARED = 4


def to_compare(study: DeepDream, context: Context, known: Known) -> Known:
    """Images for the local saliency maps: one with each target class, where there is one."""
    survey = known[SURVEY]
    classes = dict.fromkeys(route.target for route in survey.routes)
    shown = tuple((survey.holders[c][0], c) for c in classes if survey.holders.get(c))
    return CHOSEN(shown[:COMPARED])
