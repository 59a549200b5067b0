"""A copy of a network in which BatchNorm is folded into the layer before it, checked.

Relevance is shared out by what each input adds to a sum. A normalisation between the sum and its
rectifier would be a layer of its own, with a bias that swallows relevance; folded in, it is part of
the sum. One that follows the rectifier belongs to what reads it
(:mod:`conceptseg.explain.lrp.constants`). Which norm follows which layer is told by the data, not
by the order of definitions, and the norm's eps is folded with the rest, so that the logits stay
what they were.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conceptseg.errors import InputError
from conceptseg.explain.lrp.fold import (
    DIRECT,
    TRANSPOSED,
    fold_calls,
    fold_weight,
    puts_out_other,
)
from conceptseg.explain.lrp.graph import WEIGHTED, Graph, Node, record
from conceptseg.explain.lrp.places import Places
from conceptseg.network.layout import tensors_in
from conceptseg.network.record import undisturbed

if TYPE_CHECKING:
    from conceptseg.network.model import SegmentationModel

TOLERANCE = 1e-4
_NORM = nn.modules.batchnorm._BatchNorm
_PLAIN = {_NORM.forward, nn.SyncBatchNorm.forward}
"""How a norm runs that does nothing else; a class of its own may rectify or drop as well."""


@dataclass(frozen=True)
class Canonical:
    """The copy, the graph of its operations, the places of its weights, and how many norms of how
    many were folded."""

    model: SegmentationModel
    graph: Graph
    norms: int
    folded: int
    places: Places


class Affine(nn.Module):
    """x times a factor plus a shift, per channel: what is left of a norm folded in part."""

    def __init__(self, factor: Tensor, shift: Tensor):
        super().__init__()
        self.register_buffer("factor", factor)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        factor, shift = self.get_buffer("factor"), self.get_buffer("shift")
        nothing, one = torch.zeros_like(factor), torch.ones_like(factor)
        # As the norm that it is, so that the shift goes on as one.
        return F.batch_norm(x, nothing, one, factor, shift, eps=0.0)


def canonise(model: SegmentationModel, images: Tensor) -> Canonical:
    """The canonised copy of a network, found by one pass of the first of `images`.

    Raises InputError for TorchScript, and for a norm that reads its batch in evaluation mode.
    """
    for name, module in model.module.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"module {name!r} is TorchScript, into which no rule can look; load the "
                "network from its code (source: factory)"
            )
        if isinstance(module, _NORM) and module.running_mean is None:
            raise InputError(
                f"module {name!r} ({type(module).__name__}) keeps no running statistics, so "
                "its logits depend on the other images of the batch; relevance needs fixed ones"
            )
    with torch.inference_mode(False):
        other = _copied(model)
        _plain(other)
        _as_norms(other.module)
        graph = _recorded(other, images)
        norms = {node.owner for node in graph.nodes if node.name == "batch_norm"}
        folded = _fold_all(other.module, graph)
        if folded:
            graph = _recorded(other, images)
    return Canonical(other, graph, len(norms), folded, Places.of(other.module, graph))


def _copied(model: SegmentationModel) -> SegmentationModel:
    """A copy, also of a network that holds what a pass with a graph has left in it.

    Old hooks keep the weight that they compute as such a tensor, which refuses to be copied.
    """
    held = [value for _, module in model.named_modules() for value in vars(module).values()]
    left = [t for t in held if isinstance(t, Tensor) and not t.is_leaf]
    return copy.deepcopy(model, {id(t): t.detach().clone() for t in left})


def _plain(model: nn.Module) -> None:
    """Evaluation mode, nothing to be learnt, and tensors that may take part in a graph."""
    model.eval()
    for _, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(
                    parameter.detach().clone(), requires_grad=False
                )


def _as_norms(root: nn.Module) -> None:
    """Put torch's own norm wherever one is written out as a factor and a shift, as frozen ones are
    (torchvision's FrozenBatchNorm2d, DETR's); their shift would take relevance as a bias does."""
    for _, module in [*root.named_modules()]:
        norm = _as_norm(module)
        if norm is not None:
            _replace(root, module, norm)


def _as_norm(module: nn.Module) -> nn.BatchNorm2d | None:
    """The norm that puts out what a module of a norm's tensors does; None of any other module."""
    held = {**module._parameters, **module._buffers}
    own = [held.get(name) for name in ("running_mean", "running_var", "weight", "bias")]
    if isinstance(module, _NORM) or module._modules or any(one is None for one in own):
        return None
    mean, variance, weight, bias = (one.detach() for one in own if one is not None)
    if mean.dim() != 1 or not mean.shape == variance.shape == weight.shape == bias.shape:
        return None
    norm = nn.BatchNorm2d(len(mean), eps=getattr(module, "eps", 1e-5)).to(mean).eval()
    norm.running_mean, norm.running_var = mean, variance
    norm.weight, norm.bias = (nn.Parameter(one, requires_grad=False) for one in (weight, bias))
    # Far to either side as well: it may rectify what it normalises.
    steps = torch.tensor([[-100.0, -1.0], [1.0, 100.0]]).to(mean)
    tried = mean[:, None, None] + steps * (variance + norm.eps).sqrt()[:, None, None]
    with torch.no_grad():
        expected = norm(tried[None])
        try:
            found = module(tried[None])
        except Exception:  # it takes something else than an image
            return None
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    off = float((found - expected).abs().max())
    return norm if off <= TOLERANCE * max(1.0, float(expected.abs().max())) else None


def _recorded(model: SegmentationModel, images: Tensor) -> Graph:
    with undisturbed(model):
        return record(model.module, lambda: model(images[:1].detach().clone()))


def _fold_all(root: nn.Module, graph: Graph) -> int:
    """Fold every norm that can be; how many are gone altogether."""
    consumers = graph.consumers()
    calls = Counter(node.owner for node in graph.nodes if node.name == "batch_norm")
    uses = Counter(id(node.weight) for node in graph.weighted())
    named = dict(root.named_modules())
    whole = 0
    for node in graph.nodes:
        norm = named.get(node.owner)
        if node.name != "batch_norm" or not isinstance(norm, _NORM) or calls[node.owner] > 1:
            continue
        factor, shift = _affine(norm)
        left, moved = factor.clone(), shift.clone()
        for source, start, stop in _parts(graph, node, consumers, len(factor)):
            layer = named.get(source.owner)
            if layer is None:
                continue
            if _holds(layer, source, uses):
                fold_weight(layer, factor[start:stop], shift[start:stop])
            elif _computes(source, graph):
                fold_calls(layer, factor[start:stop], shift[start:stop])
            else:
                continue
            left[start:stop], moved[start:stop] = 1.0, 0.0
        gone = bool((left == 1).all()) and bool((moved == 0).all())
        whole += gone
        if not gone and torch.equal(left, factor):
            continue
        if type(norm).forward not in _PLAIN:
            _reset(norm, left, moved)
        elif gone:
            _replace(root, norm, nn.Identity())
        else:
            _replace(root, norm, Affine(left.to(factor), moved.to(factor)).to(_dtype(norm)))
    return whole


def _reset(norm: Any, factor: Tensor, shift: Tensor) -> None:
    """Leave a norm that does more than to normalise, as to rectify, in its place, with what it does
    besides, and no other factor and shift than these."""
    kind = norm.running_mean
    norm.running_mean, norm.running_var = torch.zeros_like(kind), torch.ones_like(kind)
    norm.eps = 0.0
    norm.weight = nn.Parameter(factor.to(kind), requires_grad=False)
    norm.bias = nn.Parameter(shift.to(kind), requires_grad=False)


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Factor and shift of a norm at its running statistics, eps included, in float64."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    factor = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    shift = -mean * factor
    return factor, shift if norm.bias is None else shift + norm.bias.double()


def _dtype(norm: Any) -> torch.dtype:
    found: torch.dtype = norm.running_mean.dtype
    return found


def _parts(
    graph: Graph, norm: Node, consumers: dict[int, list[int]], width: int
) -> list[tuple[Node, int, int]]:
    """The nodes that a norm alone reads, with their channels: one, or those of a concatenation."""
    if not norm.inputs:
        return []
    source = graph.nodes[norm.inputs[0]]
    if consumers[source.index] != [norm.index]:
        return []
    if source.name not in ("cat", "concat", "concatenate"):
        return [(source, 0, width)]
    if source.axis not in (1, -3) or len(source.inputs) != len(source.sizes):
        return []
    found, start = [], 0
    for index, size in zip(source.inputs, source.sizes, strict=True):
        if consumers[index] == [source.index]:
            found.append((graph.nodes[index], start, start + size))
        start += size
    return found


def _holds(layer: nn.Module, node: Node, uses: Counter[int]) -> bool:
    """Whether a node is the only use of a weight that its layer holds."""
    return (
        isinstance(layer, (*DIRECT, *TRANSPOSED))
        and layer._parameters.get("weight") is node.weight
        and uses[id(node.weight)] == 1
    )


def _computes(node: Node, graph: Graph) -> bool:
    """Whether a node is all that its module does with weights in a pass, and its weight, which may
    be computed, is the same for every image."""
    owner = node.owner
    inside = any(name.startswith(f"{owner}.") for name in graph.calls)
    alone = graph.calls[owner] == 1 and not inside
    return node.name in WEIGHTED and bool(owner) and alone and len(node.inputs) == 1


def _replace(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever `old` is held; hooks of the network's own (none as a rule) go with it."""
    for _, module in root.named_modules():
        for name, child in [*module._modules.items()]:
            if child is old:
                module._modules[name] = new


def guard(
    model: SegmentationModel, canonical: Canonical, run: Callable[[], Tensor], images: Tensor
) -> None:
    """Refuse a copy whose logits on the first of `images` are not the network's.

    max |z' - z| <= 1e-4 max(1, max |z|), where z' is what `run` gives. Raises InputError naming
    the first module that puts out something else.
    """
    image = images[:1].detach().clone()
    with undisturbed(model), torch.no_grad():
        expected = model(image)
        found = run().detach()
    if not expected.isfinite().all():
        raise InputError(f"model {model.name!r} returns NaN or infinity; check its weights")
    off = float((found - expected).abs().max())
    if off <= TOLERANCE * max(1.0, float(expected.abs().max())):
        return
    raise InputError(
        f"the canonised copy's logits are off by {off:.2g}; the first module that differs is "
        f"{_first_difference(model, canonical, run, image)}. It may draw at random, keep a state "
        "or write into its input: the rules need a plain function (an nn.Module without these)"
    )


def _first_difference(
    model: SegmentationModel, canonical: Canonical, run: Callable[[], Tensor], image: Tensor
) -> str:
    def outputs(root: nn.Module, call: Callable[[], Any]) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                found = next(iter(tensors_in(output)), None)
                if found is not None:
                    seen[name] = found.detach().clone()

            return hook

        with ExitStack() as stack, torch.no_grad(), undisturbed(root):
            for name, module in root.named_modules():
                stack.callback(module.register_forward_hook(keep(name)).remove)
            call()
        return seen

    theirs = outputs(model.module, lambda: model(image))
    ours = outputs(canonical.model.module, run)
    kinds, copies = (dict(one.module.named_modules()) for one in (model, canonical.model))
    for name, expected in theirs.items():
        if name not in ours or ours[name].shape[1:] != expected.shape[1:]:
            continue
        if puts_out_other(kinds[name], copies[name]):
            continue
        found = ours[name][: len(expected)]  # references of the image may follow it
        scale = max(1.0, float(expected.abs().max()))
        if float((found - expected).abs().max()) > TOLERANCE * scale:
            return f"{name or 'the network itself'!r} ({type(kinds[name]).__name__})"
    return "none that can be seen"
