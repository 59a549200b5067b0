"""Maps in which a single unit is another one, followed through a tape's first operations.

What acts on each unit by itself (rectifiers, pooling, resizing, norms) needs to run on that unit
alone. A convolution then moves by exactly conv(change, W[:, k]), which is added to what it gave
for the clean map; the sum over all other units is not made again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from conceptseg.explain.ablation.affine import is_norm, is_pointwise, moved_units, scale_and_shift
from conceptseg.explain.ablation.tape import Slot, Step, Values

Kind = Literal["unit", "norm", "join", "spread", "whole"]

# fmt: off
_UNIT_BY_UNIT = {
    "_adaptive_avg_pool2d", "_to_copy", "abs", "add", "alias", "avg_pool2d", "clamp", "clone",
    "detach", "div", "elu", "exp", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "max_pool2d_with_indices", "mish", "mul", "neg", "reflection_pad2d", "relu",
    "replication_pad2d", "rsub", "sigmoid", "silu", "softplus", "sub", "tanh",
    "upsample_bicubic2d", "upsample_bilinear2d", "upsample_nearest2d",
}
# fmt: on
"""Operations with numbers alone that make of each unit's map another one, without the others."""


@dataclass(frozen=True, eq=False)
class OneUnit:
    """Maps [n r, u, y, x] that differ from the clean ones [n, u, y, x] in one unit of each row.

    `units` [n r] says in which, `value` [n r, 1, y, x] what is there instead.
    """

    clean: Tensor
    units: Tensor
    value: Tensor

    @property
    def images(self) -> Tensor:
        """Which image each row is a variant of, [n r]."""
        n, rows = self.clean.shape[0], self.units.shape[0]
        return torch.arange(rows, device=self.units.device) // (rows // n)

    def change(self) -> Tensor:
        """What is there now less what was there, [n r, 1, y, x]."""
        return self.value - self.clean[self.images, self.units][:, None]

    @cached_property
    def whole(self) -> Tensor:
        """The maps themselves."""
        rows = self.units.shape[0]
        found = self.clean.repeat_interleave(rows // self.clean.shape[0], 0)
        found[torch.arange(rows, device=found.device), self.units] = self.value[:, 0]
        return found


def whole(value: Any) -> Any:
    """A step's input as the network would have it."""
    return value.whole if isinstance(value, OneUnit) else value


def kinds(steps: Sequence[Step], clean: Mapping[int, Any]) -> list[Kind]:
    """How each step is run when slot 0 is changed in one unit; `clean` has all slots' values.

    "unit", "norm" and "join" (a concatenation with constants) pass the one unit on, "spread" is a
    convolution of it, and "whole" any step that needs whole maps, or does not see the change.
    """
    single = {0}
    found: list[Kind] = []
    for step in steps:
        kind = _kind(step, single, clean)
        if kind not in ("whole", "spread"):
            single.update(slot for slot in step.outputs if slot is not None)
        found.append(kind)
    return found


def _kind(step: Step, single: set[int], clean: Mapping[int, Any]) -> Kind:
    if len(step.inputs) != 1 or step.inputs[0] not in single or clean[step.inputs[0]].dim() != 4:
        return "whole"
    if step.outputs[0] is None or any(slot is not None for slot in step.outputs[1:]):
        return "whole"
    if step.name == "cat":
        return "join" if _axis(step) == 1 else "whole"
    if not isinstance(step.args[0], Slot):
        return "whole"
    if step.name == "convolution":
        return "spread" if step.args[8] == 1 and not any(step.args[7]) else "whole"
    if is_norm(step):
        return "norm"
    others = (*step.args[1:], *step.kwargs.values())
    if any(isinstance(other, Tensor) for other in others):
        return "whole"
    if step.name == "mean":
        over = {axis % 4 for axis in (step.args[1] or ())}
        return "unit" if over and over <= {2, 3} and step.args[2:3] == (True,) else "whole"
    if step.name == "constant_pad_nd":
        return "unit" if len(step.args[1]) <= 4 else "whole"
    return "unit" if step.name in _UNIT_BY_UNIT else "whole"


def _axis(step: Step) -> int:
    axis = step.args[1] if len(step.args) > 1 else step.kwargs.get("dim", 0)
    return int(axis) % 4


def run_step(step: Step, kind: Kind, values: Values, clean: Mapping[int, Any], write: bool) -> None:
    """Run one step where some of `values` are :class:`OneUnit`."""
    if kind == "whole":
        inner = {slot: whole(values[slot]) for slot in step.inputs}
        step.run(inner, write)
        values.update({slot: inner[slot] for slot in step.outputs if slot is not None})
        return
    one: OneUnit = values[step.inputs[0]]
    made = step.outputs[0]
    assert made is not None
    if kind == "spread":
        values[made] = _spread(step, one, clean[made])
        return
    units, value = one.units, one.value
    if kind == "join":
        units = units + _offset(step)
    elif kind == "norm":
        parts = scale_and_shift(step)
        scale, shift = (part.to(value.dtype)[units, None, None, None] for part in parts)
        value = value * scale + shift
    else:
        alone: Values = {step.inputs[0]: value}
        step.run(alone)
        value = alone[made]
    values[made] = OneUnit(clean[made], units, value)


def _offset(step: Step) -> int:
    """Where in a concatenation the varying part begins."""
    begin = 0
    for part in step.args[0]:
        if isinstance(part, Slot):
            break
        begin += part.shape[1]
    return begin


def _spread(step: Step, one: OneUnit, clean: Tensor) -> Tensor:
    """A convolution's output for maps that differ in one unit from those that gave `clean`."""
    change, n = one.change(), clean.shape[0]
    if not is_pointwise(step):
        moved = moved_units(step, change, one.units)
        return moved.unflatten(0, (n, -1)).add_(clean[:, None]).flatten(0, 1)
    weights = step.args[1][:, one.units, 0, 0].T.contiguous()[:, :, None, None]
    parts = (part.unflatten(0, (n, -1)) for part in (weights, change))
    return torch.addcmul(clean[:, None], *parts).flatten(0, 1)
