"""Edit a layer, run the rest of the network, and see what each class loses beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Tail
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Also, Question, Test, judge
from conceptseg.stats.intervals import ALPHA
from conceptseg.stats.p_values import cost_p, detectable_cost
from conceptseg.study.shared.overlap import (
    by_right_pixels,
    class_iou,
    iou_of,
    pixel_counts,
    referred,
)


@dataclass(frozen=True)
class Editable:
    """A batch of n images at a layer, whose activation may be edited.

    `clean` [n, h, w] is the network's own prediction. The reference of every comparison is the
    label map, or that prediction for images without one; `labelled` [n] says which.
    """

    tail: Tail
    clean: Tensor
    reference: Tensor
    labelled: Tensor
    classes: int

    @classmethod
    def of(cls, context: Context, images: Tensor, labels: Tensor | None) -> "Editable":
        """One pass of each image [n, c, h, w], with labels [n, h, w] if there are any; takes no
        gradients, so call it where none are recorded."""
        tail = Tail.of(context.model, images, context.levels)
        clean = label_map(tail.logits)
        return cls(tail, clean, *referred(labels, clean), len(context.model.classes))

    def iou(self, activation: Tensor | None = None) -> Tensor:
        """IoU of each class in each image with the layer's activation replaced, [n, k].

        Without an activation, that of the network as it is. nan where the reference lacks a class.
        """
        here = self.clean if activation is None else label_map(self.tail.resume(activation))
        return class_iou(here, self.reference, self.classes)

    def iou_and_right(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`iou`, and the part of its change that is of the class's own pixels, [n, k] each
        (:func:`~conceptseg.study.shared.overlap.by_right_pixels`)."""
        edited = label_map(self.tail.resume(activation))
        after = pixel_counts(edited, self.reference, self.classes)
        parts = iou_of(after), by_right_pixels(self.before, after)
        return parts[0].to(self.clean.device), parts[1].to(self.clean.device)

    @cached_property
    def before(self) -> Tensor:
        """The clean prediction's pixels, as :func:`pixel_counts` has them."""
        return pixel_counts(self.clean, self.reference, self.classes)


@dataclass(frozen=True)
class Change:
    """Change of one class's IoU by an edit, `edited` [m], and by r random edits, `random` [m, r].

    `clean` [m] is the IoU before, which is what there is to lose; `sampling` says what the images
    count as. Images without the class (nan) are left out.
    """

    edited: np.ndarray
    random: np.ndarray
    clean: np.ndarray
    sampling: Sampling

    def __post_init__(self) -> None:
        known = np.isfinite(self.edited)
        for name in ("edited", "random", "clean"):
            object.__setattr__(self, name, getattr(self, name)[known].astype(np.float64))
        object.__setattr__(self, "sampling", self.sampling.at(known))

    @cached_property
    def estimate(self) -> Estimate:
        """The mean change by the edit."""
        gains = np.append(self.random, 0.0)  # what edits gain in these images, if not this one
        return lost(self.sampling, self.edited, self.clean, float(gains[np.isfinite(gains)].max()))

    @property
    def to_lose(self) -> float:
        """The mean IoU before: no edit can cost more. nan of no image."""
        return float(self.clean.mean()) if len(self.clean) else float("nan")

    @property
    def beyond(self) -> np.ndarray:
        """The change in each image beyond the mean of the random edits, [m]; nan without any."""
        if not self.random.shape[1]:
            return np.full(len(self.edited), np.nan)
        return np.asarray(self.edited - self.random.mean(1))

    @property
    def by_chance(self) -> np.ndarray:
        """The mean change by each random edit, [r]; none of no image."""
        return self.random.mean(0) if len(self.random) else np.empty(0)

    @property
    def p_random(self) -> float:
        """P-value that one further random edit costs as much, :func:`cost_p`."""
        cost = -float(self.edited.mean()) if len(self.edited) else float("nan")
        return cost_p(cost, -self.by_chance)

    def shown(self, test: Test, smallest: float) -> bool:
        """Whether a loss is shown, by its test and its interval, of the `smallest` size or more."""
        return test.passed and self.estimate.value <= -smallest and self.estimate.below(0)

    @property
    def rare(self) -> bool:
        """Whether nineteen of twenty random edits cost less, by what few of them show.

        Not corrected for the number of edits: what one in a thousand random edits would cost takes
        thousands of them to know. There is no law by which a few tell it: of those of trained
        networks one in a hundred was beyond the 0.0005 of exponential costs.
        """
        return rare(self.p_random)


def rare(p_random: float) -> bool:
    """Whether so few random edits cost as much that a loss may count as the edit's own."""
    return p_random <= ALPHA


def lost(sampling: Sampling, change: np.ndarray, clean: np.ndarray, gain: float = 0.0) -> Estimate:
    """The mean change of IoU [m] by an edit, from `clean` [m] before it; nan is left out.

    Its interval holds for images that lose all of their IoU, or have such a `gain` (at least 0),
    where none was seen that does (:func:`conceptseg.stats.intervals.bounded_interval`): of edits
    that change nothing but for a gain in one image of fifty, an interval that ends at 0 holds the
    mean in a third of data sets of 16. All that images lack would be too much: few edits mend them.
    """
    known = np.isfinite(change)
    before = float(clean[known].mean()) if known.any() else 0.0
    return sampling.bounded(change, -before, gain)


def beyond_random(
    changes: Sequence[Change],
    *,
    seed: int,
    also: Also = (),
    gains: bool = True,
    smallest: float = 0.0,
) -> list[Test]:
    """Is each change a loss beyond the mean one by random edits? All are corrected together.

    Signs of whole groups are flipped; `also` are tests of further effects that the same claim
    needs. That few single random edits cost as much is another question, :attr:`Change.rare`.
    Without `gains`, what gains in the mean has lost nothing, whatever random edits do: p is 1.
    `detectable` is the loss that passes at the level that the correction leaves, and is rare; at
    least `smallest`, below which none counts. A class with less IoU than that has none to lose: it
    is not testable, and takes nothing from the others' level.
    """
    able = [place for place, change in enumerate(changes) if not change.to_lose < smallest]
    asked = [Question(changes[place].beyond, changes[place].sampling) for place in able]
    further = [[family[place] for place in able] for family in also]
    judged = dict(zip(able, judge(asked, side="less", seed=seed, also=further), strict=True))
    tests = [judged.get(n) or _nothing_to_lose(one, smallest) for n, one in enumerate(changes)]
    result = []
    for test, change in zip(tests, changes, strict=True):
        if test.testable and not gains and change.edited.mean() >= 0:
            test = replace(test, p=1.0, adjusted=1.0)
        detectable = _detectable(test, change.by_chance, smallest)
        result.append(replace(test, detectable=detectable))
    return result


def _nothing_to_lose(change: Change, smallest: float) -> Test:
    """Of a class that is hardly ever right: no test, and what it would need."""
    needs, sampling = f"{smallest:.2f} IoU to lose on the images", change.sampling
    level = (float("nan"),) * 2
    return Test(*level, 1.0, 1.0, *level, sampling.n, sampling.of, "none", needs)


def _detectable(test: Test, chance: np.ndarray, smallest: float) -> float:
    """nan where there is none."""
    if not len(chance):
        return float("nan")
    over_images = test.detectable - float(chance.mean())
    return float(np.maximum(smallest, np.maximum(over_images, detectable_cost(-chance, ALPHA))))
