"""What a saliency study claims, in words, each claim with its number and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from conceptseg import catalogue
from conceptseg.catalogue import choice_versions
from conceptseg.result.finding import Finding
from conceptseg.study.saliency.judge import Judged
from conceptseg.study.saliency.standing import ALPHA, Difference, Mean, mean

LEAST_UNITS = 5
"""Cases (or groups) without which no method is said to keep its map under shuffled weights."""
Kinds = Mapping[str, catalogue.Entry]
"""Each method's row of the catalogue, by label."""


def better_than_copy(found: Sequence[Difference], kinds: Kinds) -> list[Finding]:
    """Which methods do better than the prediction's own mask; that others do worse, charts show."""
    return [
        _of_difference(
            one,
            f"{one.method} beats a copy of the prediction's mask in {one.metric}, by "
            f"{one.value:.3f} on average over {one.n} cases.",
            "against",
            f"better than the mask copy in {one.metric}",
        )
        for one in _significant(found, kinds)
    ]


def sees_context(judged: Judged, found: Sequence[Difference], kinds: Kinds) -> list[Finding]:
    """Methods whose mass outside the region lies on the known context more than by chance."""
    result = []
    for one in _significant(found, kinds):
        share = float(np.nanmean(judged.of(one.metric)[:, judged.methods.index(one.method)]))
        claim = (
            f"{one.method} sees the known context: of what it marks outside the region, "
            f"{share:.0%} lies there, by chance {share - one.value:.0%}."
        )
        result.append(_of_difference(one, claim, "context", "CBL above chance"))
    return result


def blind(
    insensitive: float, judged: Judged, groups: Sequence[str], seed: int, kinds: Kinds
) -> list[Finding]:
    """Methods whose maps stay alike when the network's weights are shuffled.

    Said of at least `LEAST_UNITS` images or groups: an interval of fewer is no bound.
    """
    result = []
    for metric in choice_versions(judged.metrics, "randomisation"):
        for m, method in enumerate(judged.methods):
            values = judged.of(metric)[:, m]
            known = {groups[i] for i in np.flatnonzero(np.isfinite(values)).tolist()}
            found = mean(values, groups, seed)
            if kinds[method].family == "baseline" or len(known) < LEAST_UNITS:
                continue
            if found.low > insensitive:
                result.append(_of_likeness(found, method, metric))
    return result


def _of_likeness(found: Mean, method: str, metric: str) -> Finding:
    return Finding(
        claim=f"{method} kept a rank correlation of {found.value:.2f} with its own map when the "
        f"network's weights were shuffled, over {found.n} cases: so much of the map does not come "
        "from what was learnt.",
        class_=None,
        effect=found.value,
        ci=(found.low, found.high),
        n=found.n,
        evidence="sanity",
        details={
            "effect_name": f"{metric}: rank correlation with the shuffled network's map",
            "method": method,
        },
    )


def _significant(found: Sequence[Difference], kinds: Kinds) -> list[Difference]:
    """Differences of real methods that are better, significantly so after Holm's correction."""
    return [
        one
        for one in found
        if kinds[one.method].family != "baseline" and one.p_holm <= ALPHA and one.value > 0
    ]


def _of_difference(one: Difference, claim: str, evidence: str, name: str) -> Finding:
    return Finding(
        claim=claim,
        class_=None,
        effect=one.value,
        ci=(one.low, one.high),
        p=one.p,
        p_adjusted=one.p_holm,
        n=one.n,
        evidence=evidence,
        details={"effect_name": name, "method": one.method},
    )
