"""Which operations a network runs on an image, in which module, and what feeds what."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from conceptseg.explain.lrp.kept import Operation, parse
from conceptseg.network.layout import tensors_in

WEIGHTED = frozenset(
    {"conv1d", "conv2d", "conv3d", "linear"}
    | {f"conv_transpose{d}d" for d in (1, 2, 3)}
)  # fmt: skip
"""Operations x, weight, bias -> a linear map of x plus the bias."""

LINEAR = frozenset(
    {"interpolate", "upsample", "avg_pool2d", "adaptive_avg_pool2d", "mean", "add", "sub", "sum"}
    | {"__add__", "__radd__", "__iadd__", "__sub__", "add_", "mul", "div", "truediv", "__mul__"}
    | {"dropout", "dropout2d", "feature_dropout", "cat", "concat", "concatenate", "stack", "pad"}
    | {"flatten", "unflatten", "view", "reshape", "permute", "transpose", "contiguous", "clone"}
    | {"squeeze", "unsqueeze", "expand", "__getitem__", "chunk", "split", "narrow", "to", "float"}
    | {"pixel_shuffle", "expand_as", "repeat", "__get__", "view_as", "movedim", "identity"}
    | {"rsub", "__rsub__", "__rmul__", "mul_", "div_", "__truediv__", "antialias"}
)  # fmt: skip
"""Operations that change no value but by place, sum or factor: behind the last weighted layer
they leave it the last, before the first one they leave it the first."""


@dataclass(eq=False)
class Node:
    """One operation: its name, the module that runs it (a name, "" for the root), its sources.

    `weight` is its second argument where that is a parameter of a weighted operation, `period` the
    distance in input pixels of what a dilated or strided one reads unevenly, 0 where it does not,
    `number` its place among the weighted operations of one call of its module.
    """

    index: int
    name: str
    owner: str
    inputs: tuple[int, ...]
    weight: Tensor | None = None
    axis: int | None = None
    sizes: tuple[int, ...] = ()
    period: float = 0.0
    number: int = 0


@dataclass(eq=False)
class Graph:
    """The nodes of one pass in order; `entered` and `left` say which node each module call took
    in and put out, by module name and in order of calls; `image` is the entry's node; `calls`
    counts each module's weighted operations, those too that read nothing of the image.
    """

    nodes: list[Node] = field(default_factory=list)
    entered: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    left: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    outputs: tuple[int, ...] = ()
    width: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def periods(self) -> tuple[float, ...]:
        """The periods of grids that convolutions may draw on the image, in pixels of the input."""
        return tuple(sorted({node.period for node in self.nodes if node.period > 1}))

    def consumers(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {node.index: [] for node in self.nodes}
        for node in self.nodes:
            for source in node.inputs:
                found[source].append(node.index)
        return found

    def ancestors(self, starts: tuple[int, ...]) -> set[int]:
        """The nodes that lead to these, these included."""
        seen, todo = set(starts), list(starts)
        while todo:
            for source in self.nodes[todo.pop()].inputs:
                if source not in seen:
                    seen.add(source)
                    todo.append(source)
        return seen

    def weighted(self) -> list[Node]:
        return [node for node in self.nodes if node.name in WEIGHTED]

    def first(self) -> list[Node]:
        """Weighted nodes that the image reaches without another one on the way."""
        plain = {0}
        for node in self.nodes[1:]:
            if node.name in LINEAR and node.inputs and all(i in plain for i in node.inputs):
                plain.add(node.index)
        return [node for node in self.weighted() if node.inputs and node.inputs[0] in plain]

    def last(self) -> list[Node]:
        """Weighted nodes from which the output is reached by sums, factors and moves alone."""
        found, seen, todo = [], set(self.outputs), list(self.outputs)
        while todo:
            node = self.nodes[todo.pop()]
            if node.name in WEIGHTED:
                found.append(node)
            elif node.name in LINEAR:
                todo += [i for i in node.inputs if i not in seen]
                seen.update(node.inputs)
        return found

    def bypass(self, layer: str) -> str | None:
        """The block in whose residual branch a layer lies: relevance can pass the layer by.

        That is the innermost module, not the whole network, that contains the layer and itself
        adds something that has seen the layer to something that comes from the block's input
        without having seen it. None where there is none.
        """
        name = layer.partition("#")[0]
        outputs = {i for call in self.left.get(name, ()) for i in call}
        if not outputs:
            return None
        for node in reversed(self.nodes):
            owner = node.owner
            if node.name not in _ADDS or not owner or not name.startswith(owner + "."):
                continue
            entered = {i for call in self.entered.get(owner, ()) for i in call}
            before = [self.ancestors((source,)) for source in node.inputs]
            through = [bool(outputs & seen) for seen in before]
            around = [
                not t and bool(entered & seen) for t, seen in zip(through, before, strict=True)
            ]
            if any(through) and any(around):
                return owner
        return None


_ADDS = frozenset({"add", "add_", "__add__", "__iadd__", "__radd__"})
_MARK = "_conceptseg_node"


class Where:
    """Which module of a network is running; hooks keep a stack of names."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self._numbers = [0]  # one more than the stack: what runs around the network counts too

    @property
    def name(self) -> str:
        return self.stack[-1] if self.stack else ""

    def number(self) -> int:
        """Counts up from 0 within one call of the module that runs."""
        self._numbers[-1] += 1
        return self._numbers[-1] - 1

    @contextmanager
    def watching(
        self,
        root: nn.Module,
        entered: Callable[[str, Any], None] | None = None,
        left: Callable[[str, Any], None] | None = None,
    ) -> Iterator[None]:
        self.stack, self._numbers = [], [0]

        def begin(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any) -> None:
                self.stack.append(name)
                self._numbers.append(0)
                if entered is not None:
                    entered(name, args)

            return hook

        def end(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                if self.stack:
                    self.stack.pop()
                    self._numbers.pop()
                if left is not None:
                    left(name, output)

            return hook

        with ExitStack() as stack:
            for name, module in root.named_modules():
                stack.callback(module.register_forward_pre_hook(begin(name)).remove)
                stack.callback(module.register_forward_hook(end(name), prepend=True).remove)
            yield


class _Recording(TorchFunctionMode):
    def __init__(self, graph: Graph, where: Where):
        super().__init__()
        self.graph, self.where = graph, where

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        number = 0
        if name in WEIGHTED:
            number = self.where.number()
            self.graph.calls[self.where.name] += 1
        output = func(*args, **kwargs)
        made = [t for t in tensors_in(output) if t.is_floating_point()]
        if not made:
            return output
        given = list(tensors_in([*args, *kwargs.values()]))
        node = Node(
            len(self.graph.nodes),
            name,
            self.where.name,
            tuple(getattr(t, _MARK) for t in given if hasattr(t, _MARK)),
            number=number,
        )
        if not node.inputs:
            return output
        if name in WEIGHTED:
            operation, x, (node.weight, _) = parse(func, name, args, kwargs)
            node.period = _period(operation, node.weight, self.graph.width / x.shape[-1])
        if name in ("cat", "concat", "concatenate"):
            node.axis = int(args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0)))
            node.sizes = tuple(t.shape[node.axis] for t in given)
        self.graph.nodes.append(node)
        for tensor in made:
            setattr(tensor, _MARK, node.index)
        return output


def _period(operation: Operation, weight: Tensor, scale: float) -> float:
    """Of a convolution on a grid `scale` pixels wide: its holes, or the step that it takes where
    neighbouring kernels overlap unevenly."""
    if operation.name == "linear" or operation.name.startswith("conv_transpose"):
        return 0.0
    holes, step = (_last(operation.rest.get(key, 1)) for key in ("dilation", "stride"))
    if weight.shape[-1] == 1:
        return scale * step if step > 1 else 0.0
    if holes > 1:
        return scale * holes
    return scale * step if step > 1 and weight.shape[-1] % step else 0.0


def _last(value: Any) -> int:
    return int(value if isinstance(value, int) else value[-1])


def record(root: nn.Module, run: Callable[[], Any]) -> Graph:
    """The graph of the operations that `root` runs when `run` is called."""
    graph, where = Graph(), Where()

    def marks(value: Any) -> tuple[int, ...]:
        return tuple(getattr(t, _MARK) for t in tensors_in(value) if hasattr(t, _MARK))

    def entered(name: str, args: Any) -> None:
        if name == "" and not graph.nodes:
            graph.nodes.append(Node(0, "image", "", ()))
            for tensor in tensors_in(args):
                setattr(tensor, _MARK, 0)
                graph.width = tensor.shape[-1]
        graph.entered.setdefault(name, []).append(marks(args))

    def left(name: str, output: Any) -> None:
        graph.left.setdefault(name, []).append(marks(output))
        if name == "":
            graph.outputs = marks(output)

    with torch.no_grad(), where.watching(root, entered, left), _Recording(graph, where):
        run()
    return graph
