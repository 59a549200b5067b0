"""Tree supervision: how wrong a tree's path probabilities are at labelled pixels."""

from torch import Tensor
from torch.nn import functional

from conceptseg.data.labels import IGNORE
from conceptseg.study.segnbdt.rules import Rules


def tree_loss(
    logits: Tensor, labels: Tensor, rules: Rules, weight: float, published: bool = False
) -> Tensor:
    """Sum over labelled pixels of cross entropy plus `weight` times that of the tree, in nats.

    The tree's term at a pixel of class y is -log of the product of the probabilities on y's path.
    `published` hands these products to a criterion that takes a softmax of them again, as the
    reference code does: with k classes its minimum is log(1 + (k - 1) / e) where the product is 1,
    2.03 for 19 classes, and its gradient is squashed. Logits [n, k, h, w], labels [n, h, w] with -1
    for ignored.

    Source: Wan et al., NBDT, arXiv:2004.00221, eq. 3 (soft tree supervision loss).
    """
    own = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    soft = rules.soft(logits)
    if published:
        tree = functional.cross_entropy(soft.exp(), labels, ignore_index=IGNORE, reduction="sum")
    else:
        tree = functional.nll_loss(soft, labels, ignore_index=IGNORE, reduction="sum")
    return own + weight * tree
