"""What exchanges changed, as gathered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
