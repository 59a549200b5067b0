"""What is claimed, and how surely."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conceptseg.result.finding import Finding
from conceptseg.study.ace.assess import Pair
from conceptseg.study.ace.discovery import Discovery
from conceptseg.study.ace.pool import TAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conceptseg.study.ace.config import Ace


def findings(
    study: Ace,
    found: Discovery,
    pairs: Sequence[Pair],
    classes: Sequence[str],
    names: Sequence[str],
) -> list[Finding]:
    result = []
    for pair in pairs:
        if not pair.used:
            continue
        concept = found.concepts[pair.concept]
        result.append(
            Finding(
                claim=claim(pair, concept.name, classes[pair.class_id], names[pair.concept]),
                class_=classes[pair.class_id],
                effect=pair.loss,
                ci=pair.loss_ci,
                p=pair.p,
                p_adjusted=pair.p_holm,
                n=pair.erased_images,
                evidence=concept.id,
                details={
                    "effect_name": "change of IoU when the concept is erased",
                    "concept": concept.number,
                    "from_context": pair.from_context,
                    "outside_loss": pair.outside_loss,
                    "tcav": pair.tcav,
                    "score_change": pair.moves,
                },
            )
        )
    return result


def claim(pair: Pair, concept: str, class_name: str, seen_on: str) -> str:
    place = max(TAGS, key=lambda tag: np.nan_to_num(getattr(pair, tag)))
    where = {
        "inside": "inside the class's own region",
        "ring": "right around the class's own region",
        "elsewhere": "away from the class's own region",
    }[place]
    share = getattr(pair, place)
    lies = "in images without the class" if np.isnan(share) else f"{share:.0%} of it {where}"
    claim = (
        f"{class_name} uses {concept}, which lies on {seen_on}, {lies}. Erasing it costs the class "
        f"{cost(pair.loss)} IoU; erasing random directions costs {cost(pair.null_loss)}."
    )
    if pair.from_context:
        claim += (
            " It acts from context: erased outside the class's own region alone, it still costs "
            f"{cost(pair.outside_loss)}."
        )
    return claim


def cost(change: float) -> str:
    """A change of IoU as a cost, without a signed zero."""
    return f"{max(0.0, -change):.2f}"
