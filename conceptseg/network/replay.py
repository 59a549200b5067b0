"""Running a network up to a layer once, and from there on as often as wanted.

A network with skips is not `tail(head(x))`: the part after a layer also reads tensors made before
it. So the clean pass keeps the output of every outermost module that finished before the layer
did, and a replay runs the network's own code with those modules handing out what was kept.
"""

from collections import deque
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
    the layer finishes, all that the calls still under way hold is what a replay needs.

    A kept output must be what it was when its module returned, though others may write into it
    later (`relu(inplace=True)`, `out += identity`). To copy every output would cost a good part
    of a small network's pass, so only those of `copied` modules are copied, the others watched:
    if :meth:`written` names some, the pass must be repeated with these copied too.
    """

    def __init__(self, root: nn.Module, target: nn.Module, call: int, copied: Set[nn.Module]):
        self.target = target
        self._modules = [
            m for _, m in root.named_modules() if not isinstance(m, torch.jit.ScriptModule)
        ]
        self._call = call
        self._copied = copied
        self._stack: list[list[Kept]] = []
        self.kept: list[Kept] = []
        self.finished = False

    def written(self) -> set[nn.Module]:
        """Modules whose kept output was written into, so that it is not what they returned."""
        return {kept.module for kept in self.kept if not kept.intact()}

    @contextmanager
    def watching(self, replace: Callable[[Any], Any]) -> Iterator[None]:
        """Watch the pass made inside; the layer's raw output becomes `replace(raw)`."""
        forwards = {module: self._watched(module, replace) for module in self._modules}
        with swapped_forwards(forwards):
            yield

    def _watched(self, module: nn.Module, replace: Callable[[Any], Any]) -> Forward:
        own = module.forward

        @wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if self.finished:
                return own(*args, **kwargs)
            self._stack.append([])
            try:
                output = own(*args, **kwargs)
            finally:
                self._stack.pop()
            return output if self.finished else self._finish(module, output, replace)

        return forward

    def _finish(self, module: nn.Module, output: Any, replace: Callable[[Any], Any]) -> Any:
        if module is self.target:
            self._call -= 1
            if self._call < 0:
                self.finished = True
                self.kept = [kept for calls in self._stack for kept in calls]
                return replace(output)
        if self._stack:
            self._stack[-1].append(Kept(module, output, module in self._copied))
        return output


class Replay:
    """Runs a network from a replaced layer output on, from the outputs that a capture kept."""

    def __init__(self, capture: Capture, n: int):
        self._calls = [(kept.module, kept.output, kept.copied) for kept in capture.kept]
        self._target = capture.target
        self._n = n
        self.repeatable = all(rows_match(output, n) for _, output, _ in self._calls)

    def run(self, forward: Callable[[], Tensor], raw: Any, repeats: int = 1) -> Tensor:
        """What `forward()` returns when the layer puts out `raw` and nothing before it runs."""
        queues: dict[nn.Module, deque[Any]] = {}
        for module, output, written in self._calls:
            queues.setdefault(module, deque()).append((output, written))
        queues.setdefault(self._target, deque()).append((raw, False))
        left = [len(self._calls) + 1]
        forwards = {
            module: self._served(module, queue, repeats, raw, left)
            for module, queue in queues.items()
        }
        with swapped_forwards(forwards):
            result = forward()
        if left[0]:
            raise InputError(
                "the network took another path when it was run again from the layer on; "
                "choose another layer"
            )
        return result

    def _served(
        self, module: nn.Module, queue: deque[Any], repeats: int, raw: Any, left: list[int]
    ) -> Forward:
        own = module.forward

        @wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if not queue:
                return own(*args, **kwargs)
            left[0] -= 1
            value, written = queue.popleft()
            # What the network does not write into later can be handed out as it is.
            as_is = value is raw or (repeats == 1 and not written)
            return value if as_is else spread(value, self._n, repeats)

        return forward
