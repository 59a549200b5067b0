"""Recording a tape: the operations that a network makes after a layer, noted while they run."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from conceptseg.explain.ablation.tape import (
    PerImage,
    PerRow,
    Slot,
    Step,
    Tape,
    leaves,
    mapped,
    needed,
    outputs_of,
    spread_rows,
)
from conceptseg.network.record import Tail


def record(tail: Tail) -> Tape | None:
    """The tape of a network from a layer on, for any number of variants of each image.

    It is recorded with one and with two variants: numbers and constants that differ are those
    that go with the variants. None where it cannot be had: the network draws random numbers,
    decides by values, or writes into parts of tensors.

    What is recorded is not the clean pass but one with half of the activation missing. So if some
    of the way to the logits leaves no trace here (through other libraries), what it gave has been
    taken for a constant, and the tape disagrees with the network on the clean activation.
    """
    activation = tail.activation.detach()
    part = torch.tensor([0.5, 0.0], device=activation.device, dtype=activation.dtype)
    count = activation.shape[1]
    partly = activation * part.repeat(count)[:count, None, None]
    one = _recorded(tail, partly)
    two = _recorded(tail, partly.repeat_interleave(2, 0))
    return one and two and _for_any_rows(one, two, activation.shape[0])


def _recorded(tail: Tail, rows: Tensor) -> Tape | None:
    recording = _Recording(rows)
    with torch.no_grad(), recording:
        logits = tail.resume(rows)
    end = recording.slots.get(id(logits))
    if not recording.sound or end is None:
        return None
    return Tape(needed(recording.steps, {end}), end)


class _Recording(TorchDispatchMode):
    """Notes every operation that depends on a tensor. Not `sound` if they cannot be repeated."""

    def __init__(self, entry: Tensor) -> None:
        super().__init__()
        self.sound = True
        self.steps: list[Step] = []
        self.slots: dict[int, int] = {}
        self._held: list[Tensor] = []  # so that no address is given out twice
        self._count = 0
        self._sharing: defaultdict[int, set[int]] = defaultdict(set)
        self._stale: set[int] = set()
        self._enter(entry)

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in leaves((*args, *kwargs.values())) if isinstance(leaf, Tensor)]
        varying = any(id(tensor) in self.slots for tensor in tensors)
        written = _written(op, args, kwargs)
        self.sound &= self._allowed(op, args, kwargs, tensors, written, varying)
        if not (varying and self.sound):
            return op(*args, **kwargs)
        entered, named = mapped(self._entered, args), mapped(self._entered, kwargs)
        found = op(*args, **kwargs)
        self._note(op, entered, named, found, bool(written))
        return found

    def _allowed(
        self,
        op: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        tensors: list[Tensor],
        written: list[Tensor],
        varying: bool,
    ) -> bool:
        """Whether an operation can be repeated, and leaves alone what earlier steps read."""
        if self._stale.intersection(map(id, tensors)):
            return False
        if not varying:
            return not any(self._storage(tensor) in self._sharing for tensor in written)
        if any(tag in op.tags for tag in _BY_VALUE) and not _is_sure(op, args, kwargs):
            return False
        # Into the first argument, a whole tensor, an operation's plain form can be put instead.
        return not written or (
            len(written) == 1
            and written[0] is args[0]
            and id(args[0]) in self.slots
            and _plain(op) is not None
        )

    def _entered(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in self.slots:
            return Slot(self.slots[id(leaf)])
        self._hold(leaf)
        return leaf

    def _note(self, op: Any, args: Any, kwargs: Any, found: Any, writes: bool) -> None:
        if writes:
            whole = outputs_of(found)[0]
            self._stale |= self._sharing[self._storage(whole)] - {id(whole)}
        outputs = [self._enter(o) if isinstance(o, Tensor) else None for o in outputs_of(found)]
        plain = _plain(op) if writes else op
        self.steps.append(Step(plain, args, kwargs, tuple(outputs), op if writes else None))

    def _enter(self, tensor: Tensor) -> int:
        self._hold(tensor)
        self.slots[id(tensor)] = self._count
        self._count += 1
        return self._count - 1

    def _hold(self, tensor: Tensor) -> None:
        self._held.append(tensor)
        self._sharing[self._storage(tensor)].add(id(tensor))

    @staticmethod
    def _storage(tensor: Tensor) -> int:
        return tensor.untyped_storage()._cdata


_BY_VALUE = (
    torch.Tag.nondeterministic_seeded,
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
)
"""Operations that a tape cannot repeat on other values."""


def _is_sure(op: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation marked as random draws nothing: attention without dropout."""
    names = [argument.name for argument in op._schema.arguments]
    if "dropout_p" not in names:
        return False
    at = names.index("dropout_p")
    return (args[at] if at < len(args) else kwargs.get("dropout_p", 0.0)) == 0.0


def _written(op: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The arguments that an operation writes into."""
    found = []
    for i, argument in enumerate(op._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            found += [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]
    return found


def _plain(op: Any) -> Any:
    """The form of an operation that writes into nothing: `relu` of `relu_`; None without one."""
    name = op._schema.name.removeprefix("aten::")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    # `copy_` broadcasts and converts, which its plain form does not promise to undo alike.
    return None if name == "copy_" else getattr(packet, op._overloadname, None)


class _Differs(Exception):
    """Two recordings are not the same but for the number of rows."""


def _for_any_rows(one: Tape, two: Tape, n: int) -> Tape | None:
    """The tape of which these are the cases of one and of two variants of each of n images."""
    if [step.name for step in one.steps] != [step.name for step in two.steps]:
        return None
    try:
        steps = [
            replace(a, args=_merged(a.args, b.args, n), kwargs=_merged(a.kwargs, b.kwargs, n))
            for a, b in zip(one.steps, two.steps, strict=True)
        ]
    except _Differs:
        return None
    return Tape(tuple(steps), one.logits)


def _merged(one: Any, two: Any, n: int) -> Any:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return _merged_tensors(one, two, n)
    if type(one) is not type(two):
        raise _Differs
    if isinstance(one, (list, tuple)) and len(one) == len(two):
        return type(one)(_merged(a, b, n) for a, b in zip(one, two, strict=True))
    if isinstance(one, Mapping) and one.keys() == two.keys():
        return {key: _merged(value, two[key], n) for key, value in one.items()}
    if one == two:
        return one
    if isinstance(one, int) and two == 2 * one:
        return PerRow(one)
    raise _Differs


def _merged_tensors(one: Tensor, two: Tensor, n: int) -> Any:
    if one is two or (one.shape == two.shape and torch.equal(one, two)):
        return one
    if one.dim() and one.shape[0] % n == 0:
        twice = spread_rows(one, n, 2)
        # Computed for another number of rows, a constant may be rounded differently.
        if twice.shape == two.shape and torch.allclose(twice.double(), two.double(), 1e-3, 1e-5):
            return PerImage(one)
    raise _Differs
