"""A tree's decisions at all pixels at once: soft, hard, and node by node."""

import torch
from torch import Tensor
from torch.nn import functional

from conceptseg.study.segnbdt.tree import Tree

BLOCK = 8192
"""Pixels of each image that are worked on together."""


class Rules:
    """Logits z [n, k, ...] -> decisions of a tree, by one matrix product for all nodes.

    The score of a branch is the mean of the logits of the classes below it (with a linear last
    layer: the mean of their weight rows, applied to the features), and a node's probabilities are
    the softmax over its branches. `soft`: a class's log probability is the sum of the log
    probabilities on its path. `hard`: from the root, always the branch of the largest score; of
    equal ones the first.

    Source: Wan et al., NBDT, arXiv:2004.00221, section 3.1; SegNBDT, arXiv:2006.06868.
    """

    def __init__(self, tree: Tree, like: Tensor):
        """`like` lends device and precision."""
        self.tree = tree
        averaging = torch.from_numpy(tree.averaging)
        self._paths = torch.from_numpy(tree.paths).to(like)
        self._binary = all(len(node.branches) == 2 for node in tree.nodes)
        if self._binary:  # one row per node: first branch minus second
            self._rows = (averaging[0::2] - averaging[1::2]).to(like)
            self._first, self._second = self._paths[:, 0::2], self._paths[:, 1::2]
        else:
            self._rows = averaging.to(like)
        self._spans = [slice(n.edge, n.edge + len(n.branches)) for n in tree.nodes]

    def scores(self, logits: Tensor) -> Tensor:
        """Margins of the first branch [n, nodes, m] of a binary tree, else branch scores
        [n, edges, m]; m pixels."""
        return torch.matmul(self._rows, logits.flatten(2))

    def log_edges(self, scores: Tensor) -> Tensor:
        """Log probability of each branch at its node, [n, e, m], from :meth:`scores`."""
        if self._binary:
            first = _log_sigmoid(scores)
            return torch.stack((first, first - scores), 2).flatten(1, 2)
        return torch.cat([scores[:, span].log_softmax(1) for span in self._spans], 1)

    def soft(self, logits: Tensor) -> Tensor:
        """Log probabilities of the classes, of the logits' shape; differentiable."""
        return self._soft(self.scores(logits)).view(logits.shape)

    def hard(self, logits: Tensor) -> Tensor:
        """The class that each pixel's descent ends in, int64 [n, ...]."""
        return self._descend(self.scores(logits)).view(logits.shape[:1] + logits.shape[2:])

    def both(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`soft` and :meth:`hard` from the same scores."""
        scores = self.scores(logits)
        return self._soft(scores).view(logits.shape), self._descend(scores).view(
            logits.shape[:1] + logits.shape[2:]
        )

    def _soft(self, scores: Tensor) -> Tensor:
        """Log probabilities of the classes [n, k, m], in blocks of pixels that fit a cache."""
        parts = [self._products(one) for one in scores.split(BLOCK, 2)]
        return torch.cat(parts, 2) if len(parts) > 1 else parts[0]

    def _products(self, scores: Tensor) -> Tensor:
        if not self._binary:
            return torch.matmul(self._paths, self.log_edges(scores))
        first = _log_sigmoid(scores)
        return torch.matmul(self._first, first) + torch.matmul(self._second, first - scores)

    def choices(self, scores: Tensor) -> Tensor:
        """The branch that each node would take, int64 [n, nodes, m], from :meth:`scores`."""
        if self._binary:
            return (scores < 0).long()
        return torch.stack([scores[:, span].argmax(1) for span in self._spans], 1)

    def _descend(self, scores: Tensor) -> Tensor:
        """From the leaves up, each node keeps what its chosen child has arrived at."""
        arrived: dict[int, Tensor] = {}
        kind = torch.uint8 if self.tree.classes <= 256 else torch.int64
        shape = (scores.shape[0], scores.shape[2])
        for node in reversed(self.tree.nodes):
            below = [
                arrived.pop(child)
                if child >= 0
                else torch.tensor(branch[0], dtype=kind, device=scores.device)
                for child, branch in zip(node.children, node.branches, strict=True)
            ]
            if self._binary:
                leaf = torch.where(scores[:, node.number] >= 0, below[0], below[1])
            else:
                chosen = scores[:, self._spans[node.number]].argmax(1)
                stacked = torch.stack([one.expand(shape) for one in below])
                leaf = stacked.gather(0, chosen[None])[0]
            arrived[node.number] = leaf
        return arrived[0].long()


def _log_sigmoid(x: Tensor) -> Tensor:
    """log(1 / (1 + exp(-x))), by functions that have vector forms; its gradient by torch's own,
    whose log1p has none but which is right at 0 too."""
    if x.requires_grad:
        return functional.logsigmoid(x)
    return x.clamp(max=0).sub_(x.abs().neg_().exp_().add_(1).log_())


def entropy(log_edges: Tensor, tree: Tree) -> Tensor:
    """Entropy in nats of each node's probabilities, [n, nodes, m], from log probabilities."""
    terms = -(log_edges.exp() * log_edges)
    spans = [slice(n.edge, n.edge + len(n.branches)) for n in tree.nodes]
    return torch.stack([terms[:, span].sum(1) for span in spans], 1)
