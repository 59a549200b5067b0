"""What the regions of a prototype have in common, by what is known of their images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conceptseg.stats.intervals import Floats

LEAST = 0.3
"""Correlation of a prototype with an attribute, on either part, from which it is called by it."""
FEWEST = 5
"""Regions that have the attribute, at least, on either part."""


@dataclass(frozen=True)
class Name:
    """The attribute and value by which a prototype is called, empty for none; of new regions, the
    share of its own and of the class's others that have it."""

    attribute: str = ""
    value: str = ""
    here: float = float("nan")
    elsewhere: float = float("nan")

    @property
    def text(self) -> str:
        return f"{self.attribute}: {self.value}" if self.attribute else ""


def named(
    attributes: Mapping[str, tuple[str, ...]],
    fitted: np.ndarray,
    own: np.ndarray,
    new: np.ndarray,
    inside: np.ndarray,
) -> Name:
    """The attribute whose correlation (phi) with being of the prototype is largest.

    It is chosen on the rows `fitted` [m], of which `own` [m] are the prototype's, and has to be
    borne out by the rows `new` [n], of which `inside` [n] are. A class of one prototype has no name
    to tell it from others.
    """
    if own.all() or not own.any() or inside.all() or not inside.any():
        return Name()
    best, chosen = LEAST, Name()
    for attribute, texts in attributes.items():
        column = np.array(texts)
        for value in np.unique(column[fitted]).tolist():
            first, second = column[fitted] == value, column[new] == value
            if min(first.sum(), second.sum()) < FEWEST:
                continue
            found = phi(own, first)
            if found > best and phi(inside, second) >= LEAST:
                best = found
                chosen = Name(
                    attribute, value, float(second[inside].mean()), float(second[~inside].mean())
                )
    return chosen


def phi(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two properties, bool [m]; 0 where all or none have either."""
    a, b = (_centred(each) for each in (one, other))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _centred(values: np.ndarray) -> Floats:
    return np.asarray(values - values.mean(), np.float64)
