"""The findings of a permutation study, in words."""

from collections.abc import Sequence

import numpy as np

from conceptseg.result.finding import Finding
from conceptseg.study.permutation.assess import Importance
from conceptseg.study.permutation.config import EVERYTHING, OVERALL

MOST = 3
"""Parts of each class that findings name."""


def findings(importances: Sequence[Importance]) -> list[Finding]:
    """Parts that are needed over all classes, and of each class those that it needs most."""
    given = {
        (one.variant.feature.name, one.class_name): one
        for one in importances
        if one.variant.scheme == "conditional"
    }
    needed: dict[str, list[Importance]] = {}
    for one in claims(importances):
        needed.setdefault(one.class_name, []).append(one)
    return [
        _finding(one, given.get((one.variant.feature.name, name)))
        for name, own in needed.items()
        for one in sorted(own, key=lambda one: -one.loss.value)[: None if name == OVERALL else MOST]
    ]


def claims(importances: Sequence[Importance]) -> list[Importance]:
    """The parts that were shown to be needed: with another image's in their place.

    The interval has to lie above no loss as well: it also allows for images that none of these
    shows, of which the test knows nothing.
    """
    return [
        one
        for one in importances
        if one.variant.scheme == "swap"
        and one.test.passed
        and one.loss.above(0.0)
        and one.variant.feature.name != EVERYTHING
    ]


def name_first(name: str) -> str:
    """The name of a class as the first word of a sentence."""
    return name[:1].upper() + name[1:]


def _finding(one: Importance, given: Importance | None) -> Finding:
    part, overall = one.variant.feature.name, one.class_name == OVERALL
    claim = (
        f"{'The network' if overall else one.class_name} needs the image's own {part}: with "
        f"another image's in its place, IoU falls by {one.loss.value:.3f}"
    )
    if np.isfinite(one.ratio):
        claim += f" (1 - IoU becomes {one.ratio:.1f} times what it was)"
    claim += "."
    if given is not None:
        change = f"it changes by {-given.loss.value:+.3f}"
        shown = given.test.passed and given.loss.above(0.0)
        doubt = "" if shown else ", which was not shown to be a loss"
        claim += f" Given the other channels, {change}{doubt}."
    return Finding.about(
        claim,
        one.loss,
        one.test,
        plain=f"{'The network' if overall else name_first(one.class_name)} needs the image's own "
        f"{part}.",
        class_name=None if overall else one.class_name,
        evidence="forest" if overall else "by-class",
        effect_name="loss of IoU when exchanged",
        part=part,
        conditional=None if given is None else given.loss.value,
    )
