"""What margins do when a part of the image is filled, and when as much is filled beside it.

A fill is something that no network has seen, and moves margins, those of a clean network too. So
each part has a control: regions of as many pixels, elsewhere, as near to the pixels at which the
margin is read. A decision changes with a part if its margin moves more than by those.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from conceptseg.study.segnbdt.target import FixedDecision

NAN = float("nan")
ENOUGH = 0.75
"""A control of fewer pixels than this share of the part's is none."""
TRIES = 8
"""Places at which a compact control is looked for before one is wrapped around the pixels."""
Filled = Callable[[list[Tensor]], Tensor]
"""Logits [m, k, h, w] of the image with each of m masks [h, w] filled."""


def moved_margins(
    filled: Filled,
    logits: Tensor,
    decisions: Sequence[FixedDecision],
    parts: Sequence[tuple[int, Tensor]],
    controls: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """How the decisions' margins in an image move: float64 [parts, 2, decisions].

    `logits` [1, k, h, w] are the clean image's, `parts` numbers with masks [h, w]. First the change
    with the part filled, read at the decision's pixels outside of it; then the mean size of the
    change with as much filled elsewhere (:func:`beside`), nan where there is no such place. Both
    are nan where the part holds more than half of the decision's pixels: it is no evidence beside
    them.
    """
    rows = np.full((len(parts), 2, len(decisions)), NAN)
    for row, (_, part) in zip(rows, parts, strict=True):
        reads: list[tuple[int, FixedDecision, int]] = []
        masks = [part]
        for number, one in enumerate(decisions):
            left = one.mask & ~part.to(one.mask.device)
            if left.sum() * 2 < one.mask.sum():
                continue
            own = [beside(part, left[0], one.mask[0], rng) for _ in range(controls)]
            found = [mask for mask in own if mask is not None]
            reads.append((number, one.on_mask(left), len(found)))
            masks += found
        if not reads:
            continue
        changed, at = filled(masks), 1
        for number, kept, count in reads:
            clean = float(kept(logits)[0])
            row[0, number] = float(kept(changed[:1])[0]) - clean
            if count:
                others = changed[at : at + count]
                row[1, number] = np.mean([abs(float(kept(z[None])[0]) - clean) for z in others])
            at += count
    return rows


def beside(part: Tensor, kept: Tensor, whole: Tensor, rng: np.random.Generator) -> Tensor | None:
    """As many pixels as `part` [h, w] has, outside of it and of a decision's pixels `whole` [h, w],
    and on average as near to those at which it is read (`kept` [h, w]) or nearer.

    One compact region about a place drawn at random; where none is near enough, the pixels nearest
    of all. None where fewer than `ENOUGH` are left, or where the part itself is nearest: what lies
    around the pixels on all sides can be compared with nothing.
    """
    inside, free = (one.cpu().numpy() for one in (part, ~part & ~whole.to(part.device)))
    size, place = int(inside.sum()), np.argwhere(free)
    if not size or len(place) < ENOUGH * size:
        return None
    distance = distance_transform_edt(~kept.cpu().numpy())
    limit = float(distance[inside & ~kept.cpu().numpy()].mean()) + 1.0
    reach = distance[free]
    for _ in range(TRIES):
        away = ((place - place[rng.integers(len(place))]) ** 2).sum(1)
        taken = np.argsort(away, kind="stable")[:size]
        if reach[taken].mean() <= limit:
            break
    else:
        taken = np.argsort(reach, kind="stable")[:size]
        if reach[taken].mean() > limit:
            return None
    mask = np.zeros(inside.shape, bool)
    mask[tuple(place[taken].T)] = True
    return torch.from_numpy(mask)
