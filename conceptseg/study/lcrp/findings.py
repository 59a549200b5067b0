"""What is claimed, and how surely."""

from collections.abc import Mapping, Sequence

import numpy as np

from conceptseg.report.unit_cards import KnownUnit
from conceptseg.result.finding import Finding
from conceptseg.study.lcrp.assess import Score
from conceptseg.study.lcrp.beyond import BeyondChance
from conceptseg.study.lcrp.tables import channel_name, pair_key


def findings(
    scores: Sequence[Score], classes: Sequence[str], known: Mapping[int, KnownUnit]
) -> list[Finding]:
    return [_finding(score, classes, known) for score in scores if score.acts]


def _finding(score: Score, classes: Sequence[str], known: Mapping[int, KnownUnit]) -> Finding:
    name, changed = classes[score.class_id], score.sensitivity
    label = known[score.unit].label if score.unit in known else ""
    channel = channel_name(score.unit, label)
    claim = (
        f"{channel[:1].upper()}{channel[1:]} speaks for {name}, and {score.context.value:.0%} of "
        f"its evidence lies outside of {name}: {points(score)}. It holds {score.relevance:.1%} of "
        "the class's relevance in the layer"
    )
    claim += (
        f"; most of it outside lies on {classes[score.seen_on]}." if score.seen_on >= 0 else "."
    )
    if np.isfinite(changed.value):
        claim += f" Replacing the background changes its relevance by {changed.value:.0%}"
        claim += f" [{changed.low:.0%}, {changed.high:.0%}]." if changed.ci else "."
    return Finding.about(
        claim,
        score.excess,
        score.test,
        plain=f"Part of what speaks for {name} lies outside of it.",
        evidence=pair_key("unit", name, score.unit),
        class_name=name,
        effect_name="context score above that of "
        + ("shuffled weights" if score.shuffled else "an even spread"),
        unit=score.unit,
        label=label,
        context=score.context.value,
        published=score.top.value,
        relevance=score.relevance,
        sensitivity=changed.value,
        images=score.images,
    )


def points(score: BeyondChance) -> str:
    """How far a share lies above its baselines."""
    even = f"{100 * score.over_field.value:.0f}"
    if not score.shuffled:
        return f"{even} points more than spread evenly"
    return (
        f"{100 * score.over_shuffled.value:.0f} points more than with shuffled weights, {even} "
        "more than spread evenly"
    )
