"""What is claimed of classes and concepts."""

from collections.abc import Mapping, Sequence

import numpy as np

from conceptseg.result.finding import Finding
from conceptseg.result.verdict import listed
from conceptseg.study.ace.assess import Pair
from conceptseg.study.ace.discovery import Discovery
from conceptseg.study.ace.naming import named
from conceptseg.study.ace.pool import MOSTLY

ALIKE = 0.8
"""Cosine of two directions from which on they are hardly two: erasing either takes most of the
other, at least 0.64 of its square."""


def findings(
    discovery: Discovery,
    pairs: Sequence[Pair],
    classes: Sequence[str],
    names: Sequence[str],
    words: Mapping[int, str],
) -> list[Finding]:
    """The uses; `names` say what each concept is seen on, `words` what some are called."""
    result = []
    called = [named(one.number, one.label, words.get(one.number, "")) for one in discovery.concepts]
    for pair in pairs:
        if pair.used:
            concept, class_name = discovery.concepts[pair.concept], classes[pair.class_id]
            own, near = called[pair.concept], alike(discovery, pair, pairs)
            finding = Finding.about(
                claim(pair, own, class_name, names[pair.concept]) + _alike_told(near, called),
                pair.loss,
                pair.test,
                plain=_much_the_same(plain(pair, own, class_name), [called[k] for k in near]),
                evidence=concept.id,
                class_name=class_name,
                effect_name="change of IoU when the concept is erased",
                concept=concept.number,
                alike=[discovery.concepts[k].number for k in near],
                erased_images=pair.erased_images,
                from_context=pair.from_context,
                reached=pair.reached,
                verdict=pair.verdict,
                missed=pair.how.missed.value,
                false=pair.how.false.value,
                how=pair.how.how,
                outside_loss=pair.outside.value if pair.outside else None,
                tcav=pair.local.tcav,
                score_change=pair.moves.value,
            )
            result.append(finding)
    return result


def alike(discovery: Discovery, pair: Pair, pairs: Sequence[Pair]) -> dict[int, float]:
    """Of the class's uses that cost it more, those along nearly the same direction, or its
    opposite: the cosine by the concept's place."""
    own = discovery.concepts[pair.concept].direction.vector
    found: dict[int, float] = {}
    for other in sorted(pairs, key=lambda one: (one.loss.value, one.concept)):
        if other.class_id != pair.class_id or not other.used:
            continue
        if other.concept == pair.concept:
            break
        cosine = float(own @ discovery.concepts[other.concept].direction.vector)
        if abs(cosine) >= ALIKE:
            found[other.concept] = cosine
    return found


def _alike_told(near: Mapping[int, float], called: Sequence[str]) -> str:
    """What follows from a direction that others of the class's uses have as well."""
    if not near:
        return ""
    each = [
        f"{'that' if cosine > 0 else 'the opposite'} of {called[place]} (cosine {cosine:.2f})"
        for place, cosine in near.items()
    ]
    count = "two" if len(each) == 1 else str(len(each) + 1)
    return (
        f" Its direction is nearly {listed(each)}: erasing one takes most of the "
        f"other{'' if len(each) == 1 else 's'}, so these are hardly {count} uses."
    )


def _much_the_same(said: str, others: Sequence[str]) -> str:
    return f"{said.removesuffix('.')}; much the same as by {listed(others)}." if others else said


def plain(pair: Pair, concept: str, class_name: str) -> str:
    """A use without numbers: what the class is found by, or kept off others by, and whether that is
    beside it."""
    if pair.how.how != "found":
        outside = np.nan_to_num(pair.where["elsewhere"]) >= MOSTLY
        return pair.how.plain(
            "", class_name, f"{concept}, which lies outside of it" if outside else concept
        )
    if pair.from_context:
        return f"The network finds {class_name} by {concept}, which lies outside of it."
    if pair.from_context is False:
        return f"The network finds {class_name} by {concept}, {_own(pair, class_name)}."
    # Where nothing could act from outside that is so of the layer, and the verdict says it once.
    rest = "" if pair.reached < MOSTLY else "; whether from outside of it stays open"
    return f"The network finds {class_name} by {concept}{rest}."


def _own(pair: Pair, class_name: str) -> str:
    """Of a use that does not act from context, by where the concept lies."""
    return {
        "inside": f"which is of {class_name} itself",
        "ring": "which lies right around it",
        "elsewhere": "though hardly by what of that lies outside of it",
    }[_mostly(pair)]


def _mostly(pair: Pair) -> str:
    """Where the most of a concept lies."""
    return max(WHERE, key=lambda tag: np.nan_to_num(pair.where[tag]))


WHERE = {
    "inside": "inside the class's own region",
    "ring": "right around the class's own region",
    "elsewhere": "away from the class's own region",
}


def claim(pair: Pair, concept: str, class_name: str, seen_on: str) -> str:
    place = max(WHERE, key=lambda tag: np.nan_to_num(pair.where[tag]))
    share = pair.where[place]
    lies = f"in images with the class {share:.0%} of its segments lie {WHERE[place]}"
    if np.isnan(share):
        lies = "it was found in images without the class alone"
    claim = (
        f"{class_name} uses {concept}, which lies on {seen_on}; {lies}. Erasing it costs the class "
        f"{cost(pair.loss.value)} IoU; erasing random directions costs {cost(pair.null_loss)}. "
        f"{pair.how.told}"
    )
    if not np.isnan(pair.p_apart):
        claim += (
            " Random directions of a layer of so few things hold part of it; what they hold beside "
            f"it costs {cost(pair.apart_loss)}."
        )
    return f"{claim} {_from_context(pair)}"


def _from_context(pair: Pair) -> str:
    """Whether a use acts from context, in a sentence."""
    if pair.outside is None or np.isnan(pair.outside.value):
        return "Whether it acts from context was not tested."
    there = f"erased away from the class alone, it costs {cost(pair.outside.value)}"
    if pair.how.how == "found" and pair.outside_missed is not None:
        own = cost(pair.outside_missed.value)
        there += "" if own == cost(pair.outside.value) else f", {own} in its own pixels"
    if pair.from_context:
        return f"It acts from context: {there.replace('it costs', 'it still costs')}."
    if pair.from_context is False:
        return f"Less than half of that is context: {there}."
    if pair.reached < MOSTLY:
        return (
            "Whether it acts from context cannot be told at this layer: what it holds away from "
            f"the class acts on {pair.reached:.0%} of the class's pixels; {there}."
            + (
                " Right around the class edge and context are one."
                if _mostly(pair) == "ring"
                else ""
            )
        )
    if pair.where["inside"] + pair.where["ring"] > pair.where["elsewhere"]:
        near = "it lies in the class or right around it, where edge and context are one"
        return f"Whether it acts from context stays open: {near}; {there}."
    return f"Whether it acts from context stays open: {there}."


def cost(change: float) -> str:
    """A change of IoU as a cost, without a signed zero."""
    return f"{max(0.0, -change):.2f}"
