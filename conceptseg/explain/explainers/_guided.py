"""Changes that hold while a context is open: guided rectifiers, and dropout by given draws."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.explain.noise import generator

_OPAQUE = ("CompiledFunction", "DifferentiableGraph", "CheckpointFunction")
"""Nodes of autograd's graph that stand for whole pieces of a network."""

_BENT = ("LeakyRelu", "PreluKernel", "RreluWithNoise", "Elu", "Celu", "Silu", "Gelu", "Hardswish",
         "Mish")  # fmt: skip
"""Beginnings of nodes of activations that pass what is positive and dampen what is negative."""

_CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@contextmanager
def guided(model: nn.Module) -> Iterator[None]:
    """While open, gradients through a rectifier keep only what is positive on both its sides.

    That is where its input is positive, and the gradient that arrives too. Rectifiers are those
    that :func:`is_rectifier` and :func:`is_bent` know. They are found in the graph of each pass
    rather than among the modules, so it does not matter whether they are modules, used once or
    often, functions or methods, in place or not.

    Raises InputError where a part of the network is compiled, so that they cannot be seen, and
    where there is none at all.
    """
    handle = model.register_forward_hook(_guide)
    try:
        yield
    finally:
        handle.remove()


def _guide(module: nn.Module, args: Any, logits: Tensor) -> None:
    todo, seen, found = [logits.grad_fn], set(), 0
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if any(part in node.name() for part in _OPAQUE):
            raise InputError(
                "guided backpropagation cannot see the rectifiers in a part of the network that is "
                "compiled, scripted or checkpointed as a whole; load the network's own code"
            )
        if is_rectifier(node):
            found += 1
            node.register_prehook(_positive)
        elif is_bent(node):
            found += 1
            node.register_prehook(_positive)
            node.register_hook(_Gate(_entered(node) > 0))
        todo += [further for further, _ in node.next_functions]
    if not found and logits.grad_fn is not None:
        raise InputError(
            "guided backpropagation finds no rectifier in the network (ReLU, leaky ReLU, PReLU, "
            "ELU, SiLU, GELU, hardswish, Mish), so its map would be that of vanilla_saliency; take "
            "that method"
        )


def is_rectifier(node: Any) -> bool:
    """Whether a node of autograd's graph is a ReLU or ReLU6, by whatever function it was made."""
    name = node.name()
    if name.startswith("ReluBackward"):
        return True
    if name.startswith("HardtanhBackward"):
        return bool(node._saved_min_val == 0)
    if name.startswith("ThresholdBackward"):
        return bool(node._saved_threshold == 0)
    if name.startswith("Clamp") and hasattr(node, "_saved_min"):
        # Clamping to other ranges, to [0, 1] say, keeps values valid and is no activation.
        return bool(node._saved_min == 0 and getattr(node, "_saved_max", None) in (None, 6))
    return False


def is_bent(node: Any) -> bool:
    """Whether a node of autograd's graph is an activation that only dampens what is negative."""
    return node.name().startswith(tuple(f"{name}Backward" for name in _BENT))


def _entered(node: Any) -> Tensor:
    """What entered an activation, or, where it acted in place, what has the sign of that."""
    held: Tensor = node._saved_self if hasattr(node, "_saved_self") else node._saved_result
    return held.detach()


@dataclass(frozen=True)
class _Gate:
    """Lets through of a node's gradient what lies where the activation's input was positive."""

    where: Tensor

    def __call__(
        self, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]
    ) -> tuple[Tensor | None, ...]:
        own, *others = inputs  # a slope that is learnt has a gradient of its own
        return (None if own is None else own * self.where, *others)


def _positive(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if g is None else g.clamp(min=0) for g in gradients)


def dropout_layers(model: nn.Module) -> list[nn.Module]:
    """The dropout modules that drop anything."""
    kinds = (nn.Dropout, *_CHANNELWISE)
    return [m for _, m in model.named_modules() if isinstance(m, kinds) and m.p > 0]


@contextmanager
def dropping(model: nn.Module, *key: object) -> Iterator[None]:
    """While open, dropout modules drop, in every pass what the key says and for all images alike.

    Everything else stays in evaluation mode.
    """
    draws = generator(*key)
    start = draws.get_state()

    def begin(module: nn.Module, args: Any) -> None:
        draws.set_state(start)

    def drop(module: Any, args: Any, output: Tensor) -> Tensor:
        shape = list(output.shape[1:])
        if isinstance(module, _CHANNELWISE):
            shape = [shape[0]] + [1] * (len(shape) - 1)
        kept = (torch.rand(shape, generator=draws) >= module.p).to(output.device)
        return output * kept / max(1 - module.p, 1e-12)

    with ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(begin).remove)
        for layer in dropout_layers(model):
            stack.callback(layer.register_forward_hook(drop).remove)
        yield
