"""Which operations at the end of a tape are affine, and norms folded into convolutions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from conceptseg.explain.ablation.tape import Slot, Step, Tape

# fmt: off
_JOINTLY = {
    "_adaptive_avg_pool2d", "_reshape_alias", "_to_copy", "_unsafe_view", "add", "alias",
    "avg_pool2d", "cat", "clone", "constant_pad_nd", "detach", "expand", "flip", "full_like",
    "mean", "neg", "new_full", "new_ones", "new_zeros", "ones_like", "permute", "pixel_shuffle",
    "pixel_unshuffle", "reflection_pad2d", "repeat", "replication_pad2d", "roll", "rsub", "select",
    "slice", "split", "split_with_sizes", "squeeze", "stack", "sub", "sum", "t", "transpose",
    "unbind", "unsafe_split", "unsqueeze", "upsample_bicubic2d", "upsample_bilinear2d",
    "upsample_nearest2d", "view", "zeros_like",
}
# fmt: on
"""Affine in all their tensors together."""

_IN_ONE = {"mul", "mm", "bmm"}
"""Affine in either factor while the other one is constant."""

_IN_FIRST = {"convolution", "div"}
"""Affine in their first tensor while the others are constant; `addmm` in its second."""

_NORMS = {"native_batch_norm", "cudnn_batch_norm"}


def is_norm(step: Step) -> bool:
    """Whether a step is a batch norm with constant statistics: x scale + shift, unit by unit."""
    if step.name not in _NORMS or bool(step.args[5]):
        return False
    return step.inputs == [step.args[0].index] and all(
        isinstance(part, Tensor) for part in step.args[3:5]
    )


def scale_and_shift(norm: Step) -> tuple[Tensor, Tensor]:
    """The two vectors [u] of a batch norm."""
    _, weight, bias, mean, variance, _, _, eps = norm.args[:8]
    scale = (variance.double() + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.double()
    shift = -mean.double() * scale
    if bias is not None:
        shift = shift + bias.double()
    return scale, shift


def is_affine(step: Step) -> bool:
    """Whether a step's outputs are an affine function of all of its inputs that vary."""
    if step.name in _JOINTLY:
        return True
    if step.name in _IN_ONE:
        return len(step.inputs) == 1
    if step.name in _NORMS:
        return is_norm(step)
    at = 1 if step.name == "addmm" else 0
    if step.name not in (*_IN_FIRST, "addmm") or not isinstance(step.args[at], Slot):
        return False
    return step.inputs == [step.args[at].index]


def affine_end(tape: Tape) -> tuple[list[Step], list[Step], frozenset[int]]:
    """A tape's steps parted into those before and those of its affine end, and the cut between.

    The cut is the slots that the end reads and does not make itself: the logits are an affine
    function of their values.
    """
    readers: Counter[int] = Counter(slot for step in tape.steps for slot in set(step.inputs))
    before: list[Step] = []
    end: list[Step] = []
    for step in reversed(tape.steps):
        made = [slot for slot in step.outputs if slot is not None]
        # Steps of the end have struck themselves off: what is left to read it comes before.
        if is_affine(step) and not any(readers[slot] for slot in made):
            end.append(step)
            readers.subtract(set(step.inputs))
        else:
            before.append(step)
    own = {slot for step in end for slot in step.outputs}
    cut = {slot for step in end for slot in step.inputs} - own
    return before[::-1], end[::-1], frozenset(cut if end else {tape.logits})


def folded_norms(tape: Tape) -> Tape:
    """The tape with every batch norm that alone reads a convolution put into its weights."""
    readers = Counter(slot for step in tape.steps for slot in step.inputs)
    readers[tape.logits] += 1
    makers = {step.outputs[0]: i for i, step in enumerate(tape.steps)}
    steps: list[Step | None] = list(tape.steps)
    for i, norm in enumerate(tape.steps):
        if not is_norm(norm) or any(readers[s] for s in norm.outputs[1:] if s is not None):
            continue
        source = norm.args[0].index
        at = makers.get(source)
        if at is None or readers[source] != 1 or not _takes_norm(tape.steps[at]):
            continue
        steps[at], steps[i] = None, _with_norm(tape.steps[at], norm)
    return replace(tape, steps=tuple(step for step in steps if step is not None))


def _takes_norm(step: Step) -> bool:
    return step.name == "convolution" and not step.args[6] and _constants(step.args[1:3])


def _constants(parts: Sequence[Any]) -> bool:
    return all(part is None or isinstance(part, Tensor) for part in parts)


def _with_norm(convolution: Step, norm: Step) -> Step:
    x, weight, bias, *rest = convolution.args
    scale, shift = scale_and_shift(norm)
    if bias is not None:
        shift = shift + bias.double() * scale
    scaled = (weight.double() * scale[:, None, None, None]).to(weight.dtype)
    args = (x, scaled, shift.to(weight.dtype), *rest)
    return replace(convolution, args=args, outputs=norm.outputs[:1])


def is_pointwise(convolution: Step) -> bool:
    """Whether a convolution is a matrix applied to each position."""
    _, weight, _, stride, padding, _, transposed, _, groups = convolution.args
    return (
        not transposed
        and groups == 1
        and weight.shape[2:].numel() == 1
        and set(stride) == {1}
        and set(padding) == {0}
    )


def moved_units(convolution: Step, change: Tensor, units: Tensor) -> Tensor:
    """What a convolution adds to its output when one unit of each row changes.

    `change` [r, 1, y, x] is that of unit `units` [r] in each row; [r, o, y', x'].
    """
    _, weight, _, stride, padding, dilation, transposed, output_padding, _ = convolution.args
    kernels = weight[units] if transposed else weight[:, units].transpose(0, 1)
    rows, outputs = kernels.shape[:2]
    # Each row a group of one input, so that all rows take one call with a kernel of their own.
    if not transposed:
        kernels = kernels.flatten(0, 1)[:, None]
    entered = change.transpose(0, 1)
    none = None
    found = torch.ops.aten.convolution.default(
        entered, kernels, none, stride, padding, dilation, transposed, output_padding, rows
    )
    return found.view(rows, outputs, *found.shape[2:])
