"""The operations that follow a layer, recorded once, so that they run again without the network.

A network's own code also makes, again for every variant, whatever does not depend on the layer:
skips, position codes, preprocessing. On the tape these are constants; what is left is a list of
operations that can be looked into: which of them are linear, and which a variant changes at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

Values = dict[int, Any]
"""What a run of a tape holds: slot -> value."""


@dataclass(frozen=True)
class Slot:
    """Stands in a step's arguments for a value that depends on the layer's activation."""

    index: int


@dataclass(frozen=True)
class PerRow:
    """Stands for a whole number that is `once` for one variant of each image, grows with them."""

    once: int


@dataclass(frozen=True, eq=False)
class PerImage:
    """Stands for a constant that has rows for each image, all of which its variants share."""

    rows: Tensor


@dataclass(frozen=True, eq=False)
class Step:
    """One operation: its arguments, with slots for what varies, and the slots of its outputs.

    `in_place` is the form that wrote into its first argument, where the network used that.
    """

    op: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[int | None, ...]
    in_place: Callable[..., Any] | None = None

    @cached_property
    def name(self) -> str:
        """The operation's name without its overload: "relu", "convolution"."""
        return str(self.op._schema.name.removeprefix("aten::"))  # type: ignore[attr-defined]

    @cached_property
    def inputs(self) -> list[int]:
        """Slots that it reads, one that it reads twice named twice."""
        found = leaves((*self.args, *self.kwargs.values()))
        return [leaf.index for leaf in found if isinstance(leaf, Slot)]

    def overwrites(self, done: Set[int]) -> bool:
        """Whether it may write into its first argument when nobody reads the slots `done` again."""
        return self.in_place is not None and bool(self.inputs) and self.inputs[0] in done

    def run(self, values: Values, write: bool = False) -> None:
        """Put its outputs into `values`; with `write` it may overwrite its first argument."""
        op = self.in_place if write and self.in_place else self.op
        fill = lambda leaf: values[leaf.index] if isinstance(leaf, Slot) else leaf  # noqa: E731
        found = op(*mapped(fill, self.args), **mapped(fill, dict(self.kwargs)))
        for slot, value in zip(self.outputs, outputs_of(found), strict=False):
            if slot is not None:
                values[slot] = value


@dataclass(frozen=True, eq=False)
class Tape:
    """Steps from slot 0, the layer's activation, to the slot of the logits."""

    steps: tuple[Step, ...]
    logits: int

    def bound(self, repeats: int, n: int) -> Tape:
        """The tape for `repeats` variants of each of n images: rows i r .. i r + r - 1 are i's."""

        def bind(leaf: Any) -> Any:
            if isinstance(leaf, PerRow):
                return leaf.once * repeats
            if isinstance(leaf, PerImage):
                return spread_rows(leaf.rows, n, repeats)
            return leaf

        steps = [
            replace(step, args=mapped(bind, step.args), kwargs=mapped(bind, dict(step.kwargs)))
            for step in self.steps
        ]
        return replace(self, steps=tuple(steps))


def run(steps: Sequence[Step], values: Values, keep: Set[int]) -> None:
    """Run steps on `values`, which lose each slot that is not in `keep` after its last use."""
    for step, done in zip(steps, last_uses(steps, keep), strict=True):
        step.run(values, write=step.overwrites(done))
        for slot in done:
            del values[slot]


def last_uses(steps: Sequence[Step], keep: Set[int]) -> list[set[int]]:
    """For each step the slots that it is the last to read, without those of `keep`."""
    last = {slot: i for i, step in enumerate(steps) for slot in step.inputs}
    return [{s for s in step.inputs if last[s] == i} - keep for i, step in enumerate(steps)]


def needed(steps: Sequence[Step], wanted: Set[int]) -> tuple[Step, ...]:
    """The steps, and of their outputs those, without which a wanted slot would not be there."""
    kept, read = [], set(wanted)
    for step in reversed(steps):
        if read.intersection(step.outputs):
            outputs = tuple(slot if slot in read else None for slot in step.outputs)
            kept.append(replace(step, outputs=outputs))
            read.update(step.inputs)
    return tuple(reversed(kept))


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """A step's arguments with each of their leaves changed."""
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(change, part) for part in value)
    if isinstance(value, Mapping):
        return {key: mapped(change, part) for key, part in value.items()}
    return change(value)


def spread_rows(rows: Tensor, n: int, repeats: int) -> Tensor:
    """Each image's block of rows, `repeats` times in turn."""
    if repeats == 1:
        return rows
    return rows.unflatten(0, (n, -1)).repeat_interleave(repeats, 0).flatten(0, 1)


def outputs_of(found: Any) -> Sequence[Any]:
    return found if isinstance(found, (tuple, list)) else (found,)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from leaves(part)
    elif isinstance(value, Mapping):
        yield from leaves(list(value.values()))
    else:
        yield value
