"""The steps of a graph study, in order."""

from conceptseg.engine.contract import Context, Step
from conceptseg.engine.known import Known
from conceptseg.study.graph.assess import assess
from conceptseg.study.graph.atoms import CELLS, CLASSES, Gather, find_atoms, settle, split
from conceptseg.study.graph.config import Graph
from conceptseg.study.graph.naming import name_atoms
from conceptseg.study.graph.pictures import Pictures, choose_exemplars
from conceptseg.study.graph.screen import Screen
from conceptseg.study.graph.verify import Verify, choose_ways
from conceptseg.study.shared.compare import CHOSEN, Compare

COMPARED = 4


def steps(study: Graph) -> tuple[Step, ...]:
    """Units are grouped, ways between groups screened by gradients, and the best carried out."""
    return (
        settle,
        Gather(study),
        split,
        find_atoms,
        Screen(study),
        name_atoms,
        choose_ways,
        Verify(study),
        assess,
        choose_exemplars,
        Pictures(study),
        to_compare,
        Compare(study.compare, picture_px=study.picture_px),
    )


def check(study: Graph, context: Context) -> None:
    """Refuse layers that cannot be ordered, or are too few."""
    settle(study, context, Known())


def to_compare(study: Graph, context: Context, known: Known) -> Known:
    """The first image of each of the first classes."""
    tables = sorted(known[CELLS].tables.items())
    chosen = [
        next(((name, c) for name, own in tables if c in own["held"]), None)
        for c in known[CLASSES][:COMPARED]
    ]
    return CHOSEN(tuple(one for one in chosen if one is not None))
