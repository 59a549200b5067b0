"""What the rest of a layer still reads of a concept once the concept's units are gone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.ranks import auc
from conceptseg.study.dissect.ablate import ablated_sets
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.detect import DETECTION
from conceptseg.study.dissect.kept import Kept
from conceptseg.study.dissect.pilot import PLAN
from conceptseg.study.dissect.tally import KEPT

SIDE = 16
"""Places along each side of the grid on which concepts are read."""
RIDGE = 1e-3
READABLE = 0.75
"""AUROC from which a concept counts as still readable, as a concept of ACE counts as one."""


@dataclass(frozen=True)
class Remaining:
    """AUROC with which a concept is read from the `whole` layer, and without its units, `auc`.

    Where several concepts share their units, of the one that is read best without them. nan where
    the kept images of a half lack the concept or anything else.
    """

    whole: float
    auc: float

    @property
    def told(self) -> str:
        if np.isnan(self.auc):
            return "What the other units hold of it could not be told."
        if self.auc < READABLE:
            return f"The other units hardly read it (AUROC {self.auc:.2f})."
        return (
            f"The other units still read it (AUROC {self.auc:.2f}; all, {self.whole:.2f}), and may "
            "make up for these."
        )


REMAINING: Key[tuple[Remaining, ...]] = Key("remaining", tuple)


def read_what_remains(study: Dissect, context: Context, known: Known) -> Known:
    """For each set of units that is going to be ablated, what the rest of the layer reads."""
    sets = ablated_sets(study, known[DETECTION])
    places = Places.of(Kept.of(known[PLAN], known[KEPT]))
    result = []
    for units, concepts in sets.items():
        rest = np.setdiff1d(np.arange(places.units), units)
        each = [
            Remaining(places.read(one, np.arange(places.units)), places.read(one, rest))
            for one in concepts
        ]
        result.append(max(each, key=lambda one: np.nan_to_num(one.auc)))
    return REMAINING(tuple(result))


@dataclass(frozen=True)
class Places:
    """Values of all live units at places of the kept images, `values` [m, v], standardised.

    `shows` bool [l, m] and `known` bool [l, m] say where a concept is, and is annotated; `learn`
    [m] are those of the half that readers are fitted to, `gram` [v, v] their correlation.
    """

    values: np.ndarray
    shows: np.ndarray
    known: np.ndarray
    learn: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, kept: Kept) -> "Places":
        vocabulary, images = kept.plan.vocabulary, range(len(kept.maps))
        slots = [kept.coarse_slots(i, SIDE) for i in images]
        values = np.concatenate([kept.fields(i, (SIDE, SIDE)).T for i in images])
        shows = np.concatenate([vocabulary.one_hot(one) for one in slots], axis=1)
        known = np.concatenate([vocabulary.annotated(one) for one in slots], axis=1)
        learn = np.repeat(kept.half == 0, SIDE**2)
        mean, spread = values[learn].mean(0), values[learn].std(0)
        values = (values - mean) / np.where(spread > 0, spread, 1)
        gram = values[learn].T @ values[learn] / max(1, learn.sum())
        return cls(values, shows, known[vocabulary.category], learn, gram)

    @property
    def units(self) -> int:
        return self.values.shape[1]

    def read(self, concept: int, units: Sequence[int] | np.ndarray) -> float:
        """AUROC, on the other half, of Fisher's linear discriminant of a concept from some units.

        w = (C + ridge)^-1 (mean where it is - mean where it is not), C the correlation over all
        places. nan where either half lacks one of the two.
        """
        shows, known, units = self.shows[concept], self.known[concept], np.asarray(units, np.int64)
        halves = [half & known for half in (self.learn, ~self.learn)]
        if not len(units) or any(len(np.unique(shows[half])) < 2 for half in halves):
            return float("nan")
        values = self.values[:, units]
        step = values[halves[0] & shows].mean(0) - values[halves[0] & ~shows].mean(0)
        ridge = RIDGE * np.eye(len(units))
        along = values @ np.linalg.solve(self.gram[np.ix_(units, units)] + ridge, step)
        return float(auc(along[halves[1] & shows], along[halves[1] & ~shows]))
