"""A class and a context, with all that decides the verdict."""

from dataclasses import dataclass

import numpy as np

from conceptseg.engine.known import Key
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.family import Test
from conceptseg.stats.intervals import Floats, unseen_share
from conceptseg.study.audit.company import Company
from conceptseg.study.audit.config import Verdict
from conceptseg.study.audit.contexts import ContextType
from conceptseg.study.audit.margins import FILLED

REACTS = 0.1
"""Change of IoU from which an image counts as one that reacts, and a swap as one that costs."""
HARDLY = 0.1
"""IoU in any surroundings below which a class is hardly found: it has nothing to lose."""
MOST_NEEDED = 5_000
"""Images that an underpowered verdict asks for at most."""


def beyond(one: Estimate, change: float, delta: float) -> bool:
    """Whether all of an interval lies beyond delta on the side of a change."""
    return one.above(delta) if change > 0 else one.below(-delta)


@dataclass(frozen=True)
class Mechanism:
    """What taking a context out of the layer does, beyond random things of the same make; of a
    border, what padding the convolutions otherwise does there.

    `what` is taken out, in words, `done` what is done to it, `others` what random things stand
    beside it, and `line` the columns of the tables that it stands in. `beyond`
    is what images that hold the context lose of the class's IoU by it, less what those lose that
    lack it, both beyond the mean of the random ones; `lost` the same of what is taken out alone,
    and `random` that of each random one.
    """

    line: str
    what: str
    done: str
    others: str
    beyond: Estimate
    lost: float
    random: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The largest that a random one does, either way; 0 of none."""
        return max(map(abs, self.random), default=0.0)

    def agrees(self, change: float, delta: float) -> bool:
        """Whether it shows what a swap changed: in the same direction, beyond delta with all of
        its interval, and more than any of the random ones."""
        return beyond(self.beyond, change, delta) and abs(self.lost) > self.largest


@dataclass(frozen=True)
class Measured:
    """What was measured of a class and a context, by which a case is judged.

    `changes` [n] are those of images, which `sampling` counts; `p_donors` and `p_least` are the p
    of donors' kinds having been given out at random, and the least that there could be (0 where
    there are no donors). All else is as in :class:`Case`.
    """

    class_id: int
    class_name: str
    context: ContextType
    ids: tuple[str, ...]
    changes: Floats
    sampling: Sampling
    change: Estimate
    there: tuple[float, ...]
    lacking: tuple[float, ...]
    before: float
    p_donors: float = 0.0
    p_least: float = 0.0
    donors: tuple[int, int] = (0, 0)
    own: Estimate | None = None
    hiding: Estimate | None = None
    filled: float = 0.0
    margin: float = 0.0
    mechanisms: tuple[Mechanism, ...] = ()
    company: Company = Company()


@dataclass(frozen=True)
class Case:
    """A class and a context with all that decides the verdict.

    `change` is the IoU with placebo donors less that with treated ones; `there` and `lacking` the
    two, as means over images, each with the shares of the region that are found, flipped and missed
    (`SCORES`); `before` the IoU of the images as they are. `alone` is the probability that the
    region loses when it is seen alone, `radius` the median of the pixels around it that it has to
    see, `looks` the share of relevance on a located context beyond that of shuffled weights.
    `reacting` is the share of images that change by `REACTS` or more. `ids` are the images, `each`
    their changes, `donors` how many groups of them hold the context and lack it. `own` is the IoU
    of images as they are that hold the context themselves less that of those that lack it, None
    where either are few; `hiding` what the first lose of it when all beyond the margin is hidden by
    flat colours, less what the second lose; `filled` the part of the `margin`, in pixels, that it
    takes in those that hold it. `mechanisms` are what ablating says, of each kind that was tried.
    `recruits` is the part of other classes' regions that is taken for this one with the context,
    less without it; `taken_for` the class that its own region is mostly taken for in the worse
    surroundings; `company` what is swapped together with the context. `pairs` are how many were
    tested together.
    """

    class_id: int
    class_name: str
    context: ContextType
    change: Estimate
    test: Test
    delta: float
    there: tuple[float, ...]
    lacking: tuple[float, ...]
    before: float
    looks: Estimate | None
    alone: Estimate | None
    radius: float
    smallest_loss: float
    smallest_share: float
    reacting: float
    ids: tuple[str, ...]
    each: tuple[float, ...]
    donors: tuple[int, int]
    own: Estimate | None = None
    hiding: Estimate | None = None
    filled: float = 0.0
    margin: float = 0.0
    mechanisms: tuple[Mechanism, ...] = ()
    recruits: Estimate | None = None
    taken_for: str = ""
    company: Company = Company()
    pairs: int = 1

    @property
    def shown(self) -> bool:
        """Whether an effect beyond delta is shown."""
        beyond = self.change.above(self.delta) or self.change.below(-self.delta)
        return self.test.passed and beyond

    @property
    def absent(self) -> bool:
        """Whether the effect is shown to be less than delta, of a class that has more to lose, and
        of a context that the margin does not keep."""
        return self.change.within(self.delta) and not (self.hardly or self.kept)

    @property
    def kept(self) -> bool:
        """Whether the context may act from within the margin, where no swap reaches: it fills that,
        or images that hold it are predicted otherwise from the start."""
        return self.filled >= FILLED or self.unexplained

    @property
    def unexplained(self) -> bool:
        """Whether images that hold the context differ from those that lack it by `REACTS` or more,
        with all of the interval beyond delta."""
        own = self.own
        if own is None or not abs(own.value) >= REACTS:
            return False
        return own.above(self.delta) or own.below(-self.delta)

    @property
    def hardly(self) -> bool:
        """Whether the class is hardly found in any other surroundings, be the context there or not:
        then nothing that is swapped can change it."""
        return max(self.there[0], self.lacking[0]) < HARDLY

    @property
    def cost(self) -> float:
        """What any swap costs the class, whatever the context: its IoU as it is, less the mean of
        both kinds of surroundings; what it owes to its own surroundings, and to being cut out."""
        return self.before - (self.there[0] + self.lacking[0]) / 2

    @property
    def seen(self) -> bool:
        """Whether the class needs its surroundings to be seen."""
        return self.alone is not None and self.alone.above(self.smallest_loss)

    @property
    def attributed(self) -> bool:
        """Whether relevance lies on the context, clearly more than of a network that learnt
        nothing."""
        return self.looks is not None and self.looks.above(self.smallest_share)

    def mechanism(self, line: str) -> Mechanism | None:
        """What a line of ablations says, None where it was not tried."""
        return next((one for one in self.mechanisms if one.line == line), None)

    @property
    def agreeing(self) -> tuple[Mechanism, ...]:
        """The ablations that do what swapping the context does."""
        return tuple(one for one in self.mechanisms if one.agrees(self.change.value, self.delta))

    @property
    def hidden(self) -> bool:
        """Whether hiding the surroundings does what swapping the context out of them does: images
        that hold it lose by that, or win, beyond what those do that lack it."""
        return self.hiding is not None and beyond(self.hiding, self.change.value, self.delta)

    @property
    def supported(self) -> bool:
        """Whether another line agrees with the swap. A class that needs a context's absence has to
        see that it is not there, so seen alone it loses, too."""
        return self.seen or self.attributed or self.hidden or bool(self.agreeing)

    @property
    def verdict(self) -> Verdict:
        if self.shown:
            return "confirmed" if self.supported else "behaviour only"
        if not self.absent:
            return "underpowered"
        return "attribution only" if self.attributed else "no reliance shown"

    @property
    def detectable(self) -> float:
        """The change beyond delta that would have been shown in four of five such data sets; nan
        where it is more than there is to lose or to win."""
        room = max(self.before, 1 - self.before)
        return self.test.capped(room - self.delta).detectable + self.delta

    @property
    def needed(self) -> int | None:
        """About how many images of the class would decide an underpowered verdict, were the change
        as large as it was measured; None where it lies so near to delta that none would, no number
        of images alone would, or the verdict stands.

        Beyond delta they are as many as show such a change, corrected, in four of five data sets,
        and bring the interval beyond it as well; within delta, as bring the interval within.
        """
        if self.verdict != "underpowered" or self.change.ci is None or self.hardly or self.kept:
            return None
        if not self.test.testable:
            return None
        apart = abs(self.change.value) - self.delta
        half = (self.change.high - self.change.low) / 2
        reach = max(self.test.detectable, half) if apart > 0 else half
        if apart == 0 or not np.isfinite(reach):
            return None
        images = int(np.ceil(len(self.ids) * min(abs(reach / apart), MOST_NEEDED) ** 2))
        return max(images, len(self.ids) + 1) if images <= MOST_NEEDED else None

    @property
    def unseen(self) -> float:
        """The share of images that may react although none of so many did."""
        return unseen_share(self.change.n)


CASES: Key[tuple[Case, ...]] = Key("cases", tuple)
