"""How a class loses its overlap: by its own pixels that are missed, or by false ones elsewhere.

That a class loses IoU without a concept may mean two things. Its own pixels are no longer found:
then the class needs the concept. Or other places are now called it: then the concept kept the
class off what is not of it, as sky that is recognised keeps building off the sky, and nothing of
the class is found by it. Both are uses, but not the same one, and a sentence must say which.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from conceptseg.stats.estimate import Estimate, Sampling

How = Literal["found", "kept off", "open"]


@dataclass(frozen=True)
class Losing:
    """A loss of IoU in two: `missed`, the part of the class's own pixels, and `false`, that of
    others; with the part of both, by the interval of their difference, that is the larger.

    `how` is "found" where the class's own pixels lose more, "kept off" where false ones do, "open"
    where images do not tell.
    """

    missed: Estimate
    false: Estimate
    how: How

    @classmethod
    def of(cls, change: np.ndarray, right: np.ndarray, sampling: Sampling) -> "Losing":
        """From changes of IoU [m] and the part of each that is of the class's own pixels [m]; nan
        in images without the class."""
        known = np.isfinite(change) & np.isfinite(right)
        change, right = change[known].astype(np.float64), right[known].astype(np.float64)
        own, false = sampling.at(known), change - right
        more = own.mean(right - false)
        how: How = "found" if more.below(0.0) else "kept off" if more.above(0.0) else "open"
        return cls(own.mean(right), own.mean(false), how)

    @property
    def told(self) -> str:
        """Both parts, in a sentence with their numbers; a part that is gained has a minus."""
        own = "missed" if self.missed.value <= 0 else "found"
        others = "called it then" if self.false.value <= 0 else "called it no longer"
        return (
            f"Of that, {_cost(self.missed.value)} is its own pixels, which are {own} then, "
            f"{_cost(self.false.value)} other places, which are {others}."
        )

    def plain(self, found: str, class_name: str, by: str) -> str:
        """`found`, if it is by what it says that the class is found; else what `by` does for it."""
        if self.how == "found":
            return found
        if self.how == "kept off":
            return f"The network keeps {class_name} off what is not {class_name} by {by}."
        return (
            f"The network finds {class_name}, or keeps it off what is not {class_name}, by {by}; "
            "which of both stays open."
        )


def _cost(change: float) -> str:
    """A change of IoU as a cost, without a signed zero."""
    return f"{0.0 - round(change, 2) + 0.0:.2f}"
