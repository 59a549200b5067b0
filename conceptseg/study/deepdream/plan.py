"""The steps of the study, in order."""

from __future__ import annotations

from collections.abc import Sequence

from conceptseg.engine.contract import Carry, Context, Pass
from conceptseg.study.deepdream.config import DeepDream
from conceptseg.study.deepdream.survey import Found, Look
from conceptseg.study.deepdream.travel import Travel
from conceptseg.study.shared.compare import Compare

COMPARED = 4


def to_compare(context: Context, carry: Carry) -> list[tuple[str, int]]:
    """Images for the local saliency maps: one with each target class, where there is one."""
    found: Found = carry["found"]
    classes = dict.fromkeys(route.target for route in found.routes)
    chosen = [(found.holders[c][0], c) for c in classes if found.holders.get(c)]
    return chosen[:COMPARED]


def passes(study: DeepDream) -> Sequence[Pass]:
    return (
        Look(study),
        Travel(study),
        Compare(study.compare, to_compare, study.picture_px),
    )
