"""What is claimed, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.result.finding import Finding
from conceptseg.study.lcrp.assess import Score
from conceptseg.study.lcrp.tables import card_id, channel_name

if TYPE_CHECKING:
    from conceptseg.report.unit_cards import KnownUnit


def findings(
    scores: Sequence[Score], classes: Sequence[str], known: Mapping[int, KnownUnit]
) -> list[Finding]:
    return [_finding(score, classes, known) for score in scores if score.acts]


def _finding(score: Score, classes: Sequence[str], known: Mapping[int, KnownUnit]) -> Finding:
    name = classes[score.class_id]
    label = known[score.unit].label if score.unit in known else ""
    claim = (
        f"{name} rests on {channel_name(score.unit, label)}, {score.context:.0%} of whose evidence "
        f"lies outside of {name}: {_points(score)}. It holds {score.relevance:.1%} of the class's "
        "relevance in the layer"
    )
    claim += (
        f"; most of it outside lies on {classes[score.seen_on]}." if score.seen_on >= 0 else "."
    )
    if np.isfinite(score.sensitivity):
        low, high = score.sensitivity_ci
        claim += f" Replacing the background changes its relevance by {score.sensitivity:.0%}"
        claim += f" [{low:.0%}, {high:.0%}]." if np.isfinite(low) else "."
    return Finding(
        claim=claim,
        class_=name,
        effect=score.excess,
        ci=score.over_shuffled_ci if score.shuffled else score.over_field_ci,
        p=score.p,
        p_adjusted=score.p_adjusted,
        n=score.images,
        evidence=card_id(name, score.unit),
        details={
            "effect_name": "context score above that of "
            + ("shuffled weights" if score.shuffled else "an even spread"),
            "unit": score.unit,
            "label": label,
            "context": score.context,
            "published": score.top,
            "relevance": score.relevance,
            "sensitivity": score.sensitivity,
        },
    )


def _points(score: Score) -> str:
    """How far a score lies above its baselines."""
    even = f"{100 * score.over_field:.0f}"
    if not score.shuffled:
        return f"{even} points more than spread evenly"
    return (
        f"{100 * score.over_shuffled:.0f} points more than with shuffled weights, {even} more than "
        "spread evenly"
    )
