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
    """What a network's numbers were found to be, and the evidence in words."""

    values: Values
    evidence: str


def judge(maps: Tensor, wanted: Values | None) -> Numbers:
    """What the class maps [n, k, y, x] of a first image hold; `wanted` is what the user says.

    The last step of the computation tells where it is a sigmoid or softmax (the graph of `maps`
    is read, if they have one), and so does a sum of 1 over the classes at every pixel.

    Raises :class:`~conceptseg.errors.InputError` where the numbers can be read in two ways and
    nothing settles it, and where `wanted` cannot be.
    """
    low, high = (float(one) for one in maps.detach().float().aminmax())
    spread = f"from {low:.4g} to {high:.4g}"
    inside, step = 0 <= low < high <= 1 + SUM_TOLERANCE, last_step(maps)
    if wanted is not None:
        if wanted in ("probabilities", "independent_probabilities") and not (
            low >= 0 and high <= 1 + SUM_TOLERANCE
        ):
            raise InputError(
                f"model.values is {wanted}, but the network puts out numbers {spread}; "
                f"give {'logits' if wanted == 'probabilities' else 'independent'}"
            )
        if wanted == "independent" and step in ("sigmoid", "softmax"):
            raise InputError(
                f"model.values is independent, but the network ends in a {step} (numbers "
                f"{spread}); give independent_probabilities"
            )
        return Numbers(wanted, f"by model.values; numbers {spread}")
    k = maps.shape[1]
    off = float((maps.detach().float().sum(1) - 1).abs().max())
    if k > 1 and inside and off <= SUM_TOLERANCE:
        return Numbers("probabilities", f"numbers {spread}, which sum to 1 at every pixel")
    if k == 1 and step == "sigmoid":
        return Numbers("probabilities", f"numbers {spread}; the network ends in a sigmoid")
    if not inside:
        return Numbers("logits", f"numbers {spread}")
    what = f"the network puts out numbers {spread}"
    if k == 1:
        raise InputError(
            f"{what}: a logit, or a probability already? Give model.values: probabilities "
            "(above 0.5 counts as the class) or logits (above 0)"
        )
    raise InputError(
        f"{what}, which do not sum to 1 over the {k} classes"
        + (" and come from a sigmoid" if step == "sigmoid" else "")
        + ": give model.values: independent_probabilities (each class is a yes or no of its own), "
        "probabilities (the largest wins) or logits"
    )


def as_logits(maps: Tensor, values: Values) -> Tensor:
    """Logits whose softmax (of one map, or of independent classes: sigmoid) is what was put out.

    For probabilities p of several classes log p, of one class or of independent ones
    log p - log (1 - p). What rounding made 0 or 1 counts as the nearest number that is neither;
    its gradient is zero.
    """
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

    Steps that only move, cut, copy or resize values are passed over.
    """
    node: Any = maps.grad_fn
    while node is not None:
        name = node.name().rpartition("::")[2]
        if name in _STEPS:
            return _STEPS[name]
        if not name.startswith(_PASSED) or not node.next_functions:
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
