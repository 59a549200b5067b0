"""A result's findings as a page shows them: numbered, those that say the same as one, with links.

A finding has an id, `finding-3`, and its evidence an own target, `evidence-3`, from which a link
leads back. Findings that are alike in plain words and in how sure they are stand as one item, in
the place of the first of them, with their numbers below it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conceptseg.report.blocks import Picture
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.stats.apart import apart

PICTURES = 6
"""Pictures of a finding, at most."""

Illustrate = Callable[[Finding, Sequence[Picture]], Sequence[Picture]]
"""The pictures of a finding, of which those of the card that is its evidence are given."""


def groups(result: Result) -> list[list[tuple[int, Finding]]]:
    """Findings with their numbers from 1, by what they say, in the order of the first of each."""
    found: dict[Any, list[tuple[int, Finding]]] = {}
    for number, finding in enumerate(result.findings, start=1):
        said = (finding.plain, finding.standing) if finding.plain else number
        found.setdefault(said, []).append((number, finding))
    return list(found.values())


def reaches(findings: Sequence[Finding]) -> dict[str, float]:
    """How far effects with their intervals reach from zero, by what they measure."""
    reach: dict[str, float] = {}
    for finding in findings:
        name = effect_name(finding)
        ends = [abs(end) for end in (finding.effect or 0.0, *(finding.ci or ()))]
        reach[name] = max(reach.get(name, 0.0), *ends)
    return reach


def effect_name(finding: Finding) -> str:
    """What the effect of a finding measures."""
    return str(finding.details.get("effect_name", "effect"))


def numbers(number: int, finding: Finding, reach: Mapping[str, float]) -> dict[str, Any]:
    """A finding, and a drawing of its interval on the scale of its kind of effect."""
    name = effect_name(finding)
    return {
        "it": finding,
        "number": number,
        "effect_name": name,
        "weak": finding.standing in ("no evidence", "not testable"),
        "bar": _interval_bar(finding, reach[name] or 1.0),
        "link": None,
    }


def pictures(
    members: Sequence[tuple[int, Finding]],
    illustrate: Illustrate | None,
    cards: Mapping[str, Sequence[Picture]],
) -> list[Picture]:
    """At most six pictures of a finding; of several one of each in turn, until there are six.

    Those of photos that were not shown yet come first. Without the report's own choice,
    `illustrate`, they are those of the card, by its anchor, that is the evidence.
    """
    each = []
    for _, finding in members:
        own = list(_own(finding, illustrate, cards))
        each.append([own[place] for place in apart([one.key for one in own]).tolist()])
    taken: dict[tuple[str, tuple[str, ...]], Picture] = {}
    for place in range(PICTURES):
        for own in each:
            if place < len(own) and len(taken) < PICTURES:
                taken.setdefault((own[place].key, own[place].outlines), own[place])
    return list(taken.values())


def _own(
    finding: Finding, illustrate: Illustrate | None, cards: Mapping[str, Sequence[Picture]]
) -> Sequence[Picture]:
    card = cards.get(finding.evidence, ())
    return card if illustrate is None else illustrate(finding, card)


def _interval_bar(finding: Finding, reach: float) -> dict[str, float] | None:
    """Where the interval's parts lie on a line from 0 to 100, zero in the middle."""
    if finding.effect is None:
        return None
    low, high = finding.ci or (finding.effect, finding.effect)
    place = [round(50 + 46 * value / reach, 2) for value in (low, finding.effect, high)]
    return dict(zip(("low", "at", "high"), place, strict=True))
