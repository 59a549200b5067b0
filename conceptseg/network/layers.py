"""What layers a network has, and which of them is its bottleneck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import log2
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.network.bottleneck import Seen, bottlenecks, size_of
from conceptseg.network.influence import first_with_influence

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

EXTRA_TOKENS = (0, 1, 2, 5)
"""Class, distillation and register tokens that vision transformers put before those of patches."""


@dataclass(frozen=True)
class LayerInfo:
    """One module of a network, as one pass found it; of a module that ran often, the first call.

    `shape` is (u, y, x), None without a spatial map; `stride` is image side / grid side, the
    larger of both sides; `parameters` is the share of the network's parameters inside the module,
    `through` the share that had run when it finished, both 0..1. `worth` is what the prediction
    loses without it and `reach` how many pixels away a position acts
    (:mod:`conceptseg.network.choice`), where that was measured.
    """

    name: str
    kind: str
    shape: tuple[int, int, int] | None
    stride: float | None
    parameters: float
    through: float
    calls: int = 1
    recommended: bool = False
    worth: float | None = None
    reach: float | None = None

    @property
    def spatial(self) -> bool:
        return self.shape is not None

    @property
    def channels(self) -> int | None:
        return None if self.shape is None else self.shape[0]


def survey(model: Network, images: Tensor) -> list[LayerInfo]:
    """All modules that run on the first of `images`, in the order in which they begin.

    Modules that do not run (containers that only hold others, training-only heads) are left out.
    Of the candidates that :func:`conceptseg.network.bottleneck.bottlenecks` ranks, the first is
    marked as recommended that has influence on the logits of this image
    (:func:`conceptseg.network.influence.first_with_influence`); none if none has.

    Raises :class:`~conceptseg.errors.InputError` where there is TorchScript, which takes no hooks.
    """
    seen, sizes = watch(model, images)
    total = max(sum(sizes.values()), 1)
    marked = first_with_influence(model, images[:1], bottlenecks(seen, sizes))
    infos = []
    for name, call in sorted(seen.items(), key=lambda item: item[1].began):
        infos.append(
            LayerInfo(
                name=name,
                kind=type(call.module).__name__,
                shape=call.shape,
                stride=_stride(images, call.shape),
                parameters=size_of(call.module, sizes) / total,
                through=call.through / total,
                calls=call.calls,
            )
        )
    return [replace(info, recommended=info.name == marked) for info in infos]


def watch(model: Network, images: Tensor) -> tuple[dict[str, Seen], dict[nn.Module, int]]:
    """The first call of each module that runs on the first of `images`; modules' own parameters.

    Raises :class:`~conceptseg.errors.InputError` where there is TorchScript, which takes no hooks.
    """
    model.settle(images)
    root = model.module
    names = {name: module for name, module in root.named_modules() if name}
    if any(isinstance(module, torch.jit.ScriptModule) for module in names.values()):
        raise InputError(
            f"model {model.name!r} holds a TorchScript module, into which torch lets no one look; "
            "build it from its code (source: factory), or export that by torch.export (source: "
            "exported)"
        )
    sizes = _own_sizes(root)
    # Twice the same image: what has not one row per image (biases, windows) is then told apart.
    return _watch(model, images[:1].expand(2, -1, -1, -1), names, sizes), sizes


def _watch(
    model: Network,
    images: Tensor,
    names: dict[str, nn.Module],
    sizes: dict[nn.Module, int],
) -> dict[str, Seen]:
    """One pass: what each module puts out, and when."""
    from conceptseg.network.record import undisturbed

    seen: dict[str, Seen] = {}
    clock = iter(range(10**12))
    size = [0, 0]
    through = [0]

    def start(module: nn.Module, args: Any) -> None:
        size[:] = args[0].shape[2:]

    def begin(name: str, module: nn.Module, args: Any) -> None:
        if name not in seen:
            given = _shapes(module, args[:1], (size[0], size[1]), images.shape[0])
            level = level_of(size, given[0]) if given else None
            seen[name] = Seen(module, next(clock), entered=level)

    def end(name: str, module: nn.Module, output: Any) -> None:
        call = seen[name]
        call.calls += 1
        if call.calls > 1:
            return
        call.ended = next(clock)
        through[0] += sizes.get(module, 0)
        call.through = through[0]
        shapes = _shapes(module, output, (size[0], size[1]), images.shape[0])
        call.shape = shapes[0] if shapes else None
        call.plain = _is_plain(output, shapes, size)
        if call.shape:
            call.level = level_of(size, call.shape)

    with ExitStack() as stack:
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.no_grad())
        stack.callback(model.module.register_forward_pre_hook(start).remove)
        for name, module in names.items():
            stack.callback(
                module.register_forward_pre_hook(lambda m, a, n=name: begin(n, m, a)).remove
            )
            stack.callback(
                module.register_forward_hook(lambda m, _, o, n=name: end(n, m, o)).remove
            )
        model(images)
    return {name: call for name, call in seen.items() if call.calls}


def products(seen: Mapping[str, Seen], sizes: Mapping[nn.Module, int]) -> float:
    """About how many products one image's pass takes: weights times the places they serve."""
    maps = ((sizes.get(call.module, 0), call.shape) for call in seen.values())
    return float(sum(size * shape[1] * shape[2] for size, shape in maps if shape))


def _shapes(
    module: nn.Module, output: Any, size: tuple[int, int], batch: int
) -> list[tuple[int, int, int]]:
    """(u, y, x) of the map that `record` reads, then of others beside it in a tuple or list."""
    from conceptseg.network.layout import as_map, channel_order

    parts = output if isinstance(output, (tuple, list)) else (output,)
    shapes = []
    for part in parts:
        try:
            found, _ = as_map(part, size, batch, channel_order(module))
        except InputError:
            continue
        _, u, y, x = found.shape
        if y * x > 1:
            shapes.append((u, y, x))
    return shapes


def _is_plain(output: Any, shapes: list[tuple[int, int, int]], size: Sequence[int]) -> bool:
    """Whether an output surely is one map. Object queries may look like tokens of some odd grid."""
    if isinstance(output, Mapping) or len({shape[1:] for shape in shapes}) != 1:
        return False
    _, y, x = shapes[0]
    tensor = output if isinstance(output, Tensor) else output[0]
    if not isinstance(tensor, Tensor) or tensor.ndim != 3:
        return True
    whole = size[0] % y == 0 and size[1] % x == 0
    return whole and tensor.shape[1] - y * x in EXTRA_TOKENS


def _own_sizes(root: nn.Module) -> dict[nn.Module, int]:
    """Parameters that each module holds itself; one shared by several is counted once."""
    counted: set[int] = set()
    sizes: dict[nn.Module, int] = {}
    for _, module in root.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in counted]
        counted.update(map(id, own))
        if own:
            sizes[module] = sum(p.numel() for p in own)
    return sizes


def level_of(size: Sequence[int], shape: tuple[int, int, int]) -> int:
    """The stride of a map [u, y, x] of an image of a size (h, w), as a rounded power of two."""
    return round(log2(size[0] * size[1] / (shape[1] * shape[2])) / 2)


def _stride(images: Tensor, shape: tuple[int, int, int] | None) -> float | None:
    if shape is None:
        return None
    return max(images.shape[2] / shape[1], images.shape[3] / shape[2])
