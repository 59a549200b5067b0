"""One weighted layer under a rule of Zennit, with all that does not depend on relevance kept.

A rule of Zennit (`BasicHook`) is a list of modified inputs x_i and modified weights W_i; relevance
R of the output becomes

    R_in = reduce_i(x_i, W_i^T (R f_i)),    f_i = map(1; W_0 x_0, W_1 x_1, ...),

for a map that is linear in R. Zennit runs every W_i x_i and its gradient again for each R. Here
f_i is made when the first R comes and kept, so every R costs one transposed kernel for each i;
terms of inputs that are all zero (the negative part of what a rectifier put out) are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Parameters = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Operation:
    """A weighted operation apart from input and weights: its function and further arguments."""

    func: Callable[..., Tensor]
    name: str
    rest: Mapping[str, Any]

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.func(x, weight, bias, **self.rest)

    def adjoint(self, g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """W^T g for an input shaped like x."""
        if self.name == "linear":
            return g @ weight
        dims = x.dim() - 2
        rest = self.rest
        padding = rest.get("padding", 0)
        if isinstance(padding, str):
            return self._by_autograd(g, x, weight)
        return torch.ops.aten.convolution_backward(
            g,
            x,
            weight,
            None,
            _each(rest.get("stride", 1), dims),
            _each(padding, dims),
            _each(rest.get("dilation", 1), dims),
            self.name.startswith("conv_transpose"),
            _each(rest.get("output_padding", 0), dims),
            rest.get("groups", 1),
            (True, False, False),
        )[0]

    def _by_autograd(self, g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        with torch.enable_grad():
            entered = x.detach().requires_grad_()
            return torch.autograd.grad(self(entered, weight, None), entered, g)[0]


def _each(value: Any, dims: int) -> list[int]:
    return [value] * dims if isinstance(value, int) else list(value)


_ORDER = {
    "linear": ("input", "weight", "bias"),
    "conv": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "conv_transpose": (
        *("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}


def parse(
    func: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Operation, Tensor, Parameters]:
    """A call of a weighted operation, taken apart: operation, input, weight and bias."""
    kind = name.rstrip("123d") if name.startswith("conv") else name
    given = dict(zip(_ORDER[kind], args, strict=False)) | dict(kwargs)
    x, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    return Operation(func, name, given), x, (weight, bias)


class Weights:
    """A network's weights as each rule wants them, made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int], list[Parameters]] = {}
        self._held: list[Any] = []

    def of(self, rule: Any, parameters: Parameters) -> list[Parameters]:
        key = (id(rule), id(parameters[0]))
        if key not in self._made:
            # What an id stands for must stay alive as long as the id is looked up.
            self._held.append((rule, parameters[0]))
            self._made[key] = [_modified(mod, parameters) for mod in rule.param_modifiers]
        return self._made[key]


def _modified(modifier: Any, parameters: Parameters) -> Parameters:
    from zennit.core import ParamMod

    holder = nn.Module()
    for name, value in zip(("weight", "bias"), parameters, strict=True):
        held = None if value is None else nn.Parameter(value.detach(), requires_grad=False)
        holder.register_parameter(name, held)
    with ParamMod.ensure(modifier)(holder) as changed:
        bias = None if changed.bias is None else changed.bias.detach().clone()
        if bias is not None and not bias.any():
            bias = None
        return changed.weight.detach().clone(), bias


class Kept:
    """A weighted operation on an input x under a rule: relevance out -> relevance in.

    A `constant`, of the shape of x, is added to the input and counts as a part of the bias.
    """

    def __init__(
        self,
        rule: Any,
        operation: Operation,
        x: Tensor,
        parameters: Parameters,
        weights: Weights,
        constant: Tensor | None = None,
    ):
        self._rule, self._operation, self._x = rule, operation, x.detach()
        self._parameters, self._weights, self._constant = parameters, weights, constant
        self._terms: list[tuple[Tensor, Tensor, Tensor] | None] | None = None
        self._product = _is_product(rule)

    def __call__(self, relevance: Tensor) -> Tensor:
        if self._terms is None:
            self._terms = self._prepare(relevance)
        found = [
            None if t is None else self._operation.adjoint(relevance * t[2], t[0], t[1])
            for t in self._terms
        ]
        terms = [(t[0], g) for t, g in zip(self._terms, found, strict=True) if t and g is not None]
        if self._product:
            products = [x * g for x, g in terms]
            return sum(products[1:], products[0]) if products else torch.zeros_like(self._x)
        nothing = self._x.new_zeros(())
        inputs = [nothing if t is None else t[0] for t in self._terms]
        reduced: Tensor = self._rule.reducer(inputs, [nothing if g is None else g for g in found])
        return reduced

    def _prepare(self, like: Tensor) -> list[tuple[Tensor, Tensor, Tensor] | None]:
        rule, x = self._rule, self._x
        with torch.no_grad():
            inputs, outputs = [], []
            modified = self._modified()
            for change, last, (weight, bias) in zip(
                rule.input_modifiers, rule.output_modifiers, modified, strict=True
            ):
                entered = change(x)
                if torch.equal(entered, x):
                    entered = x  # one copy in memory
                zero = not bool(entered.any())
                inputs.append(None if zero else entered)
                outputs.append(last(self._output(entered, weight, bias, zero, like)))
            mapped = rule.gradient_mapper(torch.ones_like(self._full(outputs, like)), outputs)
        factors = [mapped] if isinstance(mapped, Tensor) else list(mapped)
        return [
            None if entered is None else (entered, weight, factor)
            for entered, (weight, _), factor in zip(inputs, modified, factors, strict=True)
        ]

    def _modified(self) -> list[Parameters]:
        rule, (weight, bias) = self._rule, self._parameters
        if self._constant is None or not _reads_biases(rule):
            return self._weights.of(rule, self._parameters)
        whole = self._operation(self._constant, weight, bias)
        return [_modified(change, (weight, whole)) for change in rule.param_modifiers]

    def _output(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, zero: bool, like: Tensor
    ) -> Tensor:
        if self._constant is not None and bias is not None:
            return bias if zero else self._operation(x, weight, None) + bias
        if not zero:
            return self._operation(x, weight, bias)
        if bias is None:
            return x.new_zeros(())
        axis = -1 if self._operation.name == "linear" else 1
        shape = [1] * (x.dim() if axis == -1 else x.dim())
        shape[axis] = -1
        return bias.view(shape)

    def _full(self, outputs: list[Tensor], like: Tensor) -> Tensor:
        shaped = [output for output in outputs if output.dim() == self._x.dim()]
        return max(shaped, key=torch.numel) if shaped else like


def _reads_biases(rule: Any) -> bool:
    """Whether any of a rule's terms has a bias: of gamma one does, to know the sum's sign."""
    probe = torch.ones(1), torch.tensor([1.0, -1.0])
    return any(_modified(change, probe)[1] is not None for change in rule.param_modifiers)


def _is_product(rule: Any) -> bool:
    """Whether a rule's reducer is the sum of inputs times gradients."""
    count = len(rule.input_modifiers)
    one, two = torch.tensor(3.0), torch.tensor(5.0)
    return bool(float(rule.reducer([one] * count, [two] * count)) == 15.0 * count)
