"""Activations and gradients of named layers, and the part of a network that follows a layer.

A layer's name is one of `model.module.named_modules()`. A module that runs several times in a
pass is read at its first call; `name#1` is the second, `name#2` the third.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Self
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError, nearest
from conceptseg.network.blame import Backward
from conceptseg.network.contract import Enough, Network
from conceptseg.network.layout import Restore, full, read
from conceptseg.network.levels import Levels
from conceptseg.network.refused import did_not_run, without_gradients
from conceptseg.network.replay import Capture, Replay, called_with, usable

Edit = Callable[[Tensor], Tensor]

_WRITTEN_INTO: WeakKeyDictionary[nn.Module, WeakSet[nn.Module]] = WeakKeyDictionary()
"""Of each network, the modules into whose outputs it writes later: found once, then copied."""

_UNDISTURBED: ContextVar[frozenset[nn.Module]] = ContextVar("undisturbed", default=frozenset())
"""The networks that :func:`undisturbed` holds already, in this thread."""


def encode(model: Network, images: Tensor, layer: str | Levels) -> Tensor:
    """A layer's activation [n, u, y, x] for images [n, c, h, w]; nothing after the layer runs.

    Of several layers, their joint map. No graph is kept. Raises InputError if a layer does not
    exist, does not run, or has no spatial output.
    """
    levels = Levels.of(layer)
    with torch.no_grad(), Recorder(model, levels.names, stop=True) as recorder:
        recorder(images)
    return levels.joined(recorder.activations).detach()


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and parameters that take no gradient; afterwards all is as it was.

    Where no parameter takes a gradient, autograd builds no graph before the first tensor that
    does. The fused attention path is off, because it runs blocks without calling their layers.
    """
    if model in _UNDISTURBED.get():  # done around here; all modules once more would take long
        with torch.inference_mode(False):
            yield
        return
    modules = [module for _, module in model.named_modules()]
    training = [module for module in modules if module.training]
    own = (module._parameters.values() for module in modules)
    learning = [p for owned in own for p in owned if p is not None and p.requires_grad]
    fused = torch.backends.mha.get_fastpath_enabled()
    mark = _UNDISTURBED.set(_UNDISTURBED.get() | {model})
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for module in training:
            module.training = False
        for parameter in learning:
            parameter.requires_grad_(False)
        with torch.inference_mode(False):
            yield
    finally:
        _UNDISTURBED.reset(mark)
        torch.backends.mha.set_fastpath_enabled(fused)
        for module in training:
            module.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


class Recorder:
    """Takes, and optionally edits, what layers put out while it is open.

    ::

        with Recorder(model, ["layer3", "layer4"]) as recorder:
            logits = recorder(images)
        recorder.activations["layer4"]      # [n, u, y, x]

    `edit` maps a layer to a function of its map; what follows the layer, and `activations`, see
    the edited map. `gradients` keeps a graph from the first recorded layer on, for
    :meth:`gradient`. `stop` ends the pass as soon as all layers have run.

    While it is open the network is in evaluation mode and its parameters take no gradient. Images
    that require a gradient keep their graph. On leaving, after an error too, no hook is left and
    modes are as before; the activations stay.
    """

    def __init__(
        self,
        model: Network,
        layers: Sequence[str],
        *,
        gradients: bool = False,
        edit: Mapping[str, Edit] | None = None,
        stop: bool = False,
    ):
        self._model = model
        self._edit = dict(edit or {})
        self._keep_graph = gradients
        self._stop = stop
        self._open = ExitStack()
        self._size = (0, 0)
        self._batch = 0
        self._calls: Counter[str] = Counter()
        self._logits: Tensor | None = None
        self._asleep = False
        self.layers = tuple(dict.fromkeys([*layers, *self._edit]))
        self._found = {layer: find(model, layer) for layer in self.layers}
        self.activations: dict[str, Tensor] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(undisturbed(self._model))
            if self._keep_graph:
                stack.enter_context(torch.enable_grad())
            root = self._model.module
            stack.callback(root.register_forward_pre_hook(self._begin, with_kwargs=True).remove)
            for layer, (module, call) in self._found.items():
                hook = self._hook(layer, call)
                # Before hooks that the network has itself: transformers collects features by such.
                stack.callback(module.register_forward_hook(hook, prepend=True).remove)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def __call__(self, images: Tensor) -> Tensor | None:
        """Run the model on images [n, c, h, w]: its logits, or None when `stop` ended the pass."""
        self.activations, self._logits = {}, None
        self._asleep = True  # what is tried out first is not recorded
        self._model.settle(images)
        self._asleep = False
        with suppress(Enough):
            self._logits = full(self._model(usable(images.clone() if self._edit else images)))
        for layer in self.layers:
            if layer not in self.activations:
                raise did_not_run(layer, self._calls[layer])
        return self._logits

    def gradient(self, score: Score) -> dict[str, Tensor]:
        """d sum(score(logits)) / d activation for each layer, from the last pass' graph.

        The graph stays, so several scores can be taken from one pass. Zeros where a layer has no
        influence.
        """
        if not self._keep_graph or self._logits is None:
            raise ValueError("no graph was recorded: use Recorder(..., gradients=True), stop=False")
        wanted = [self.activations[layer] for layer in self.layers]
        with Backward(self._model.name):
            found = _gradients(score, self._logits, wanted, True)
        return dict(zip(self.layers, found, strict=True))

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._size, self._batch = called_with(args, kwargs)
        self._calls.clear()
        self.activations = {}

    def _hook(self, layer: str, call: int) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if self._asleep:
                return None
            self._calls[layer] += 1
            if self._calls[layer] != call + 1:
                return None
            window = self._model.window(self._size)
            found, restore = read(layer, module, output, self._size, self._batch, window)
            if layer in self._edit:
                found = self._edit[layer](found)
            if self._keep_graph and not torch.is_grad_enabled():
                raise without_gradients(layer)
            if self._keep_graph and not found.requires_grad:
                found = found.detach().requires_grad_()
            self.activations[layer] = found
            if self._stop and len(self.activations) == len(self.layers):
                raise Enough
            # What follows may write into its input in place, so it gets a copy of its own.
            return restore(found)

        return hook


class Tail:
    """A network from one layer on, for a batch of images whose part before it has been run once.

    `activation` [n, u, y, x] is the layer's output and `logits` [n, k, h, w] what follows from
    it. The part before the layer leaves no graph; tensors that skip the layer are kept. `passes`
    counts the images that went through the whole network ("forward"), and through the tail.

    Of several layers `activation` is their joint map, and `logits` follow from all of them at
    once: the part after the first one runs, and a layer behind another no longer follows it.
    """

    activation: Tensor
    logits: Tensor

    def __init__(self, model: Network, images: Tensor, layer: str | Levels):
        self.model = model
        self.images = images
        self.levels = Levels.of(layer)
        self.passes: Counter[str] = Counter()
        self._shapes: dict[str, torch.Size] = {}
        self._restores: dict[str, Restore] = {}
        self._replay: Replay

    @classmethod
    def of(cls, model: Network, images: Tensor, layer: str | Levels, graph: bool = False) -> Self:
        """Run images [n, c, h, w] once, split at a layer.

        With `graph`, `logits` hang on `activation` in autograd, and on nothing else, so that
        :meth:`gradient` costs one backward pass of the part after the layer. Raises InputError
        if the layer does not exist, does not run, has no spatial output, or (with `graph`) has
        no way to the logits.
        """
        model.settle(images)
        tail = cls(model, usable(images).detach(), layer)
        targets = {name: find(model, name) for name in tail.levels.names}
        copied = _WRITTEN_INTO.setdefault(model.module, WeakSet())
        written: Set[nn.Module] = {module for module, _ in targets.values()}
        while written:
            capture = Capture(model.module, targets, copied)
            tail._run(capture, graph)
            tail.passes["forward"] += images.shape[0]
            written = capture.written()
            copied.update(written)
        if graph and len(targets) > 1:  # the joint map is there only now, when all have run
            with torch.enable_grad():
                tail.logits = tail.resume(tail.activation.requires_grad_())
        if graph and not tail.logits.requires_grad:
            name = str(tail.levels)
            raise InputError(f"layer {name!r} has no influence on the logits; choose another")
        return tail

    def _run(self, capture: Capture, graph: bool) -> None:
        seen: list[tuple[tuple[int, int], int]] = []
        maps: dict[str, Tensor] = {}
        alone = len(capture.targets) == 1

        def begin(module: nn.Module, args: Any, kwargs: Any) -> None:
            seen.append(called_with(args, kwargs))

        def split(layer: str, raw: Any) -> Any:
            if graph and not torch.is_grad_enabled():
                raise without_gradients(layer)
            size, batch = seen[-1]
            window, module = self.model.window(size), capture.targets[layer][0]
            found, self._restores[layer] = read(layer, module, raw, size, batch, window)
            maps[layer] = found.detach().requires_grad_(graph and alone)
            return self._restores[layer](maps[layer])

        with ExitStack() as stack:
            stack.enter_context(undisturbed(self.model))
            stack.enter_context(torch.set_grad_enabled(graph))
            root = self.model.module
            stack.callback(root.register_forward_pre_hook(begin, with_kwargs=True).remove)
            stack.enter_context(capture.watching(split))
            self.logits = full(self.model(self.images))
        for layer in capture.missing:
            raise did_not_run(layer, None)
        self._shapes = {layer: found.shape for layer, found in maps.items()}
        self.activation = self.levels.joined(maps)
        self._replay = Replay(capture, self.images.shape[0])

    def resume(self, activation: Tensor) -> Tensor:
        """Logits [r n, k, h, w] that follow from another activation [r n, u, y, x] of the layer.

        Rows i r .. i r + r - 1 are variants of image i. Modules that had finished before the
        layer are not run again, so `resume(tail.activation)` equals `tail.logits`, skips and all.
        Differentiable in `activation` where that requires a gradient.
        """
        n = self.images.shape[0]
        if activation.shape[1:] != self.activation.shape[1:] or activation.shape[0] % n:
            raise InputError(
                f"layer {str(self.levels)!r} needs a multiple of {n} maps of shape "
                f"{list(self.activation.shape[1:])}, got {list(activation.shape)}"
            )
        repeats = activation.shape[0] // n
        if repeats == 0:
            return self.logits[:0].detach()
        if self._replay.repeatable:
            return self._resume(activation, repeats)
        # Something that is kept has not one row per image (say, windows of images), so it cannot
        # be repeated image by image: run the variants one after the other instead.
        parts = [self._resume(activation[start::repeats], 1) for start in range(repeats)]
        return torch.stack(parts, 1).flatten(0, 1)

    def _resume(self, activation: Tensor, repeats: int) -> Tensor:
        images = self.images.repeat_interleave(repeats, 0)  # others: what is edited is not watched
        self.passes["tail"] += images.shape[0]
        with undisturbed(self.model):
            maps = self.levels.parted(activation, self._shapes)
            raws = {layer: self._restores[layer](found) for layer, found in maps.items()}
            return full(self._replay.run(lambda: self.model(images), raws, repeats))

    def gradient(self, score: Score, retain: bool = True) -> Tensor:
        """d sum(score(logits)) / d activation, [n, u, y, x]; needs `graph=True`.

        Images do not interact in evaluation mode, so row i is the gradient of image i's own
        score. `retain` keeps the graph for further scores; without it the memory is freed.
        """
        if not self.activation.requires_grad:
            raise ValueError("this tail was made without a graph: use Tail.of(..., graph=True)")
        self.passes["tail backward"] += self.images.shape[0]
        with Backward(self.model.name):
            (found,) = _gradients(score, self.logits, [self.activation], retain)
        return found


def _gradients(
    score: Score, logits: Tensor, wanted: Sequence[Tensor], retain: bool
) -> Sequence[Tensor]:
    """d sum(score(logits)) / d each of `wanted`, zeros where there is no way to it."""
    with torch.inference_mode(False), torch.enable_grad():
        values = score(logits)
        if not values.requires_grad:
            return [torch.zeros_like(tensor) for tensor in wanted]
        return torch.autograd.grad(
            values.sum(), wanted, retain_graph=retain, materialize_grads=True
        )


def find(model: Network, layer: str) -> tuple[nn.Module, int]:
    """The module that a layer's name stands for, and which of its calls in a pass is meant."""
    name, mark, call = layer.partition("#")
    named = dict(model.module.named_modules())
    if not name or name not in named:
        raise InputError(f"layer {name!r} does not exist: {nearest(name, filter(None, named))}")
    if mark and not call.isdecimal():
        raise InputError(f"layer {layer!r}: after '#' comes a call's number, '{name}#1'")
    return named[name], int(call or 0)


Score = Callable[["Tensor"], "Tensor"]
"""Logits [n, k, h, w] -> one number per image [n], its class and region already fixed."""
