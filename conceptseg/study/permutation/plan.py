"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg.engine.contract import Carry, Context, Pass
from conceptseg.study.permutation.config import Permutation
from conceptseg.study.permutation.deltas import Deltas
from conceptseg.study.permutation.permute import Pairs, Permute, Race
from conceptseg.study.permutation.pictures import Pictures
from conceptseg.study.permutation.survey import Survey
from conceptseg.study.shared.compare import Compare

COMPARED = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: of each class, that which exchanges change most."""
    deltas: Deltas = carry["deltas"]
    change = np.nan_to_num(np.abs(deltas.overlap)).mean((1, 2))
    found = []
    ground = context.manifest.background
    for class_id, name in enumerate(context.model.classes):
        held = np.isfinite(deltas.clean[:, class_id])
        # Saliency is taken of the predicted region, so the class has to be found at all.
        held &= np.nan_to_num(deltas.clean[:, class_id], nan=1.0) < 0.9
        if name != ground and held.any():
            row = int(np.argmax(np.where(held, change[:, class_id], -1.0)))
            found.append((float(change[row, class_id]), deltas.ids[row], class_id))
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    return [(sample_id, class_id) for _, sample_id, class_id in found[:COMPARED]]


def passes(study: Permutation) -> Sequence[Pass]:
    return (
        Survey(study),
        Permute(study),
        Race(study),
        Pairs(study),
        Pictures(study),
        Compare(study.compare, to_compare, study.picture_px),
    )
