"""A network as its author wrote it: without wrappers that compile, recompute or spread it.

Hooks, replaced activations and replays need every module's own forward to run, once, in this
process. `torch.compile` traces forwards away (and compiles again for each one that is exchanged),
activation checkpointing runs them without gradients and again in the backward pass, DataParallel
runs copies. None of these changes what a network computes.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.utils.checkpoint as recomputing
from torch import nn

WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}
"""Classes of torch -> the attribute under which they hold the network."""

_GENERATORS = (
    "_checkpoint_without_reentrant_generator",
    "_checkpoint_without_reentrant_generator_impl",
)
"""What `checkpoint(use_reentrant=False)` runs before and after a block, in old and new torch."""


def plain(module: nn.Module) -> nn.Module:
    """The network within :data:`WRAPPERS`, whose parts are taken out of theirs in place."""
    root = _within(module)
    for _, part in list(root.named_modules()):
        for name, child in part._modules.items():
            if child is not None:
                part._modules[name] = _within(child)
        if getattr(part, "_compiled_call_impl", None) is not None:
            part._compiled_call_impl = None  # of module.compile()
    return root


def _within(module: nn.Module) -> nn.Module:
    kind = type(module)
    while kind.__module__.startswith("torch.") and kind.__name__ in WRAPPERS:
        inner: nn.Module = getattr(module, WRAPPERS[kind.__name__])
        module, kind = inner, type(inner)
    return module


def in_float32(module: nn.Module) -> list[str]:
    """Turn weights and buffers of other floating types to float32, in place.

    Returns what a report should say of it: nothing if all were float32.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    other = [one for _, one in tensors if one.is_floating_point() and one.dtype != torch.float32]
    if not other:
        return []
    kinds = sorted({str(one.dtype).removeprefix("torch.") for one in other})
    module.float()
    return [f"weights of {', '.join(kinds)} run in float32"]


@contextmanager
def as_written() -> Iterator[None]:
    """While open, compiled functions run as they were written and checkpointed blocks just run."""
    with ExitStack() as stack:
        stack.enter_context(_checkpoints_off())
        # Whoever compiles has imported this; nobody else should wait for the import.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


class _JustRun:
    """Stands for torch's checkpointing function with `use_reentrant=True`."""

    @staticmethod
    def apply(function: Any, preserve: bool, *args: Any) -> Any:
        __tracebackhide__ = True
        return function(*args)


def _no_recomputation(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


@contextmanager
def _checkpoints_off() -> Iterator[None]:
    # The function `checkpoint` is bound by name in networks' files; what it calls is not.
    others: dict[str, Any] = {"CheckpointFunction": _JustRun}
    others |= dict.fromkeys(_GENERATORS, _no_recomputation)
    own = {name: vars(recomputing)[name] for name in others if hasattr(recomputing, name)}
    try:
        for name in own:
            setattr(recomputing, name, others[name])
        yield
    finally:
        for name, value in own.items():
            setattr(recomputing, name, value)
