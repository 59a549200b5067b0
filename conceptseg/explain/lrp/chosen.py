"""Operations that choose between values by the data, when changes are shared out."""

from typing import Any

import torch
from torch import Tensor

from conceptseg.explain.lrp import choices
from conceptseg.explain.lrp.calls import carries, gathered, of_images, pair, taken
from conceptseg.explain.lrp.names import MINIMA
from conceptseg.explain.lrp.propagate import Propagation

Shares = list[tuple[Tensor, Tensor]]
"""Inputs, and the factors by which the output's multiplier becomes theirs."""
EXTREMES = frozenset({"max", "amax", "min", "amin"})


class Choosing(Propagation):
    """The rules of :mod:`conceptseg.explain.lrp.choices`."""

    def _scaled(self, name: str, output: Tensor, shares: Shares) -> Tensor:
        """An output whose multiplier times a factor each is that of its inputs."""

        def back(m: Tensor) -> tuple[Tensor, ...]:
            own = m[: len(m) // 2]
            return tuple(gathered(of_images(own * factor), t.shape) for t, factor in shares)

        return self._applied(name, back, output, *[t for t, _ in shares])

    def _masked(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Masks that image and reference have in common, or made of the data of each."""
        if name == "where":
            given = dict(zip(("condition", "input", "other"), args, strict=False)) | kwargs
            mask, chosen, other = given["condition"], given["input"], given.get("other")
        else:
            given = dict(zip(("input", "mask", "value"), args, strict=False)) | kwargs
            mask, chosen, other = given["mask"], given["value"], given["input"]
        output = self._run(func, args, kwargs)
        both = [chosen, other]
        if any(isinstance(t, Tensor) and not carries(t) and _differs(t, output) for t in both):
            raise self._no_rule(name)
        whole = [torch.as_tensor(t).detach().to(output).expand(output.shape) for t in both]
        factors = choices.masked(mask.expand(output.shape), *whole)
        shares = [(t, f) for t, f in zip(both, factors, strict=True) if carries(t)]
        return self._scaled(name, output, shares)

    def _extreme(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        sign = -1 if name in MINIMA else 1
        first, second = pair(args, kwargs, "input", "other")
        if isinstance(second, Tensor):
            output = self._run(func, args, kwargs)
            if any(not carries(t) and _differs(t, output) for t in (first, second)):
                raise self._no_rule(name)
            both = [t.detach().expand(output.shape) for t in (first, second)]
            factors = choices.extreme_pair(both[0], both[1], sign)
            held = [(t, f) for t, f in zip((first, second), factors, strict=True) if carries(t)]
            return self._scaled(name, output, held)
        x, others, rest = taken(args, kwargs, "keepdim")
        axes = rest.get("dim", rest.get("axis", others[0] if others else None))
        axes = (axes,) if isinstance(axes, int) else axes
        if name not in EXTREMES or not axes or 0 in [axis % x.dim() for axis in axes]:
            raise self._no_rule(name)  # of all places, that would mix images
        found: Any = self._run(func, args, kwargs)
        output = found if isinstance(found, Tensor) else found[0]
        within = choices.extreme_within(x.detach(), axes, sign)
        kept = output.dim() == x.dim()

        def back(m: Tensor) -> tuple[Tensor]:
            own = m[: len(m) // 2]
            for axis in sorted([] if kept else [axis % x.dim() for axis in axes]):
                own = own.unsqueeze(axis)
            return (of_images(own * within),)

        applied = self._applied(name, back, output, x)
        return applied if isinstance(found, Tensor) else type(found)((applied, found[1]))


def _differs(constant: Tensor, output: Tensor) -> bool:
    """Whether what carries nothing differs between images and references."""
    held = constant.detach()
    if held.dim() < output.dim() or len(held) != len(output):
        return False
    own, reference = held.chunk(2)
    return not torch.equal(own, reference)
