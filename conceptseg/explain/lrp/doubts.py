"""Whether relevance on its way from the logits to the image is to be relied on, in words."""

from conceptseg.explain.lrp.flow import Retained

MOST_GROWN = 3.0
"""Absolute relevance at the image over that at the logits, above which a map is to be doubted."""
LEAST_KEPT, MOST_KEPT = 0.3, 1.1
"""The same of the signed sum: less was lost, more was made."""
MOST_SILENT = 0.01
"""Share of absolute relevance on units that say nothing, above which a map is to be doubted."""


def doubts(told: Retained, composite: str) -> tuple[str, ...]:
    """What speaks against maps under a composite: sentences, none where nothing does."""
    return worded(
        composite, told.share, told.growth, told.inner_growth, told.worst[0], told.silent[0]
    )


def worded(
    composite: str, share: float, growth: float, inner: float, module: str, silent: float
) -> tuple[str, ...]:
    """:func:`doubts` from the numbers: signed share and absolute growth at the image, the largest
    growth within with the module where it is, and the largest share on silent units."""
    found = []
    sums = f"its sum is {share:.1%} of the logits', its absolute amount {growth:.3g} times theirs"
    within = f"up to {inner:.3g} times within, in module {module!r}"
    if growth > MOST_GROWN and LEAST_KEPT <= share <= MOST_KEPT:
        found.append(
            f"Relevance at the image is conserved by cancellation alone: {sums} ({within}). What "
            "the map shows are terms that cancel; do not rely on it."
        )
    elif growth > MOST_GROWN or share > MOST_KEPT:
        found.append(
            f"Relevance grew on its way to the image: {sums} ({within}). Do not rely on the map."
        )
    elif inner > MOST_GROWN * max(1.0, growth):
        found.append(
            f"Relevance is magnified inside the network: {within}, of which {growth:.3g} times the "
            "logits' reach the image. Maps of single channels may be terms that cancel."
        )
    if growth < LEAST_KEPT:
        found.append(
            f"Only {growth:.1%} of relevance reached the image; the rest met sums without a "
            "positive part, or biases. The map shows little of the decision."
        )
    if silent > MOST_SILENT:
        found.append(
            f"Of a rectifier's relevance up to {silent:.1%} lies on units that are silent, which "
            "say nothing."
        )
    if found and composite not in ("epsilon_plus", "epsilon_plus_flat"):
        found.append(
            f"composite: {composite} can make relevance; epsilon_plus, which makes none but where "
            "logits cancel, is the safer one."
        )
    elif found:
        found.append("Compare with composite: rescale (DeepLIFT) and with occlusion.")
    return tuple(found)
