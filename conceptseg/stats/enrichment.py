"""Which values of metadata are frequent among the images of a set: a cluster, or a concept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.stats.corrections import benjamini_hochberg


@dataclass(frozen=True)
class Enriched:
    """One set and one value of a column, in groups: `both` in the set and with the value.

    `inside` are in the set, `having` have the value, of `n`. `p` is Fisher's, one-sided for "more
    frequent in the set", `p_adjusted` corrected over all sets and values.
    """

    set_name: str
    column: str
    value: str
    both: int
    inside: int
    having: int
    n: int
    p: float
    p_adjusted: float = 1.0

    @property
    def share_inside(self) -> float:
        return self.both / max(self.inside, 1)

    @property
    def share_outside(self) -> float:
        return (self.having - self.both) / max(self.n - self.inside, 1)

    @property
    def share(self) -> float:
        return self.having / max(self.n, 1)


def enriched(
    sets: Mapping[str, np.ndarray],
    metadata: Mapping[str, Sequence[str]],
    groups: Sequence[str],
    most: float | None = 0.5,
) -> list[Enriched]:
    """Every set (booleans [n], by name) with every value, in their order; groups [n] are counted.

    Images of a group are no further evidence: it has a value if more than half of its images do,
    and is in a set if more than the share `most` of them are. With None it is if more of them are
    than of all images, for sets that hold a few images of many.

    Benjamini & Hochberg's correction.
    """
    from scipy.stats import hypergeom

    place = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)[1]
    size = np.bincount(place)

    def counted(where: np.ndarray, least: float) -> np.ndarray:
        # Shares are compared as counts: equal ones must not differ by rounding.
        return np.bincount(place, where) > least * size + 1e-9

    having = {
        (column, value): counted(np.array([one == value for one in values]), 0.5)
        for column, values in metadata.items()
        for value in sorted(set(values))
    }
    found = []
    for name, members in sets.items():
        inside = counted(members, float(members.mean()) if most is None else most)
        for (column, value), has in having.items():
            both, held, own, n = (
                int(rows.sum()) for rows in (inside & has, inside, has, np.ones_like(has))
            )
            # Fisher's exact test: as many of `own` drawn from n, of which `held` are inside.
            p = float(hypergeom.sf(both - 1, n, held, own))
            found.append(Enriched(name, column, value, both, held, own, n, p))
    adjusted = benjamini_hochberg([one.p for one in found]).tolist()
    return [replace(one, p_adjusted=p) for one, p in zip(found, adjusted, strict=True)]
