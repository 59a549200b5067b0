"""The direction that ACE learnt of a concept, where that is the context."""

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.network.levels import Levels
from conceptseg.study.audit.case import Case
from conceptseg.study.audit.found import FOUND
from conceptseg.study.audit.removals.contract import Ablation, Kind, Learnt, Removal
from conceptseg.study.audit.removals.direction import Direction, random_directions


class Concept(Kind):
    """A concept's own vector, in the layer in which it was found, down to where it is absent.

    No image of the audit chose it: those that the ACE run looked at are left out of all of it.
    """

    name, noun = "concept", "its direction"

    def applies(self, case: Case, known: Known) -> bool:
        return case.context.kind == "concept"

    def layer(self, context: Context, known: Known) -> Levels:
        return Levels.of(known[FOUND][0].layer)

    def removal(
        self, one: Ablation, case: Case, learnt: Learnt, known: Known, rng: np.random.Generator
    ) -> Removal | str:
        found = known[FOUND][0]
        place = found.names.index(case.context.name)
        length = float(np.linalg.norm(found.vectors[place]))
        if not length > 0:
            return "its vector is zero"
        vector = found.vectors[place].astype(np.float64) / length
        null = random_directions(learnt.cells, vector, one.random, rng)
        what = f"ACE's direction of {case.context.name}"
        return Direction(what, vector, float(found.absent[place]) / length, null)
