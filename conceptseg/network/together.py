"""Which layers carry the decision together, where no single one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from conceptseg.network.bottleneck import around
from conceptseg.network.candidates import Candidate
from conceptseg.network.contest import SHARE, SURE, Contest, Weighed, number, weighed
from conceptseg.network.contest import lost as in_all
from conceptseg.network.levels import Levels

Lost = Callable[[tuple[str, ...]], float]
"""Layers -> what is lost when all of them are set to their means, 0 to 1."""
Holds = Callable[[tuple[str, ...]], bool]
"""Layers -> whether as much is lost when images get each other's outputs of all of them."""
TOGETHER = 8
"""Images on which layers are sought that carry the decision together."""


def carried(
    able: Sequence[Candidate], layer: str, contest: Contest, known: dict[str, Weighed]
) -> tuple[tuple[str, ...], float]:
    """The layers that `layers: auto` takes, added to `known`, and what all candidates lose, early
    ones too.

    Where a single one on a coarser grid than the finest carries the decision, no others are asked.
    """
    by, every = contest.by, tuple(one.name for one in able)
    best = number(known[contest.best or layer].without, by)
    here = contest.asked(contest.every, contest.weigher.images)
    own = in_all(here.without(*every), by)
    whole = max(own, in_all(here.without(*contest.early, *every), by))
    coarse = known[layer].level > min(one.level for one in able)
    if len(able) == 1 or (coarse and best >= SHARE * whole):
        return (layer,), whole
    weigher = contest.asked(every, TOGETHER)
    held: dict[tuple[str, ...], float] = {}
    if weigher is contest.weigher:
        held = {(name,): number(one.worth, by) for name, one in contest.losses.items()}
        held[every] = own

    def lost(names: tuple[str, ...]) -> float:
        names = tuple(name for name in every if name in names)
        if names not in held:
            held[names] = in_all(weigher.without(*names), by)
        return held[names]

    def holds(names: tuple[str, ...]) -> bool:
        both = [weigher.exchanged(*layers) for layers in (names, every) if weigher.several]
        own, all_of_them = (in_all(one, by) for one in both or (None, None))
        return own >= SURE * all_of_them

    levels = together(able, layer, SHARE * lost(every), lost, holds)
    if len(levels) > 1:
        joint = contest.asked(levels, contest.weigher.images)
        losses = joint.without(*levels)
        if losses is None:
            return (layer,), whole
        one = weighed(Levels(levels), joint, losses, by)
        known[one.name] = one
    return levels, whole


def together(
    found: Sequence[Candidate], layer: str, bar: float, lost: Lost, holds: Holds
) -> tuple[str, ...]:
    """The layers that `layers: auto` takes, in the order in which they end; often one.

    The rule: what carries the decision loses at least `bar`, nine tenths of what is lost without
    all candidates at once. Candidates on coarser grids than the finest are asked first, then all:
    a layer on the finest grid, just before the head, says least about how the decision came to be.
    Where the single `layer` is among those that are asked, and a single one carries it, that layer
    is taken. Else, where those asked carry it together, the one enters that adds most (of equal
    ones the coarsest, then the last), until they carry it, and who is not needed in the end leaves.
    `layer` alone again where none of this holds.

    No layer enters that runs within one that was taken.
    """
    finest = min(one.level for one in found)
    for asked in ([one for one in found if one.level > finest], found):
        names = tuple(one.name for one in asked)
        if layer in names and max(lost((name,)) for name in names) >= bar:
            return (layer,)
        if names and lost(names) >= bar:
            taken = _grown(asked, bar, lost)
            if taken and holds(taken):
                return taken
    return (layer,)


def _grown(asked: Sequence[Candidate], bar: float, lost: Lost) -> tuple[str, ...]:
    """The least set that greedy choice finds; none where what is left cannot be set beside it."""
    order = {one.name: place for place, one in enumerate(asked)}
    taken: tuple[str, ...] = ()
    while not taken or lost(taken) < bar:
        rest = [one for one in asked if not any(_nested(one.name, held) for held in taken)]
        if not rest:
            return ()
        gains = {one.name: round(lost((*taken, one.name)), 3) for one in rest}
        best = max(rest, key=lambda one: (gains[one.name], one.level, order[one.name]))
        taken = (*taken, best.name)
    for name in taken:
        others = tuple(held for held in taken if held != name)
        if others and lost(others) >= bar:
            taken = others
    return tuple(sorted(taken, key=lambda name: order[name]))


def _nested(one: str, other: str) -> bool:
    """Whether two layers are the same, or one lies within the other."""
    return one == other or one in around(other) or other in around(one)
