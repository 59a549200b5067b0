"""Which layers may be the one where a network's decision is looked at, by structure alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from conceptseg.network.bottleneck import Seen, around, side_branches, size_of

VISITS = 3
"""Of one level, how many of the network's visits are looked at: the last ones."""
AT_THE_END = 3
"""Of one visit, how many modules are looked at: the last ones that are wide enough."""
EARLY = 0.02
"""Share of the network's weights up to which what ran on the finest grid is the image still."""


@dataclass(frozen=True)
class Candidate:
    """A module that may be chosen: its level, and which visit to it, counted over the network.

    A visit is a stretch of the pass on one level: a U-Net visits each level but the coarsest twice,
    two in a row four times. `place` counts from the visit's end, 0 for its last module. `early` is
    what ran on the finest grid with hardly any (`EARLY`) of the weights: the decision always passes
    it as a whole, as it does the image, and it says nothing of how the decision came to be.
    """

    name: str
    level: int
    visit: int
    place: int
    shape: tuple[int, int, int]
    early: bool = False


def candidates(
    seen: dict[str, Seen], sizes: dict[nn.Module, int], scores: int
) -> tuple[Candidate, ...]:
    """The candidates in the order in which they end; `scores` is the number of class maps.

    Modules that put out one map, that run once and have weights (where there are such), containers
    before their contents on the same level. Left out are side branches
    (:func:`conceptseg.network.bottleneck.side_branches`), what holds all weights, single channels
    (concepts are directions of several) and class scores: modules with as many channels as there
    are class maps, in a network that is wider elsewhere or with no weights after them. Of each
    visit to a level those count that have at least half the channels of its widest module (a head
    narrows, so that it is told from what comes before it), the last three; of each level the last
    three visits.
    """
    maps = {name: call for name, call in seen.items() if call.shape and call.plain}
    ran = sum(sizes.get(call.module, 0) for call in seen.values())
    weights = {name: size_of(call.module, sizes) for name, call in maps.items()}
    widest = max((_width(call) for call in maps.values()), default=0)
    last = max((name for name in maps if weights[name]), key=lambda n: maps[n].ended, default="")
    aside = side_branches(maps, sizes)
    kept = {
        name: call
        for name, call in maps.items()
        if name not in aside
        and not 0 < ran == weights[name]
        and not (_width(call) == scores and (scores < widest or f"{last}.".startswith(f"{name}.")))
    }
    kept = {name: call for name, call in kept.items() if call.calls == 1} or kept
    kept = {name: call for name, call in kept.items() if weights[name]} or kept
    kept = {name: call for name, call in kept.items() if _width(call) > 1} or kept
    outer = sorted(
        (n for n in kept if not _within_another(n, kept)), key=lambda name: kept[name].ended
    )
    visits: list[list[str]] = []
    for name in outer:
        if not visits or kept[visits[-1][-1]].level != kept[name].level:
            visits.append([])
        visits[-1].append(name)
    found = []
    for number, names in enumerate(visits):
        level = kept[names[0]].level
        later = sum(kept[other[0]].level == level for other in visits[number + 1 :])
        half = max(_width(kept[name]) for name in names) / 2
        wide = [name for name in names if _width(kept[name]) >= half]
        if later < VISITS:
            for place, name in enumerate(reversed(wide[-AT_THE_END:])):
                found.append(Candidate(name, level, number, place, kept[name].shape or (0, 0, 0)))
    finest = min((call.level for call in maps.values()), default=0)
    before = {
        one.name: sum(
            sizes.get(c.module, 0) for c in seen.values() if c.ended <= kept[one.name].ended
        )
        for one in found
    }
    found = [
        replace(one, early=one.level == finest and before[one.name] <= EARLY * ran)
        for one in sorted(found, key=lambda one: kept[one.name].ended)
    ]
    alone = all(one.early for one in found)
    return tuple(replace(one, early=False) if alone else one for one in found)


def _within_another(name: str, kept: dict[str, Seen]) -> bool:
    """Whether a module lies within another candidate of its level."""
    level = kept[name].level
    return any(scope in kept and kept[scope].level == level for scope in around(name))


def _width(call: Seen) -> int:
    return call.shape[0] if call.shape else 0
