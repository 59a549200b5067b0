"""How much a score falls when a layer's units are taken away one at a time, exactly.

The plain way runs the rest of the network once for each unit. It is kept for networks that allow
no other and as the judge of the short way, which gives the same numbers:

1. operations that do not depend on the layer are not repeated (:mod:`._tape`);
2. the first convolutions after the layer are updated by the one unit that changed rather than
   run again on all units (:mod:`._one_unit`);
3. where the score is linear in the logits and these are affine in what some earlier operations
   gave (a classifier, resizing, the region's mean), all of that is one gradient, taken once: the
   score falls by the gradient times the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from conceptseg.explain.ablation.affine import affine_end, folded_norms
from conceptseg.explain.ablation.one_unit import OneUnit, kinds, run_step, whole
from conceptseg.explain.ablation.recording import record
from conceptseg.explain.ablation.tape import Step, Tape, Values, last_uses, mapped, run
from conceptseg.explain.target import FixedTarget
from conceptseg.network.record import Tail

AGREEMENT = 1e-3
"""Share of the largest fall by which the short way may miss the plain one before it is dropped."""

NEAR = (2**24, 16)
"""Bytes that one value of the short way may take, and rows: what stays near a CPU is fastest."""
FAR = (2**28, 64)
"""The same on other devices."""
AT_ONCE = 2**20
"""Logits that are scored at once."""


def falls(
    tail: Tail, scores: Sequence[FixedTarget], rows: int, units: int | None = None
) -> tuple[Tensor, Tensor]:
    """T(A) - T(A with unit k set to 0), [t, n, u], for t scores T and every unit; T(A) [t, n].

    With `units`, of the first so many that are not 0 everywhere; 0 for all others.

    Memory does not grow with the number of units: at most `rows` variants (but one of each image)
    go through the whole tail at once, and through its short form as many as :data:`NEAR` holds.
    A unit that is 0 everywhere is not run: it makes no difference.
    """
    activation = tail.activation.detach()
    n, u = activation.shape[:2]
    clean = torch.stack([score(tail.logits.detach()) for score in scores])
    active = (activation != 0).flatten(2).any(2)
    found = clean.new_zeros(len(scores), n, u)
    if not bool(active.any()):
        return found, clean
    if not bool(clean.isfinite().all()):
        return found.fill_(torch.nan), clean
    most = int(active.sum(1).max())
    order = torch.argsort(active.byte(), dim=1, descending=True, stable=True)[:, :most][:, :units]
    plain = _Plain(tail, scores, rows)
    with torch.no_grad():
        run_by = _by_short_way(tail, scores, order, plain)
        if run_by is None:
            run_by = _all(plain, order)
    found.scatter_(2, order.expand(len(scores), -1, -1), run_by)
    return found.masked_fill_(~active, 0.0), clean


def _by_short_way(
    tail: Tail, scores: Sequence[FixedTarget], order: Tensor, plain: _Plain
) -> Tensor | None:
    """The falls [t, n, c] for units [n, c], if there is a short way to them that can be trusted."""
    try:
        short = shortened(tail, scores)
        found = None if short is None else _all(short, order)
    except Exception:
        # This reaches into what networks are made of. Whatever is in its way, the plain way does
        # without; and if it is the network that fails, then it will say so there.
        return None
    return found if found is not None and _agrees(found, order, plain, tail, scores) else None


def _all(way: _Plain | _Short, order: Tensor) -> Tensor:
    """The falls [t, n, c] for units [n, c], as many rows at a time as that way takes."""
    n, count = order.shape
    step = min(max(1, way.rows // n), count)
    parts = []
    for start in range(0, count, step):
        # Always as many, so that what was prepared for that number of rows serves them all.
        at = torch.arange(start, start + step, device=order.device).clamp(max=count - 1)
        parts.append(way.falls(order[:, at])[..., : count - start])
    return torch.cat(parts, 2)


def _agrees(
    found: Tensor, order: Tensor, plain: _Plain, tail: Tail, scores: Sequence[FixedTarget]
) -> bool:
    """Whether falls are those of the plain way, at a unit of each image that matters."""
    largest = found.abs().amax(2, keepdim=True)
    at = (found.abs() / largest.clamp(min=1e-30)).sum(0).argmax(1, keepdim=True)
    expected = plain.falls(order.gather(1, at))
    missed = found.gather(2, at.expand(len(scores), -1, -1)) - expected
    # What rounding of the logits alone can do to a sum over pixels.
    eps, height = _rounding(found), tail.logits.detach().abs().amax((1, 2, 3))
    pixels = torch.stack([s.pixels if s.reduce == "sum" else s.pixels.clamp(max=1) for s in scores])
    allowed = AGREEMENT * largest[..., 0] + 4 * eps * height * pixels
    return bool((missed[..., 0].abs() <= allowed).all())


class _Fall:
    """By how much a score is lower for variants than for the clean logits [n, k, h, w].

    Differences are taken pixel by pixel and then summed. A unit may change a score by a millionth:
    of that the difference of two rounded sums would leave nothing.
    """

    def __init__(self, score: FixedTarget, clean: Tensor):
        self.score = score
        self.pixels = [mask.flatten().nonzero()[:, 0] for mask in score.mask]
        self.clean = [
            self._values(logits, at) for logits, at in zip(clean, self.pixels, strict=True)
        ]

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits [n r, k, h, w] -> falls [n, r]."""
        n = len(self.pixels)
        found = [
            torch.stack([(self.clean[i] - self._values(row, self.pixels[i])).sum() for row in rows])
            for i, rows in enumerate(logits.unflatten(0, (n, -1)))
        ]
        total = torch.stack(found).to(logits.dtype)
        if self.score.reduce == "mean":
            total = total / self.score.pixels.clamp(min=1)[:, None]
        return total

    def _values(self, logits: Tensor, at: Tensor) -> Tensor:
        """The score at each of the region's pixels, [p]: every pixel taken for an image."""
        table = logits.permute(1, 2, 0).flatten(0, 1)
        found = [at.new_empty(0, dtype=torch.float64)]
        for some in at.split(max(1, AT_ONCE // len(logits))):
            whole = some.new_ones((len(some), 1, 1), dtype=torch.bool)
            score = FixedTarget(self.score.class_id, whole, self.score.score)
            found.append(score(table.index_select(0, some).double()[:, :, None, None]))
        return torch.cat(found)


class _Plain:
    """The tail of the network run once for each unit."""

    def __init__(self, tail: Tail, scores: Sequence[FixedTarget], rows: int):
        self.tail, self.rows = tail, rows
        self.falls_of = [_Fall(score, tail.logits.detach()) for score in scores]

    def falls(self, units: Tensor) -> Tensor:
        n, repeats = units.shape
        rows = self.tail.activation.detach().repeat_interleave(repeats, 0)
        rows[torch.arange(n * repeats, device=rows.device), units.flatten()] = 0
        logits = self.tail.resume(rows)
        return torch.stack([fall(logits) for fall in self.falls_of])


def shortened(tail: Tail, scores: Sequence[FixedTarget]) -> _Short | None:
    """The short way, if a network can be recorded and its recording gives the clean logits."""
    tape = record(tail)
    short = None if tape is None else _Short(tail, folded_norms(tape), scores)
    if short is None:
        return None
    expected = tail.logits.detach()
    allowed = max(1e-4, 8 * _rounding(expected)) * expected.norm()
    return short if torch.dist(short.logits, expected) <= allowed else None


def _rounding(values: Tensor) -> float:
    """Relative rounding of a network's arithmetic: elsewhere than on CPUs it may be TF32's."""
    eps = torch.finfo(values.dtype).eps
    return (
        eps if values.device.type == "cpu" else max(eps, 2**-11 * (values.dtype != torch.float64))
    )


class _Short:
    """A tape whose linear start is updated, and whose affine end is folded for linear scores."""

    def __init__(self, tail: Tail, tape: Tape, scores: Sequence[FixedTarget]):
        self.tail, self.tape, self.scores = tail, tape, scores
        self.activation = tail.activation.detach()
        self.n = self.activation.shape[0]
        classes = tail.logits.shape[1]
        self.linear = [t for t, score in enumerate(scores) if _is_linear(score, classes)]
        self.others = [t for t in range(len(scores)) if t not in self.linear]
        self._bound: dict[int, _Program] = {}
        program = _Program.of(tape, 1, self.n)
        values: Values = {0: self.activation}
        with torch.no_grad():
            for step in program.before:
                step.run(values)
        self.kinds = kinds(program.before, values)
        made = {kind: set[int | None]() for kind in self.kinds}
        for step, kind in zip(program.before, self.kinds, strict=True):
            made[kind].update(step.outputs)
        read = {0}.union(program.cut, *(slots for kind, slots in made.items() if kind != "whole"))
        full = made.get("whole", set()) | made.get("spread", set())
        self.clean = {slot: value for slot, value in values.items() if slot in read}
        self.logits = self._fold(program)
        self.rows = self._rows([value for slot, value in values.items() if slot in full])
        self.falls_of = {t: _Fall(scores[t], self.logits) for t in self.others}

    def _fold(self, program: _Program) -> Tensor:
        """The clean logits; and the linear scores' gradients at the cut, by slot [t', n, ...]."""
        at_cut = {slot: _classes_together(self.clean[slot]) for slot in program.cut}
        leaves = {slot: value.detach().requires_grad_() for slot, value in at_cut.items()}
        slopes: list[tuple[Tensor, ...]] = []
        with torch.enable_grad():
            values: Values = dict(leaves)
            run(program.end, values, {self.tape.logits})
            logits = values[self.tape.logits]
            for t in self.linear:
                value = self.scores[t](logits).sum()
                slopes.append(
                    torch.autograd.grad(
                        value, list(leaves.values()), retain_graph=True, materialize_grads=True
                    )
                )
        by_slot = (torch.stack(parts).contiguous() for parts in zip(*slopes, strict=True))
        self.slopes = dict(zip(leaves, by_slot, strict=bool(slopes)))
        return logits.detach()

    def _rows(self, values: Sequence[Any]) -> int:
        """How many rows to run at once, by the largest value that is made for all of its units."""
        sizes = [value.nbytes for value in (*values, *([self.logits] if self.others else []))]
        room, most = NEAR if self.activation.device.type == "cpu" else FAR
        return int(min(most, self.n * room // max(sizes, default=1)))

    def falls(self, units: Tensor) -> Tensor:
        repeats = units.shape[1]
        if repeats not in self._bound:
            self._bound = {repeats: _Program.of(self.tape, repeats, self.n)}
        program = self._bound[repeats]
        self.tail.passes["tail"] += units.numel()
        nothing = self.activation.new_zeros(units.numel(), 1, *self.activation.shape[2:])
        values: Values = {0: OneUnit(self.activation, units.flatten(), nothing)}
        for step, kind, done in zip(program.before, self.kinds, program.done, strict=True):
            run_step(step, kind, values, self.clean, step.overwrites(done))
            for slot in done:
                del values[slot]
        found = self.activation.new_zeros(len(self.scores), *units.shape)
        for slot in self.slopes:
            found[self.linear] -= self._rise(values[slot], slot)
        if self.others:
            self._rest(program, values, found)
        return found

    def _rise(self, value: Any, slot: int) -> Tensor:
        """By how much the linear scores rise with a slot of the cut, [t', n, r]."""
        slopes = self.slopes[slot]
        if isinstance(value, OneUnit):
            chosen = slopes[:, value.images, value.units]
            return (chosen * value.change()[:, 0]).sum((2, 3)).unflatten(1, (self.n, -1))
        clean = self.clean[slot].reshape(self.n, 1, -1)
        change = value.reshape(self.n, -1, clean.shape[2]) - clean
        flat = slopes.reshape(len(slopes), self.n, -1)
        return (change @ flat.permute(1, 2, 0)).permute(2, 0, 1)

    def _rest(self, program: _Program, values: Values, found: Tensor) -> None:
        """Put in the falls of scores that are not linear, from the variants' logits."""
        for slot in program.cut:
            values[slot] = _classes_together(whole(values[slot]))
        run(program.end, values, {self.tape.logits})
        for t, fall in self.falls_of.items():
            found[t] = fall(values[self.tape.logits])


@dataclass(frozen=True, eq=False)
class _Program:
    """A tape's steps for a number of rows, parted before its affine end.

    `done` are the slots that are read for the last time by each step of `before`.
    """

    before: list[Step]
    end: list[Step]
    cut: frozenset[int]
    done: list[set[int]]

    @classmethod
    def of(cls, tape: Tape, repeats: int, n: int) -> _Program:
        before, end, cut = affine_end(tape.bound(repeats, n))
        end = [replace(step, args=mapped(_classes_together, step.args)) for step in end]
        return cls(before, end, cut, last_uses(before, cut))


def _classes_together(value: Any) -> Any:
    """A map in channels-last order: scores read all classes of a pixel, and resizing likes it."""
    if isinstance(value, Tensor) and value.dim() == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value


def _is_linear(score: FixedTarget, classes: int) -> bool:
    """Whether a score is linear in the logits: of two classes the margin is their difference."""
    return score.score in ("logit", "centred") or (score.score == "margin" and classes == 2)
