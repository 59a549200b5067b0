"""What exchanges changed, as gathered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.engine.known import Key
from conceptseg.stats.intervals import finite_mean
from conceptseg.study.permutation.survey import Variant


@dataclass(frozen=True)
class Deltas:
    """What exchanges cost, in the order of the ids.

    `clean` [n, k] is 1 - IoU without any exchange, nan where an image lacks the class, and
    `overlap` [n, v, r, k] its rise by variant and repeat, nan for repeats that were not made.
    `extra_clean` [n, 2, k] and `extra` [n, v, 2, k] are the same of likelihood and borders, the
    mean over their repeats.
    """

    ids: tuple[str, ...]
    variants: tuple[Variant, ...]
    clean: np.ndarray
    overlap: np.ndarray
    extra_clean: np.ndarray
    extra: np.ndarray

    def rises(self, place: int, class_ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Rows [m] of the images that hold one of the classes, and the mean rise over their classes
        in each exchange that was made, [m, r]."""
        made = np.isfinite(self.overlap[:, place]).any((0, 2))
        values = finite_mean(self.overlap[:, place][:, made][..., list(class_ids)], 2)
        rows = np.flatnonzero(np.isfinite(values).all(1))
        return rows, values[rows]


DELTAS = Key("deltas", Deltas)
