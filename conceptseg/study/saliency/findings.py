"""What a saliency study claims, in words, each claim with its number and how sure it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg import catalogue
from conceptseg.catalogue import choice_versions
from conceptseg.result.finding import Finding
from conceptseg.stats.family import Test
from conceptseg.study.saliency.standing import KNOWN, MASK_COPY, Difference, Mean, Standing

ALIKE = 0.9
"""Rank correlation with the shuffled network's map, from which on maps are nearly the same."""
Kinds = Mapping[str, catalogue.Entry]
"""Each method's row of the catalogue, by label."""


def findings(standing: Standing, primary: str, insensitive: float, kinds: Kinds) -> list[Finding]:
    """All claims about the methods in `kinds`; of trivial maps none is made."""
    real = {method for method, kind in kinds.items() if kind.family != "baseline"}
    tested = [one for one in standing.against if one.method in real]
    kept = [one for one in standing.means if one.method in real]
    return [
        *better_than_copy(tested, primary),
        *blind(kept, insensitive),
        *sees_context(tested, kept),
    ]


def better_than_copy(tested: Sequence[Difference], primary: str) -> list[Finding]:
    """Which methods do better than the prediction's own mask; that others do worse, charts show."""
    return [
        _about(
            one,
            f"{one.method} beats a copy of the prediction's mask in {primary}, by "
            f"{one.estimate.value:.3f} on average over {one.cases} cases.",
            one.test,
            plain=f"{one.method} tells more than a copy of the prediction would.",
            evidence="against",
            effect_name=f"better than the mask copy in {primary}",
        )
        for one in tested
        if (one.metric, one.reference) == (primary, MASK_COPY) and _better(one)
    ]


def sees_context(tested: Sequence[Difference], means: Sequence[Mean]) -> list[Finding]:
    """Methods whose mass outside the region lies on the known context more than by chance."""
    share = {(one.method, one.metric): one.estimate.value for one in means}
    return [
        _about(
            one,
            f"{one.method} sees the known context: {share[one.method, one.metric]:.0%} of what it "
            "marks outside the region lies there; by chance "
            f"{share[one.method, one.metric] - one.estimate.value:.0%} would.",
            one.test,
            plain=f"{one.method} marks the known context more than chance would.",
            evidence="context",
            effect_name="CBL above chance",
        )
        for one in tested
        if one.reference == KNOWN and _better(one)
    ]


def blind(means: Sequence[Mean], insensitive: float) -> list[Finding]:
    """Methods whose maps stay alike when the network's weights are shuffled.

    The interval decides, so nothing is said of images or groups too few for one.
    """
    names = choice_versions(dict.fromkeys(one.metric for one in means), "randomisation")
    return [
        _about(
            one,
            f"{one.method} kept a rank correlation of {one.estimate.value:.2f} with its own map "
            f"when the network's weights were shuffled, over {one.cases} cases: so much of the map "
            "does not come from what the network has learnt.",
            null=insensitive,
            plain=_kept_in_words(one),
            evidence="sanity",
            effect_name=f"{one.metric}: rank correlation with the shuffled network's map",
        )
        for one in means
        if one.metric in names and one.estimate.above(insensitive)
    ]


def _kept_in_words(one: Mean) -> str:
    """What is said of a method whose maps stay alike: of nearly equal ones, what was seen.

    Maps of most methods follow the image's edges, so that some correlation is left for all. Of a
    few cases no interval lies above `ALIKE`; so it is not said how little such maps depend.
    """
    if one.estimate.value >= ALIKE:
        return f"Maps of {one.method} hardly changed when the network's weights were shuffled."
    return f"Maps of {one.method} depend only in part on what the network has learnt."


def _better(one: Difference) -> bool:
    return one.test.passed and one.estimate.value > 0


def _about(one: Mean, claim: str, test: Test | None = None, **said: Any) -> Finding:
    return Finding.about(claim, one.estimate, test, method=one.method, cases=one.cases, **said)
