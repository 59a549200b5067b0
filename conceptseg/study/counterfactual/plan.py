"""The steps of a counterfactual study, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.study.counterfactual.assess import assess, list_edits
from conceptseg.study.counterfactual.config import Counterfactual
from conceptseg.study.counterfactual.control import Control
from conceptseg.study.counterfactual.edit import Search
from conceptseg.study.counterfactual.fit import Fit
from conceptseg.study.counterfactual.survey import PLAN, Survey, choose, explained, pairs
from conceptseg.study.shared.compare import CHOSEN, Compare

COMPARED = 3


def steps(study: Counterfactual) -> tuple[Step, ...]:
    """Regions are looked at, a generator is fitted if it learns, images are edited, the
    edits that flip are sought elsewhere too, and both are judged."""
    return (
        Survey(study),
        choose,
        Fit(study),
        Search(study),
        list_edits,
        Control(study),
        assess,
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Counterfactual, context: Context) -> None:
    """Refuse pairs of unknown or equal classes, and a generator that cannot edit the images."""
    pairs(study, context)
    study.editor.check(context.model, context.manifest.samples[0].payload)


def to_compare(study: Counterfactual, context: Context, known: Known) -> Known:
    """The first cases."""
    return CHOSEN(tuple(dict.fromkeys(explained(known[PLAN].cases)))[:COMPARED])
