"""Whether relevance on its way from the logits to the image is to be relied on, in words."""

from collections.abc import Sequence

from conceptseg.explain.lrp.flow import Retained

MOST_GROWN = 3.0
"""Absolute relevance at the image over that at the logits, above which a map is to be doubted."""
LEAST_KEPT, MOST_KEPT = 0.3, 1.1
"""The same of the signed sum: less was lost, more was made."""
MOST_SILENT = 0.01
"""Share of absolute relevance on units that say nothing, above which a map is to be doubted."""
MOST_GRID = 0.3
"""Share of a map's energy at a grid's frequencies above which its dots are told."""

NAMED = 3
"""Modules that a sentence names at most."""

PLACES = "places not known"
"""The kind of the sentence on layers that may follow other rules than those of their place."""
CURE = "what else to try"
"""The kind of the sentence that is no doubt, but what to do about the others."""


def doubts(told: Retained, composite: str, grid: float = 0.0) -> dict[str, str]:
    """What speaks against maps under a composite: sentences by kind, none where nothing does."""
    numbers = (told.share, told.growth, told.inner_growth, told.worst[0], told.silent[0])
    return worded(composite, *numbers, grid) | misplaced(told.unplaced)


def misplaced(modules: Sequence[str]) -> dict[str, str]:
    """The sentence on modules whose layers' places are not known, by its kind; none of none."""
    if not modules:
        return {}
    named = ", ".join(repr(name) if name else "the network itself" for name in modules[:NAMED])
    others = len(modules) - NAMED
    more = f" and {others} more" if others > 0 else ""
    sentence = (
        f"Whether layers of {named}{more} are the network's first or last is not known: they did "
        "not run like this in the pass that tells it. They follow the rule of the layers between "
        "the two, or one another's; if one is the first or the last, the map is not the "
        "composite's. Compare with composite: rescale (DeepLIFT), whose rules know no places."
    )
    return {PLACES: sentence}


def worded(
    composite: str,
    share: float,
    growth: float,
    inner: float,
    module: str,
    silent: float,
    grid: float,
) -> dict[str, str]:
    """:func:`doubts` from the numbers: signed share and absolute growth at the image, the largest
    growth within with the module where it is, the largest share on silent units, and the share of
    the map's energy at a grid's frequencies."""
    found: dict[str, str] = {}
    sums = f"its sum is {share:.1%} of the logits', its absolute amount {growth:.3g} times theirs"
    where = f"module {module!r}" if module else "the network itself"
    within = f"up to {inner:.3g} times within, in {where}"
    if growth > MOST_GROWN and LEAST_KEPT <= share <= MOST_KEPT:
        found["cancellation"] = (
            f"Relevance at the image is conserved by cancellation alone: {sums} ({within}). Most "
            "of the map is terms that cancel."
        )
    elif growth > MOST_GROWN or share > MOST_KEPT:
        found["growth"] = f"Relevance grew on its way to the image: {sums} ({within})."
        if inner > MOST_GROWN * max(1.0, growth):
            found["growth"] += (
                " It is largest where the terms of a sum nearly cancel, and fell from there on: "
                "what is shared out is a small remainder, by any rule whose shares add up to it. "
                "Where that is the last layer, a start from centred logits (lcrp: quantity; lrp: "
                "start) leaves out what the classes' logits have in common. Compare with occlusion."
            )
    elif inner > MOST_GROWN * max(1.0, growth):
        found["growth within"] = (
            f"Relevance is magnified inside the network: {within}, of which {growth:.3g} times the "
            "logits' reach the image. Maps of single channels may be terms that cancel."
        )
    if growth < LEAST_KEPT and share < LEAST_KEPT:
        found["little arrives"] = (
            f"Only {growth:.1%} of relevance reached the image; the rest met sums without a "
            "positive part, or biases. The map shows little of the decision."
        )
    if silent > MOST_SILENT:
        found["silent units"] = (
            f"Of a rectifier's relevance up to {silent:.1%} lies on units that are silent, which "
            "say nothing."
        )
    plus = composite == "plus"
    if found and not plus:
        found[CURE] = (
            f"{composite} can make relevance; lrp's composite: plus, which makes none but where "
            "logits cancel, is the safer one."
        )
    if grid > MOST_GRID:
        found["dots on a grid"] = (
            f"{grid:.0%} of the map's energy lies at the frequencies of a grid that dilated or "
            "strided convolutions draw: its dots are the network's, not the image's; look at it "
            "blurred."
        )
    if found and plus:
        found[CURE] = "Compare with composite: rescale (DeepLIFT) and with occlusion."
    return found
