"""Which layer of a network is its bottleneck: a rule over what one pass shows of its modules."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

LEAST_SHARE = 0.05
"""Share of the parameters that must run at a stride for it to count as one of the network's."""

ENCODER_LEVELS = 3
"""Halvings of the grid, the coarsest among them, that make a part of a network its encoder."""


@dataclass
class Seen:
    """A module's first call: when it began and ended, counted in calls of the whole pass.

    `plain`: its output holds maps of one size, and not in a dictionary. `entered` is the level of
    the map that it was given first, None if that was none.
    """

    module: nn.Module
    began: int
    ended: int = -1
    shape: tuple[int, int, int] | None = None
    plain: bool = False
    level: int = 0
    entered: int | None = None
    through: float = 0.0
    calls: int = 0


def bottlenecks(seen: dict[str, Seen], sizes: dict[nn.Module, int]) -> list[str]:
    """The layer where an encoder ends, by rule, and what is next best, in that order.

    Empty if no module puts out a map. The rule:

    1. A level is a stride, rounded to a power of two. Levels at which less than 5 % of the
       parameters run, within one block that is entered and left on a finer grid, are set aside:
       they are pyramids of pooled maps, gates, attention's reduced keys. Of the others the
       coarsest is the bottleneck's. Maps of one pixel never count.
    2. The encoder is the first part of the network, as its names nest, that walks down to this
       level through at least two finer ones; of parts within parts the innermost. A network that
       is not nested is its own encoder. A part that holds half of the parameters and works on one
       grid throughout, the first on it and before any coarser one, is the encoder instead: a
       plain vision transformer, or a heavy last stage.
    3. In it, of all modules with weights (or if there are none, of all) whose output is one map
       at this level (not features of several sizes, not a dictionary), containers before their
       contents, it is the one named `bottleneck`, else the last to run; but where the encoder is
       all of the network, the widest, and of equally wide ones the last.

    The widest, because heads narrow: on a flat network it is what tells the last encoder block
    from the classifier that follows on the same grid.

    The next best are the encoder's other modules at this level, then at the nearest levels (finer
    ones before coarser), then those outside of it, in the same order; at one level those with
    weights first, then containers before their contents, then the last to run. What holds all
    weights that run is none of them.
    """
    maps = {name: call for name, call in seen.items() if call.shape and call.plain}
    coarsest = _coarsest(maps, sizes)
    if coarsest is None:
        return []
    scope = _encoder(maps, coarsest)
    column = _column(maps, sizes)
    if column is not None and column[1] <= coarsest:
        scope, coarsest = column
    there = {n: c for n, c in maps.items() if c.level == coarsest and _within(n, scope)}
    ran = sum(sizes.get(call.module, 0) for call in seen.values())
    inside = {name: size_of(call.module, sizes) for name, call in there.items()}
    # What holds all weights that run is a wrapper, and its output the network's.
    weighted = {name: call for name, call in there.items() if 0 < inside[name] < ran}
    outermost = _outermost(weighted or there)
    named = [name for name in outermost if name.rpartition(".")[2] == "bottleneck"]
    apart = any(
        call.ended > max(there[name].ended for name in outermost)
        for name, call in seen.items()
        if sizes.get(call.module) and not _within(name, scope)
    )
    best = (
        named[-1]
        if named
        else max(outermost, key=lambda n: (0 if apart else _width(there[n]), there[n].ended))
    )
    rest = [n for n in maps if n != best and size_of(maps[n].module, sizes) < ran]
    return [best, *sorted(rest, key=lambda n: _distance(n, maps[n], sizes, scope, coarsest))]


def _distance(
    name: str, call: Seen, sizes: dict[nn.Module, int], scope: str, level: int
) -> tuple[bool, int, bool, bool, int]:
    """How far a module is from what the rule asks for, in the order of what counts."""
    away, coarser = abs(call.level - level), call.level > level
    return not _within(name, scope), away, coarser, not size_of(call.module, sizes), -call.ended


def _coarsest(maps: dict[str, Seen], sizes: dict[nn.Module, int]) -> int | None:
    weight: dict[tuple[str, int], int] = {}
    for name, call in maps.items():
        key = (_block(name, call, maps), call.level)
        weight[key] = weight.get(key, 0) + sizes.get(call.module, 0)
    least = LEAST_SHARE * sum(weight.values())
    heavy = (level for (_, level), size in weight.items() if size > 0 and size >= least)
    return max(heavy, default=None)


def side_branches(maps: dict[str, Seen], sizes: dict[nn.Module, int]) -> set[str]:
    """Maps on a coarser grid than the block's around them, with less than 5 % of the parameters.

    The block is the smallest module around a map that is entered and left on one finer grid; what
    counts is all that runs in it on the map's grid and on coarser ones.
    """
    block = {name: _block(name, call, maps) for name, call in maps.items()}
    inside: dict[str, dict[int, int]] = {scope: {} for scope in block.values() if scope}
    for name, call in maps.items():
        for scope in around(name):
            if scope in inside:
                held = inside[scope]
                held[call.level] = held.get(call.level, 0) + sizes.get(call.module, 0)
    least = LEAST_SHARE * sum(sizes.get(call.module, 0) for call in maps.values())
    return {
        name
        for name, call in maps.items()
        if block[name]
        and sum(size for lv, size in inside[block[name]].items() if lv >= call.level) < least
    }


def _block(name: str, call: Seen, maps: dict[str, Seen]) -> str:
    """The smallest module around a map that is entered and left on one finer grid; "" if none."""
    for scope in around(name):
        outer = maps.get(scope)
        if outer is not None and outer.entered == outer.level < call.level:
            return scope
    return ""


def around(name: str) -> Iterator[str]:
    """The names of the modules around one, from the innermost on."""
    while name := name.rpartition(".")[0]:
        yield name


def _outermost(calls: dict[str, Seen]) -> dict[str, Seen]:
    """Those within no other; of them those that ran once, if any did."""
    outer = {n: c for n, c in calls.items() if not any(_inside(n, other) for other in calls)}
    return {name: call for name, call in outer.items() if call.calls == 1} or outer


def _encoder(maps: dict[str, Seen], coarsest: int) -> str:
    scope = ""
    while True:
        inside = [(name, call) for name, call in maps.items() if _inside(name, scope)]
        inside.sort(key=lambda item: item[1].ended)
        children = dict.fromkeys(_child(name, scope) for name, _ in inside)
        found = next((c for c in children if _walks_down(inside, c, coarsest)), None)
        if found is None:
            return scope
        scope = found


def _column(maps: dict[str, Seen], sizes: dict[nn.Module, int]) -> tuple[str, int] | None:
    """The part that holds half of the parameters at one level, where it comes first; the level."""
    least = sum(sizes.values()) / 2
    scope = ""
    while True:
        parts: dict[str, list[Seen]] = {}
        for name, call in maps.items():
            if _inside(name, scope):
                parts.setdefault(_child(name, scope), []).append(call)
        weights = {n: sum(sizes.get(c.module, 0) for c in calls) for n, calls in parts.items()}
        scope = max(weights, key=lambda name: weights[name], default="")
        if not scope or weights[scope] < least:
            return None
        levels = {call.level for call in parts[scope]}
        if len(levels) == 1:
            level = levels.pop()
            begin = min(call.began for call in parts[scope])
            end = max(call.ended for call in parts[scope])
            late = any(
                c.began < begin and c.level == level or c.began < end and c.level > level
                for c in maps.values()
            )
            return None if late else (scope, level)


def _walks_down(inside: Sequence[tuple[str, Seen]], child: str, coarsest: int) -> bool:
    """Whether a part reaches the coarsest level after two finer ones of its own."""
    finer: set[int] = set()
    for name, call in inside:
        if not _within(name, child):
            continue
        if call.level == coarsest and len(finer) >= ENCODER_LEVELS - 1:
            return True
        if call.level < coarsest:
            finer.add(call.level)
    return False


def size_of(module: nn.Module, sizes: dict[nn.Module, int]) -> int:
    return sum(sizes.get(part, 0) for _, part in module.named_modules())


def _width(call: Seen) -> int:
    return call.shape[0] if call.shape else 0


def _inside(name: str, scope: str) -> bool:
    return name != scope and _within(name, scope)


def _within(name: str, scope: str) -> bool:
    return not scope or name == scope or name.startswith(scope + ".")


def _child(name: str, scope: str) -> str:
    start = len(scope) + 1 if scope else 0
    end = name.find(".", start)
    return name if end < 0 else name[:end]
