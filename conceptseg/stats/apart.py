"""Which of many things are shown first: those of different kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apart(*kinds: Sequence[str] | np.ndarray) -> np.ndarray:
    """The places of things in order, but with those in front that are the first of their kind.

    kinds: [m] each, the coarsest first: of `groups, images` the first thing of each group comes
    first, then the first of each further image, then the rest. -> int64 [m]. Frames of one drive
    look alike: a few pictures show more if they are of several drives.
    """
    order = np.zeros(0, np.int64)
    for kind in kinds:
        first = np.sort(np.unique(np.asarray(kind), return_index=True)[1])
        order = np.concatenate([order, first[~np.isin(first, order)]])
    rest = np.arange(len(kinds[0]))
    return np.concatenate([order, rest[~np.isin(rest, order)]])
