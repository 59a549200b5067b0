"""A node's decision as something that a local explanation can explain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from conceptseg.explain.regions import UserMask
from conceptseg.explain.target import FixedTarget, Target
from conceptseg.study.segnbdt.names import margin_rows
from conceptseg.study.segnbdt.tree import Tree


@dataclass(frozen=True, eq=False)
class FixedDecision(FixedTarget):
    """Mean over a mask of the score of a node's branch minus the mean score of its others.

    With two branches that is the node's log-odds. `weights` [k] are those of the logits in it;
    `class_id` is the first class of the branch.
    """

    weights: tuple[float, ...] = ()

    @property
    def of_class(self) -> bool:
        return False

    def on_mask(self, mask: Tensor) -> FixedDecision:
        return replace(self, mask=mask)

    def __call__(self, logits: Tensor) -> Tensor:
        rows = logits.new_tensor(self.weights)
        margin = torch.einsum("nkhw,k->nhw", logits, rows)
        mask = self.mask.repeat_interleave(logits.shape[0] // self.mask.shape[0], 0)
        total = (margin * mask).sum((1, 2))
        return total / mask.sum((1, 2)).clamp(min=1) if self.reduce == "mean" else total


@dataclass(frozen=True)
class Decision(Target):
    """The decision for a branch in a region, whatever else is predicted there.

    Two of them are equal only with equal weights: a scene keeps what belongs to equal targets.
    """

    weights: tuple[float, ...] = ()

    @property
    def of_class(self) -> bool:
        return False

    def on(
        self, logits: Tensor, labels: Tensor | None = None, prediction: Tensor | None = None
    ) -> FixedDecision:
        mask = self.where.mask(logits, labels, prediction)
        return FixedDecision(self.class_id, mask, self.score, self.reduce, self.weights)


def decision(tree: Tree, edge: int, mask: Tensor) -> Decision:
    """The decision for an edge of the tree, scored on a mask [n, h, w]."""
    number, branch = tree.edges[edge]
    node = tree.nodes[number]
    weights = tuple(margin_rows(tree, node)[branch].tolist())
    return Decision(node.branches[branch][0], UserMask(mask), weights=weights)
