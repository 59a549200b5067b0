"""Which concepts a network's mistakes lie on: what it takes for a class, and what it misses.

The pixels of image i on which a class c could be put by mistake are those that are labelled, not
c, and further than `MARGIN_PX` from c; on which it could be missed those that are labelled c, as
far from the rest. A border that is off by a pixel is no mistake in this sense, and lies on every
concept of edges. Of concept q, in image i:

    rate on     = mistakes on q / pixels of q on which one could be made
    rate off    = the same of the image's other pixels
    worth       = IoU of c over all images if its mistakes on q were none, less its IoU

A concept is what mistakes lie on if, in the images that hold it, the rate on it exceeds the rate
off it by a tenth at least (signs of whole groups are flipped, all pairs corrected together, and the
interval of the excess is above 0), and if they are worth it.
Where a mistake lies is not yet its cause; that it goes when the concept is erased says more
(:mod:`conceptseg.study.shared.mistaken`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.stats.intervals import Floats, unseen_share
from conceptseg.stats.mergeable.sample_table import SampleTable

MARGIN_PX = 3
Kind = Literal["false", "missed"]
KINDS: tuple[Kind, ...] = ("false", "missed")


def mistakes(labels: Tensor, prediction: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Where a class could be mistaken and where it is, bool [n, kinds, classes, h, w] each.

    labels, prediction: int64 [n, h, w], labels outside of 0..classes-1 where they are ignored.
    """
    one_hot = torch.arange(classes, device=labels.device)[None, :, None, None]
    held, predicted = labels[:, None] == one_hot, prediction[:, None] == one_hot
    known = ((labels >= 0) & (labels < classes))[:, None]
    rest = known & ~held
    possible = torch.stack([rest & ~_widened(held), held & ~_widened(rest)], 1)
    return possible, possible & torch.stack([predicted, ~predicted], 1)


def _widened(masks: Tensor) -> Tensor:
    """Masks bool [n, k, h, w] with all that lies within `MARGIN_PX` of them."""
    side = 2 * MARGIN_PX + 1
    return F.max_pool2d(masks.float(), side, stride=1, padding=MARGIN_PX) > 0


LEAST_EXCESS = 0.1
LEAST_PX = 10
"""With fewer pixels on a concept or off it, an image has no rate."""


def counted(possible: Tensor, made: Tensor, shows: Tensor, told: Tensor) -> dict[str, np.ndarray]:
    """Pixels on each concept and off it where mistakes could be made, and where they are.

    possible, made: bool [n, kinds, k, h, w] (:func:`mistakes`, on any grid); shows, told: bool
    [n, q, h, w], where each concept lies and where that is known. -> int32 `possible` and `made`
    [n, q, 2, kinds, k], on the concept and off it.
    """
    sides = torch.stack([shows & told, told & ~shows], 2).flatten(3).float()
    rows = {
        name: torch.einsum("nqsp,nxkp->nqsxk", sides, maps.flatten(3).float())
        for name, maps in (("possible", possible), ("made", made))
    }
    return {name: pixels.round().int().cpu().numpy() for name, pixels in rows.items()}


@dataclass(frozen=True)
class Mistake:
    """Mistakes of one kind, of one class, on one concept, over the `images` that hold it.

    `on`, `off` [0, 1] pooled rates of mistakes, `excess` the mean over images of the rate on less
    the rate off; `worth` in IoU; `test` that the excess is above zero; `shown` whether it counts.
    """

    class_id: int
    concept: int
    kind: Kind
    images: int
    on: float
    off: float
    excess: Estimate
    worth: Estimate
    fit: float
    test: Test
    passed: bool
    shown: bool = False


def judged(
    table: SampleTable,
    sampling: Sampling,
    class_ids: Sequence[int],
    *,
    smallest: float,
    min_images: int,
    seed: int,
) -> list[Mistake]:
    """Every pair of class and concept that could matter, tested together.

    Left out are classes all whose mistakes of a kind are worth less IoU than `smallest`, which no
    concept can exceed, and concepts with rates in fewer than `min_images` images. `sampling` is of
    the table's images.
    """
    possible, made = (table.column(name).astype(np.float64) for name in ("possible", "made"))
    sizes = table.column("sizes").astype(np.float64)
    pairs: list[tuple[int, int, int]] = []
    questions = []
    for x, c in ((x, c) for x in range(len(KINDS)) for c in class_ids):
        everything = _everything(made[..., x, c])
        if not _gain(sizes[:, :, c].sum(0), everything.sum(), KINDS[x]) >= smallest:
            continue
        for q in range(possible.shape[1]):
            could, did = possible[:, q, :, x, c], made[:, q, :, x, c]
            held = (could >= LEAST_PX).all(1)
            if held.sum() >= min_images:
                rates = did[held] / could[held]
                questions.append(Question(rates[:, 0] - rates[:, 1], sampling.at(held)))
                pairs.append((c, q, x))
    tests = judge(questions, side="greater", seed=seed)
    worths = _Worths(sizes, made, sampling)
    result = []
    for (c, q, x), asked, test in zip(pairs, questions, tests, strict=True):
        could, did = possible[:, q, :, x, c], made[:, q, :, x, c]
        worth = worths.of(c, x)[q]
        excess = asked.sampling.pointed(asked.values, -1, 1)
        fit = 2 * did[:, 0].sum() / max(could[:, 0].sum() + _everything(made[..., x, c]).sum(), 1)
        held = np.isin(table.ids, asked.sampling.ids)
        on, off = (did[held].sum(0) / could[held].sum(0)).tolist()
        material = worth.value >= smallest and worth.above(0.0)
        material = material and excess.value >= LEAST_EXCESS and excess.above(0.0)
        numbers = (len(asked.values), on, off, excess, worth, float(fit), test)
        result.append(Mistake(c, q, KINDS[x], *numbers, passed=test.passed and material))
    shown = _uncovered(result, made, sizes, smallest)
    return [replace(one, shown=i in shown) for i, one in enumerate(result)]


def _everything(made: np.ndarray) -> np.ndarray:
    """All mistakes of a class in each image, from those on and off each concept [n, q, 2]."""
    return np.asarray(made.sum(2).max(1, initial=0))


def _uncovered(
    found: Sequence[Mistake],
    made: np.ndarray,
    sizes: np.ndarray,
    smallest: float,
) -> set[int]:
    """Places of those that passed, without those that better fits of their class and kind cover.

    Mistakes on text lie on black as well, and at the bottom. A concept is covered if what can be
    left for it, of all mistakes those that are not on better ones, is worth too little.
    """
    shown: set[int] = set()
    left: dict[tuple[int, str], np.ndarray] = {}
    for i in sorted(range(len(found)), key=lambda i: (-found[i].fit, found[i].concept)):
        one, x = found[i], KINDS.index(found[i].kind)
        every, own = (
            _everything(made[..., x, one.class_id]),
            made[:, one.concept, 0, x, one.class_id],
        )
        rest = left.get((one.class_id, one.kind), every)
        if one.passed:
            gone = np.minimum(own, rest).sum()
            if _gain(sizes[:, :, one.class_id].sum(0), gone, one.kind) >= smallest:
                shown.add(i)
                left[one.class_id, one.kind] = np.minimum(rest, every - own)
    return shown


def _gain(sizes: Floats, gone: Floats, kind: Kind) -> Floats:
    """What an IoU gains without `gone` mistakes [...] on a class.

    sizes: [3, ...], the pixels of the class in both maps, in the prediction, in the labels.
    """
    right, predicted, held = sizes
    union = predicted + held - right
    # A false pixel leaves the union, a missed one joins what is right.
    better = (right, union - gone) if kind == "false" else (right + gone, union)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.divide(*better) - right / union
    return np.where((union != 0) & (better[1] != 0), gain, np.nan)


class _Worths:
    """What the IoU over all images would gain without the mistakes of a class on each concept.

    Sums over each draw's images, which are whole numbers below 2^53, are a matrix product, exact
    in any order; those of a class are taken once for all concepts. Of 150 classes there are
    thousands of pairs.
    """

    def __init__(self, sizes: np.ndarray, made: np.ndarray, sampling: Sampling) -> None:
        self._sizes, self._made, self._sampling = sizes, made, sampling
        self._taken = sampling.weights().astype(np.float64)
        self._known: tuple[tuple[int, int], list[Estimate]] | None = None

    def of(self, class_id: int, kind: int) -> list[Estimate]:
        """Of one class and kind, by concept."""
        if self._known is None or self._known[0] != (class_id, kind):
            sizes, made = self._sizes[:, :, class_id], self._made[:, :, 0, kind, class_id]
            values = _gain(sizes.sum(0)[:, None], made.sum(0), KINDS[kind])
            drawn = _gain((self._taken @ sizes).T[:, :, None], self._taken @ made, KINDS[kind])
            pairs = zip(values.tolist(), drawn.T, self._most(class_id, kind), strict=True)
            estimates = [self._reaching(v, d, most) for v, d, most in pairs]
            self._known = (class_id, kind), estimates
        return self._known[1]

    def _reaching(self, value: float, drawn: Floats, most: float) -> Estimate:
        found = self._sampling.of_draws(value, drawn)
        return replace(found, high=max(found.high, most)) if found.ci else found

    def _most(self, class_id: int, kind: int) -> list[float]:
        """Of each concept what its mistakes may cost where few images, or none, have any.

        Draws of images without a mistake hold none: of 40 of which one in thirty has some, they
        hold the truth in two of three data sets. So there may be a share
        :func:`conceptseg.stats.intervals.unseen_share` of images of whose pixels, of the class in
        either map, as many are mistakes as in the worst image on any concept.
        """
        sizes, made = self._sizes[:, :, class_id].T, self._made[:, :, 0, kind, class_id]
        union = sizes[1] + sizes[2] - sizes[0]
        there = union > 0
        if not there.any():
            return [float("nan")] * made.shape[1]
        worst = float((made[there] / union[there, None]).max(initial=0.0))
        parts = made[there].sum(0) / union.sum()
        ends = parts + unseen_share(self._sampling.at(there).n) * (worst - parts)
        most = _gain(sizes.sum(1)[:, None], ends * union.sum(), KINDS[kind])
        return [float(one) for one in most]
