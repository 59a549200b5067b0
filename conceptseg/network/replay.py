"""Running a network up to some layers once, and from there on as often as wanted.

A network with skips is not `tail(head(x))`: the part after a layer also reads tensors made before
it. So the clean pass keeps the output of every outermost module that finished before the layer
did, and a replay runs the network's own code with those modules handing out what was kept. Of
several layers that is the one that finishes first; the others hand out what they are given.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.network.layout import rows_match, spread, tensors_in

Forward = Callable[..., Any]


@contextmanager
def swapped_forwards(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Other `forward`s for some modules, their own again afterwards.

    Not hooks: hooks that are already on a module see the same calls and outputs as always, so
    one that edits outputs edits a replay exactly once.
    """
    before = {module: module.__dict__.get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, own in before.items():
            if own is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own


class Kept:
    """One finished call of a module: what it put out, and whether that is still intact."""

    def __init__(self, module: nn.Module, output: Any, copied: bool):
        self.module = module
        self.copied = copied
        self.output = spread(output, 0, 1) if copied else output
        self._versions = [] if copied else [_version(part) for part in tensors_in(output)]

    def intact(self) -> bool:
        """False if something wrote into the output in place after the module had returned it."""
        return self.copied or self._versions == [_version(part) for part in tensors_in(self.output)]


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


class Capture:
    """Keeps what a replay needs during one forward pass of `root`.

    The calls under way form a stack; each holds the calls that finished directly within it. When
    the first of the layers finishes, all that the calls still under way hold is what a replay
    needs. `targets` are the layers by name, each a module and which of its calls is meant.

    A kept output must be what it was when its module returned, though others may write into it
    later (`relu(inplace=True)`, `out += identity`). To copy every output would cost a good part
    of a small network's pass, so only those of `copied` modules are copied, the others watched:
    if :meth:`written` names some, the pass must be repeated with these copied too.
    """

    def __init__(
        self,
        root: nn.Module,
        targets: Mapping[str, tuple[nn.Module, int]],
        copied: Set[nn.Module],
    ):
        self.targets = targets
        self._modules = [
            m for _, m in root.named_modules() if not isinstance(m, torch.jit.ScriptModule)
        ]
        self._wanted = {target: layer for layer, target in targets.items()}
        self._owners = {module for module, _ in targets.values()}
        self._calls: Counter[nn.Module] = Counter()
        self._under_way: str | None = None
        self._copied = copied
        self._stack: list[list[Kept]] = []
        self.kept: list[Kept] = []
        self.ran: list[tuple[nn.Module, str | None]] = []
        """Calls of the layers' modules from the first layer on: the layer, None of other calls."""

    @property
    def begun(self) -> bool:
        """Whether the first of the layers has finished."""
        return bool(self.ran)

    @property
    def missing(self) -> list[str]:
        """The layers that have not run."""
        ran = {layer for _, layer in self.ran}
        return [layer for layer in self.targets if layer not in ran]

    def written(self) -> set[nn.Module]:
        """Modules whose kept output was written into, so that it is not what they returned."""
        return {kept.module for kept in self.kept if not kept.intact()}

    @contextmanager
    def watching(self, replace: Callable[[str, Any], Any]) -> Iterator[None]:
        """Watch the pass made inside; a layer's raw output becomes `replace(layer, raw)`."""
        forwards = {module: self._watched(module, replace) for module in self._modules}
        with swapped_forwards(forwards):
            yield

    def _watched(self, module: nn.Module, replace: Callable[[str, Any], Any]) -> Forward:
        own = module.forward
        wanted = module in self._owners

        @wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if self.begun and not wanted:
                return own(*args, **kwargs)
            layer = self._enter(module) if wanted else None
            self._stack.append([])
            try:
                output = own(*args, **kwargs)
            finally:
                self._stack.pop()
                if layer is not None:
                    self._under_way = None
            return self._finish(module, layer, output, replace)

        return forward

    def _enter(self, module: nn.Module) -> str | None:
        """The layer that this call of a module is, if it is one."""
        layer = self._wanted.get((module, self._calls[module]))
        self._calls[module] += 1
        if layer is not None:
            if self._under_way is not None:
                raise InputError(
                    f"layer {layer!r} runs within {self._under_way!r}, so that the two cannot be "
                    "given values side by side; name one of them"
                )
            self._under_way = layer
        return layer

    def _finish(
        self,
        module: nn.Module,
        layer: str | None,
        output: Any,
        replace: Callable[[str, Any], Any],
    ) -> Any:
        if layer is not None and not self.begun:
            self.kept = [kept for calls in self._stack for kept in calls]
        if layer is not None or (self.begun and module in self._owners):
            self.ran.append((module, layer))
        if layer is not None:
            return replace(layer, output)
        if self._stack and not self.begun:
            self._stack[-1].append(Kept(module, output, module in self._copied))
        return output


class Replay:
    """Runs a network on from replaced outputs of layers, from the outputs that a capture kept."""

    def __init__(self, capture: Capture, n: int):
        self._calls = [(kept.module, kept.output, kept.copied) for kept in capture.kept]
        self._ran = capture.ran
        self._n = n
        self.repeatable = all(rows_match(output, n) for _, output, _ in self._calls)

    def run(
        self, forward: Callable[[], Tensor], raws: Mapping[str, Any], repeats: int = 1
    ) -> Tensor:
        """What `forward()` returns when each layer puts out its own of `raws`.

        Nothing before the first of them runs.
        """
        queues: dict[nn.Module, deque[Callable[[Forward], Any]]] = {}
        for module, output, written in self._calls:
            queues.setdefault(module, deque()).append(self._kept(output, written, repeats))
        for module, layer in self._ran:
            queues.setdefault(module, deque()).append(
                _own if layer is None else _given(raws[layer])
            )
        left = [len(self._calls) + len(self._ran)]
        forwards = {module: _served(module, queue, left) for module, queue in queues.items()}
        with swapped_forwards(forwards):
            result = forward()
        if left[0]:
            raise InputError(
                "the network took another path when it was run again from the layer on; "
                "choose another layer"
            )
        return result

    def _kept(self, output: Any, written: bool, repeats: int) -> Callable[[Forward], Any]:
        # What the network does not write into later can be handed out as it is.
        as_is = repeats == 1 and not written
        return lambda call: output if as_is else spread(output, self._n, repeats)


def _own(call: Forward) -> Any:
    return call()


def _given(raw: Any) -> Callable[[Forward], Any]:
    return lambda call: raw


def _served(module: nn.Module, queue: deque[Callable[[Forward], Any]], left: list[int]) -> Forward:
    """A module whose calls are answered one after the other, then by its own forward again."""
    own = module.forward

    @wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if not queue:
            return own(*args, **kwargs)
        left[0] -= 1
        return queue.popleft()(lambda: own(*args, **kwargs))

    return forward


def called_with(args: Any, kwargs: Mapping[str, Any]) -> tuple[tuple[int, int], int]:
    """Size (h, w) and number of the images that a network was called with."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.dim() == 4:
            return (value.shape[2], value.shape[3]), value.shape[0]
    raise InputError("the network was not called with a batch of images [n, c, h, w]")


def usable(images: Tensor) -> Tensor:
    """Images that autograd can work with, though they were made in inference mode."""
    with torch.inference_mode(False):
        return images.clone() if images.is_inference() else images
