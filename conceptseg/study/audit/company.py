"""What comes with a context in the donors, and so is swapped with it: no swap tells them apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import ContextType
from conceptseg.study.audit.survey import Holdings, arms

TOGETHER = 0.8
"""Share of donors with the context that hold another, less that of those without it, from which
the two count as one."""


@dataclass(frozen=True)
class Company:
    """Other contexts that donors with one hold (`along`), and that those without it hold
    (`instead`)."""

    along: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.along or self.instead)

    @property
    def words(self) -> str:
        """What a verdict says of it."""
        told = [f"{', '.join(self.along)} nearly always come with it"] if self.along else []
        if self.instead:
            told.append(f"{', '.join(self.instead)} nearly always stand in its place")
        return f"in these donors {' and '.join(told)}, so that any of them may be what acts"


def company(
    study: Audit,
    held: Holdings,
    contexts: Sequence[ContextType],
    place: int,
    donors: np.ndarray,
    first: np.ndarray,
) -> Company:
    """Of context `place`, whose donors are rows [m] of what images hold, `first` [m] those with it.

    Donors that neither hold another context nor lack it are left out of its shares.
    """
    along, instead = list[str](), list[str]()
    for other, one in enumerate(contexts):
        if other == place:
            continue
        there, lacking = (kind[donors] for kind in arms(study, held, other, one))
        told = there | lacking
        if not (told & first).any() or not (told & ~first).any():
            continue
        apart = float(there[told & first].mean()) - float(there[told & ~first].mean())
        if apart >= TOGETHER:
            along.append(one.name)
        elif apart <= -TOGETHER:
            instead.append(one.name)
    return Company(tuple(along), tuple(instead))
