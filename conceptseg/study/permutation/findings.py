"""What is claimed, and how surely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg.result.finding import Finding
from conceptseg.study.permutation.assess import Importance
from conceptseg.study.permutation.deltas import Deltas
from conceptseg.study.permutation.features import EVERYTHING, Feature

ALPHA = 0.05


TOLD = 3
"""Parts of each class that findings tell."""


def findings(deltas: Deltas, found: Sequence[Importance], classes: Sequence[str]) -> list[Finding]:
    """Parts that are needed over all classes, and of each class those that it needs most."""
    swaps = [o for o in found if deltas.variants[o.variant].scheme == "swap"]
    conditional = {
        (deltas.variants[o.variant].feature.name, o.class_id): o
        for o in found
        if deltas.variants[o.variant].scheme == "conditional"
    }
    told = []
    needed = [
        o
        for o in swaps
        if o.p_adjusted <= ALPHA and deltas.variants[o.variant].feature.name != EVERYTHING
    ]
    for class_id in dict.fromkeys(o.class_id for o in needed):
        own = sorted((o for o in needed if o.class_id == class_id), key=lambda o: -o.value)
        for one in own if class_id is None else own[:TOLD]:
            feature = deltas.variants[one.variant].feature
            given = conditional.get((feature.name, class_id))
            told.append(_finding(one, feature, given, classes))
    return told


def _finding(
    one: Importance,
    feature: Feature,
    given: Importance | None,
    classes: Sequence[str],
) -> Finding:
    who = "The network" if one.class_id is None else classes[one.class_id]
    claim = (
        f"{who} cannot do without {feature.name}: with another image's in its place, IoU falls by "
        f"{one.value:.3f}"
        + (f" ({one.ratio:.1f} times the loss)" if np.isfinite(one.ratio) else "")
        + "."
    )
    if given is not None:
        claim += (
            f" Given the other channels it falls by {given.value:.3f}"
            + ("" if given.p_adjusted <= ALPHA else ", which is no evidence of need")
            + "."
        )
    return Finding(
        claim=claim,
        class_=None if one.class_id is None else classes[one.class_id],
        effect=one.value,
        ci=(one.low, one.high),
        p=one.p,
        p_adjusted=one.p_adjusted,
        n=one.groups,
        evidence="forest" if one.class_id is None else "by-class",
        details={
            "effect_name": "loss of IoU when exchanged",
            "part": feature.name,
            "conditional": None if given is None else given.value,
        },
    )
