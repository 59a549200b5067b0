"""What the path inspector needs of an image: a grid of pixels with the decisions taken at each."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.draw import sample_priority
from conceptseg.network.label_map import label_map
from conceptseg.study.segnbdt.config import Segnbdt
from conceptseg.study.segnbdt.judge import Judged
from conceptseg.study.segnbdt.rules import Rules


def chosen_images(study: Segnbdt, judged: Judged, k: int) -> Sequence[str]:
    """Half of them the images with the largest share of wrong pixels, the others by hash.

    Wrong against the labels; where there are none, where the tree departs from the network.
    """
    counts = judged.against_reference("hard", k)
    pixels = counts.sum((1, 2))
    wrong = ((pixels - np.einsum("ikk->i", counts)) / np.maximum(pixels, 1)).tolist()
    worst = sorted(range(len(wrong)), key=lambda i: (-wrong[i], judged.ids[i]))
    first = [judged.ids[i] for i in worst[: (study.inspected + 1) // 2]]
    rest = [i for i in judged.ids if i not in first]
    rest.sort(key=lambda i: sample_priority(study.seed + 3, i))
    return first + rest[: study.inspected - len(first)]


def view(study: Segnbdt, rules: Rules, logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Of one image [1, k, h, w], at the middle pixel of each cell of a grid: int16 [rows, columns]
    of the classes by network, tree (hard and soft) and labels, and in percent the probability of
    the branch taken at each depth, int8 [depth, rows, columns] (-1 below the leaf).
    """
    height, width = logits.shape[2:]
    step = max(1, -(-max(height, width) // study.inspected_side))
    down, right = (torch.arange(min(step // 2, side - 1), side, step) for side in (height, width))
    drawn = logits[:, :, down][:, :, :, right]
    soft, hard = rules.both(drawn)
    sure = rules.log_edges(rules.scores(drawn))[0].exp()
    tree, leaf = rules.tree, hard[0].flatten().cpu().numpy()
    percent = (100 * sure).round().long().cpu().numpy()
    depths = np.full((int(tree.depths.max()), leaf.size), -1, np.int64)
    for own in range(tree.classes):
        at = np.flatnonzero(leaf == own)
        for depth, (node, branch) in enumerate(tree.path(own)):
            depths[depth, at] = percent[node.edge + branch, at]
    shape = (len(down), len(right))
    return {
        "network": label_map(drawn[0]).cpu().numpy().astype(np.int16),
        "hard": leaf.reshape(shape).astype(np.int16),
        "soft": label_map(soft[0]).cpu().numpy().astype(np.int16),
        "truth": labels[down][:, right].cpu().numpy().astype(np.int16),
        "sure": depths.reshape(-1, *shape).astype(np.int8),
    }
