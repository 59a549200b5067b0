"""Which weighted operations of a pass are the first and the last ones, whoever computes the weight.

A layer is a weight: all that runs on one weight follows one rule. A weight that the network holds
is known by its id. One that is computed as the network runs (`weight_norm`, `spectral_norm`,
pruning, standardised weights) is another tensor in every pass; it is known by the module that runs
the operation and by the operation's number within that module's call.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from conceptseg.explain.lrp.graph import Graph, Node, Where

Place = Literal["first", "between", "last"]


@dataclass(frozen=True)
class Places:
    """The places of a network's weights: of those that it holds by id, of the others by module and
    number.

    `held`: the ids of all tensors that the network holds.
    """

    held: frozenset[int]
    of_held: dict[int, Place]
    of_computed: dict[str, dict[int, Place]]

    @classmethod
    def of(cls, root: nn.Module, graph: Graph) -> Places:
        """The places in a recorded pass; a weight that is both first and last is last."""
        tensors = [
            tensor
            for _, module in root.named_modules()
            for tensor in (*module._parameters.values(), *module._buffers.values())
        ]
        found = cls(frozenset(map(id, tensors)), {}, {})
        nodes: tuple[tuple[Place, list[Node]], ...] = (
            ("between", graph.weighted()),
            ("first", graph.first()),
            ("last", graph.last()),
        )
        for place, some in nodes:
            for node in some:
                if id(node.weight) in found.held:
                    found.of_held[id(node.weight)] = place
                else:
                    found.of_computed.setdefault(node.owner, {})[node.number] = place
        return found


@dataclass(eq=False)
class Placing:
    """The weighted operations of one pass, placed as they run."""

    places: Places
    where: Where
    _number: int = 0
    _run: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _lost: dict[str, None] = field(default_factory=dict)

    def count(self) -> None:
        """A weighted operation begins, whatever it reads: numbers are those of the record."""
        self._number = self.where.number()

    def keeps(self, weight: Tensor) -> bool:
        """Whether a weight is there from one pass to the next."""
        return id(weight) in self.places.held

    def place(self, weight: Tensor) -> Place:
        """The place of the operation that was counted last; "between" where none is known."""
        owner = self.where.name
        if self.keeps(weight):
            found = self.places.of_held.get(id(weight))
        else:
            known = self.places.of_computed.get(owner, {})
            self._run[owner].add(self._number)
            same = set(known.values())
            # A module all of whose weights have one place may run as often as it likes.
            found = same.pop() if len(same) == 1 else known.get(self._number)
        if found is None:
            self._lost[owner] = None
        return found or "between"

    def unplaced(self) -> tuple[str, ...]:
        """The modules some of whose operations have no place that is known, or another's."""
        computed = self.places.of_computed
        other = [
            owner
            for owner, numbers in self._run.items()
            if len({*computed.get(owner, {}).values()}) > 1 and numbers != computed[owner].keys()
        ]
        return tuple(dict.fromkeys([*self._lost, *other]))
