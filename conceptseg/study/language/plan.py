"""The steps of a language study, in order."""

from collections.abc import Sequence

from conceptseg.engine.contract import Context, Step, Work
from conceptseg.engine.known import Known
from conceptseg.study.language.assess import assess, learn
from conceptseg.study.language.config import Language
from conceptseg.study.language.cost import computed
from conceptseg.study.language.objects import SPOKEN, Describe, list_objects
from conceptseg.study.language.pictures import Pictures, choose_shown
from conceptseg.study.shared.compare import CHOSEN, Compare

COMPARED = 4


def steps(study: Language) -> tuple[Step, ...]:
    """Objects are described, languages learnt, set beside codes, and their words shown."""
    return (
        Describe(study),
        list_objects,
        learn,
        assess,
        choose_shown,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def work(study: Language, context: Context, shape: Sequence[int]) -> list[Work]:
    """The learning, which takes longer than the pass where objects or seeds are many."""
    return computed(study, context, shape)


def to_compare(study: Language, context: Context, known: Known) -> Known:
    """The first object of each of the first classes."""
    one = known[SPOKEN]
    rows = [(one.class_id == c).argmax() for c in one.classes[:COMPARED]]
    return CHOSEN(tuple((one.ids[row], int(one.class_id[row])) for row in rows))
