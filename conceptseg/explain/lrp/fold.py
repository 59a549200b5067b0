"""A norm's factor and shift, folded into the layer before it: y = (f W) x + (f b + t)."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from conceptseg.explain.lrp.graph import WEIGHTED
from conceptseg.explain.lrp.kept import Parameters, parse

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DIRECT = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_CHANGED = "_conceptseg_folded"


def fold_weight(layer: Any, factor: Tensor, shift: Tensor) -> None:
    """Fold into the weight and bias that a layer holds."""
    groups = layer.groups if isinstance(layer, TRANSPOSED) else None
    weight, bias = _folded((layer.weight, layer.bias), factor, shift, groups)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = nn.Parameter(bias, requires_grad=False)


def fold_calls(layer: nn.Module, factor: Tensor, shift: Tensor) -> None:
    """Fold into whatever weight and bias the one weighted operation of a module's call has."""
    run: Callable[..., Any] = layer.forward

    def folded(*args: Any, **kwargs: Any) -> Any:
        with _Folding(factor, shift):
            return run(*args, **kwargs)

    layer.forward = folded
    setattr(layer, _CHANGED, True)


def puts_out_other(original: nn.Module, copy: nn.Module) -> bool:
    """Whether a module's copy may put out something else, since a norm is folded into it."""
    return isinstance(original, (*DIRECT, *TRANSPOSED)) or hasattr(copy, _CHANGED)


class _Folding(TorchFunctionMode):
    def __init__(self, factor: Tensor, shift: Tensor):
        super().__init__()
        self._factor, self._shift = factor, shift

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in WEIGHTED:
            return func(*args, **kwargs)
        operation, x, parameters = parse(func, name, args, kwargs)
        groups = operation.rest.get("groups", 1) if "transpose" in name else None
        return operation(x, *_folded(parameters, self._factor, self._shift, groups))


def _folded(
    parameters: Parameters, factor: Tensor, shift: Tensor, groups: int | None
) -> tuple[Tensor, Tensor]:
    """Weight and bias with a factor and a shift; `groups` are those of a transposed convolution."""
    given, bias = parameters
    weight = given.detach().double()
    if groups is None:
        weight = weight * factor.view(-1, *[1] * (weight.dim() - 1))
    else:  # weight [in, out / groups, ...]
        grouped = weight.unflatten(0, (groups, -1))
        factors = factor.view(groups, 1, -1, *[1] * (weight.dim() - 2))
        weight = (grouped * factors).flatten(0, 1)
    whole = shift if bias is None else shift + factor * bias.detach().double()
    return weight.to(given), whole.to(given)
