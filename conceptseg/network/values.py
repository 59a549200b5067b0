"""What a network's numbers are: logits, or what a softmax or sigmoid has made of them already."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.config import Values
from conceptseg.errors import InputError

SUM_TOLERANCE = 1e-3
SATURATED = 1e-6
"""Probabilities nearer than this to 0 or 1 have lost what told them apart."""

_STEPS = {
    "SigmoidBackward0": "sigmoid",
    "HardsigmoidBackward0": "sigmoid",
    "SoftmaxBackward0": "softmax",
    "LogSoftmaxBackward0": "log-softmax",
    "LogSigmoidBackward0": "log-sigmoid",
}
_PASSED = (
    "View", "Unsafe", "Reshape", "Squeeze", "Unsqueeze", "Select", "Slice", "Split", "Unbind",
    "Permute", "Transpose", "Clone", "ToCopy", "Expand", "Upsample", "Alias", "Narrow",
    "AsStrided", "Copy", "Clamp", "Cat", "Index",
)  # fmt: skip
"""Steps that move, cut, copy or resize values, and so keep what a sigmoid or softmax made."""


@dataclass(frozen=True)
class Numbers:
    """What a network's numbers were found to be, and the evidence in words.

    `logs`: they are logarithms of the probabilities of a sigmoid. `constant` holds each map's
    number where all maps so far were the same at every pixel, and so tell little; else nothing.
    """

    values: Values
    evidence: str
    logs: bool = False
    constant: tuple[float, ...] = ()


def judge(maps: Tensor, wanted: Values | None) -> Numbers:
    """What the class maps [n, k, y, x] of a first image hold; `wanted` is what the user says.

    The last step of the computation tells where it is a sigmoid or softmax (the graph of `maps`
    is read, if they have one), and so does a sum of 1 over the classes at every pixel.

    Raises :class:`~conceptseg.errors.InputError` where the numbers can be read in two ways and
    nothing settles it, and where `wanted` cannot be.
    """
    lows, highs = (one(maps.detach().float(), (0, 2, 3)) for one in (torch.amin, torch.amax))
    low, high = float(lows.min()), float(highs.max())
    spread, k = f"from {low:.4g} to {high:.4g}", maps.shape[1]
    inside, step = low >= 0 and high <= 1 + SUM_TOLERANCE, last_step(maps)
    logs = step == "log-sigmoid"
    if wanted is not None:
        _check(wanted, step, k, inside, spread)
        logs = logs and wanted == "independent"
        return Numbers(wanted, f"by model.values; numbers {spread}", logs)
    if logs:
        return _of_logs(k, spread)
    flat = tuple(lows.tolist()) if step is None and inside and bool((lows == highs).all()) else ()
    off = float((maps.detach().float().sum(1) - 1).abs().max())
    if k > 1 and inside and off <= SUM_TOLERANCE:
        evidence = f"numbers {spread}, which sum to 1 at every pixel"
        return Numbers("probabilities", evidence, constant=flat)
    if k == 1 and step == "sigmoid":
        return Numbers("probabilities", f"numbers {spread}; the network ends in a sigmoid")
    if not inside:
        return Numbers("logits", f"numbers {spread}")
    if flat and low == high:
        evidence = f"{low:.4g} at every pixel, which tells nothing: taken for logits until one does"
        return Numbers("logits", evidence, constant=flat)
    raise _doubtful(k, step, spread)


def judge_again(numbers: Numbers, maps: Tensor) -> Numbers:
    """What further maps [n, k, y, x] tell where all before them were the same at every pixel.

    Raises :class:`~conceptseg.errors.InputError` where nothing settles it, and where they show that
    those before them were read wrongly.
    """
    if not numbers.constant:
        return numbers
    maps = maps.detach().float()
    before = maps.new_tensor(numbers.constant).view(1, -1, 1, 1).expand(1, *maps.shape[1:])
    found = judge(torch.cat([maps, before]), None)
    if found.values != numbers.values:
        raise InputError(
            f"the network puts out {found.evidence}: {found.values}, it seems; but the first "
            f"images' maps, the same at every pixel, look like {numbers.values}: give model.values "
            "(logits or probabilities)"
        )
    return found


def _check(wanted: Values, step: str | None, k: int, inside: bool, spread: str) -> None:
    """Refuse what the user says of k maps if it cannot be."""
    if step == "log-sigmoid" and k == 1 and not wanted.startswith("independent"):
        raise InputError(
            f"model.values is {wanted}, but the network ends in a log-sigmoid (numbers {spread}), "
            "which is read as such: leave the key out"
        )
    if wanted in ("probabilities", "independent_probabilities") and not inside:
        raise InputError(
            f"model.values is {wanted}, but the network puts out numbers {spread}; "
            f"give {'logits' if wanted == 'probabilities' else 'independent'}"
        )
    if wanted == "independent" and step in ("sigmoid", "softmax", "log-softmax"):
        raise InputError(
            f"model.values is independent, but the network ends in a {step} (numbers {spread}); "
            f"give {'logits' if step == 'log-softmax' else 'independent_probabilities'}"
        )


def _of_logs(k: int, spread: str) -> Numbers:
    """What k maps are that end in a log-sigmoid."""
    if k > 1:
        raise InputError(
            f"the network ends in a log-sigmoid (numbers {spread}) of {k} classes: give "
            "model.values: independent (each class is a yes or no of its own) or logits (the "
            "largest wins)"
        )
    return Numbers("probabilities", f"numbers {spread}; the network ends in a log-sigmoid", True)


def _doubtful(k: int, step: str | None, spread: str) -> InputError:
    """The refusal of numbers between 0 and 1 that may be two things."""
    what = f"the network puts out numbers {spread}"
    if k == 1:
        return InputError(
            f"{what}: a logit, or a probability already? Give model.values: probabilities "
            "(above 0.5 counts as the class) or logits (above 0)"
        )
    return InputError(
        f"{what}, which do not sum to 1 over the {k} classes"
        + (" and come from a sigmoid" if step == "sigmoid" else "")
        + ": give model.values: independent_probabilities (each class is a yes or no of its own), "
        "probabilities (the largest wins) or logits"
    )


def as_logits(maps: Tensor, values: Values, logs: bool = False) -> Tensor:
    """Logits whose softmax (of one map, or of independent classes: sigmoid) is what was put out.

    For probabilities p of several classes log p, of one class or of independent ones
    log p - log (1 - p). What rounding made 0 or 1 counts as the nearest number that is neither;
    its gradient is zero. With `logs` the maps are log p of one class or of independent ones.
    """
    if logs:
        maps = maps.float().clamp(max=-torch.finfo(torch.float32).eps / 2)
        return maps - (-torch.expm1(maps)).log()
    if values in ("logits", "independent"):
        return maps
    maps = maps.float()
    if values == "probabilities" and maps.shape[1] > 1:
        return maps.clamp(min=torch.finfo(maps.dtype).tiny).log()
    return torch.logit(maps, eps=torch.finfo(maps.dtype).eps / 2)


def saturated(maps: Tensor) -> float:
    """Share of probabilities [n, k, y, x] that lie within 1e-6 of 0 or 1."""
    return float(((maps < SATURATED) | (maps > 1 - SATURATED)).float().mean())


def last_step(maps: Tensor) -> str | None:
    """The last step that made a tensor with a graph, if it is a sigmoid or softmax (or their log).

    A hard sigmoid counts as one. Steps that only move, cut, copy or resize values are passed over,
    and what is added or clamped before a log, which keeps it finite.
    """
    node: Any = maps.grad_fn
    log = ""
    while node is not None:
        name = node.name().rpartition("::")[2]
        if name in _STEPS:
            step = _STEPS[name]
            return None if log and step.startswith("log") else log + step
        passed = name.startswith(_PASSED) or (log and name.startswith("Add"))
        if not log and name == "LogBackward0":
            log, passed = "log-", True
        if not passed or not node.next_functions:
            return None
        node = node.next_functions[0][0]
    return None


def merged(maps: Tensor, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """Logits [n, len(groups), y, x]: log sum exp over the classes of each group.

    The softmax of the result is the sum of the probabilities of a group's classes, among those
    that are in any group.
    """
    if all(len(group) == 1 for group in groups):
        return maps[:, [group[0] for group in groups]]
    return torch.stack([maps[:, list(group)].logsumexp(1) for group in groups], 1)


def paired(maps: Tensor, first: bool = False) -> Tensor:
    """Logits (0, z) of one map z [n, 1, y, x], or (z, 0) if the class it scores comes `first`."""
    return F.pad(maps, (0, 0, 0, 0, *((0, 1) if first else (1, 0))))
