"""Which of a network's layers carries the decision, asked on as many images as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

from torch import Tensor

from conceptseg.network.candidates import Candidate
from conceptseg.network.layers import level_of
from conceptseg.network.levels import Levels
from conceptseg.network.worth import Losses, Weigher, Worth
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.intervals import divided

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

By = Literal["prediction", "logits"]

SHARE, LEAST_SHARE = 0.9, 0.8
"""Share of what the best layer is worth that a coarser one must reach to be taken; and what it must
surely reach, or reach where the images there are do not tell its share from the first."""
SURE, LEAST_SURE = 0.8, 0.7
"""The same two of what the best layer loses by exchange."""
HOPELESS = 0.5
"""Share below which a layer is not asked again where there are too few images for an interval."""
ENOUGH = 0.05
"""What the best layer must be worth to the prediction; below, the logits' variation decides."""
LEADERS = 2
"""Layers that are asked again because they may be the best, on each larger number of images."""
DRAWS = 1000


class Images(Protocol):
    """Images of one size that are read when they are asked for; a tensor [n, c, h, w] is that."""

    @property
    def shape(self) -> Sequence[int]: ...
    def __getitem__(self, some: slice, /) -> Tensor: ...


@dataclass(frozen=True)
class Weighed:
    """A layer [u, y, x], and what is lost without it and with another image's output of it.

    Or several layers, of which the shape is that of their joint map, the level its grid's. It was
    weighed on so many `images`. `interval` is the 95 % interval over them of what is lost without
    it (of the prediction or of the logits, what decided), `of_best` the share of what the best
    layer lost on the same images, with its own; both None where it was not asked for, as is
    `reach`: how many pixels away a position acts, the image's longer side at most.
    """

    name: str
    shape: tuple[int, int, int]
    level: int
    without: Worth
    images: int
    exchanged: Worth | None = None
    interval: Estimate | None = None
    of_best: Estimate | None = None
    reach: float | None = None


def number(worth: Worth, by: By) -> float:
    return worth.prediction if by == "prediction" else worth.logits


class Contest:
    """Candidates of a network, weighed on `first` images, and those that matter on more.

    The layer that is sought is the first, from the coarsest level on and of a level from the last
    candidate back, that loses nine tenths (`SHARE`) of what the best layer loses when it is set to
    its mean, and eight tenths (`SURE`) of it when each image gets another's output. A layer is
    taken if its share is that, and all of its 95 % interval over images (both layers' losses drawn
    together) at least `LEAST_SHARE` (`LEAST_SURE` by exchange); it is passed over if all of
    the interval lies below. Where neither holds, those that could be the layer, and the two that
    lose most, are weighed on twice as many images, up to `most` or as many as there are. What is
    open then is decided for the coarser layer if its share itself reaches the lesser bar.

    `every` names all candidates, `early` those that are the image still
    (:class:`~conceptseg.network.candidates.Candidate`), which are no layer to be taken.
    """

    def __init__(
        self,
        model: Network,
        images: Images,
        found: Sequence[Candidate],
        batch_size: int,
        first: int,
        most: int,
    ):
        self.model, self.images, self.batch_size = model, images, batch_size
        self.first, self.most = first, most
        order = {one.name: place for place, one in enumerate(found)}
        self.found = [one for one in found if not one.early] or found
        self.early = tuple(one.name for one in found if one not in self.found)
        self.every = tuple(order)
        self.order = sorted(self.found, key=lambda one: (-one.level, -order[one.name]))
        self.known: dict[str, Weighed] = {}
        self.losses: dict[str, Losses] = {}
        self.exchanges: dict[str, Losses | None] = {}
        self.failed: set[str] = set()
        self.told = False
        self._weighers: list[Weigher] = []
        self.weigher = self._weigher(first)

    def _weigher(self, count: int) -> Weigher:
        self._weighers.append(Weigher(self.model, self.images[:count], self.batch_size))
        return self._weighers[-1]

    @property
    def passed(self) -> int:
        """Images that went through the network."""
        return sum(one.passed for one in self._weighers)

    def asked(self, names: Sequence[str], most: int) -> Weigher:
        """One that has recorded some layers, on so many of the images of now."""
        count = min(most, self.weigher.images)
        weigher = self.weigher if count == self.weigher.images else self._weigher(count)
        missing = [name for name in names if name not in weigher.means]
        if missing:
            weigher.record(missing)
        return weigher

    @cached_property
    def by(self) -> By:
        """What decides, by the first look at all candidates."""
        best = max((one.worth.prediction for one in self.losses.values()), default=0.0)
        return "prediction" if best >= ENOUGH else "logits"

    @property
    def best(self) -> str | None:
        """The layer that loses most, of those weighed on all images; None where none was."""
        return max(self.losses, key=self._lost, default=None)

    def begin(self) -> bool:
        """Weigh all candidates on the first images; False where logits are not finite."""
        names = [one.name for one in self.found]
        if not names or not self.weigher.record(list(self.every)):
            return False
        self._weigh(names)
        self._compare()
        return True

    def settle(self) -> str:
        """The layer; `told` is whether intervals told it from all that come before it."""
        while True:
            could = self._could_be()
            missing = [name for name in could if name not in self.losses]
            if missing:
                self._weigh(missing)
                self._compare()
            elif not could or could[0] == self.best or self._passes(could[0]):
                self.told = bool(could) and self._interval(could[0])
                return could[0] if could else self.best or ""
            elif not self._doubled(could):
                return next((name for name in could if self._reaches(name, True)), self.best or "")

    def _weigh(self, names: Sequence[str]) -> None:
        """What is lost without layers, on the images of now."""
        shapes = {one.name: one for one in self.found}
        for name in names:
            losses = self.weigher.without(name)
            if losses is None:
                self.failed.add(name)
                continue
            self.losses[name] = losses
            one, before = shapes[name], self.known.get(name)
            held = before.exchanged if before is not None else None
            self.known[name] = Weighed(
                name, one.shape, one.level, losses.worth, losses.images, held
            )

    def _compare(self) -> None:
        """Intervals, and shares of the best, of all that were weighed on the images of now."""
        best = self.best
        for name, losses in self.losses.items():
            if best is not None:
                share = ratio(losses, self.losses[best], self.by)
                interval = estimated(losses, self.by)
                self.known[name] = replace(self.known[name], interval=interval, of_best=share)

    def _could_be(self) -> list[str]:
        """Layers from the coarsest on that may be the one, up to one whose shares reach all bars.

        Those after it wait: they are asked again if more images show that it does not.
        """
        could = []
        for name in (one.name for one in self.order if one.name in self.known):
            if name in self.failed and name != self.best:
                continue
            if name in self.losses and self._fails(name):
                self.failed.add(name)
                continue
            could.append(name)
            if name == self.best or (name in self.losses and self._reaches(name, False)):
                break
        return could

    def _doubled(self, could: Sequence[str]) -> bool:
        """Weigh the layers that matter on twice as many images; False where there are no more."""
        weigher = self._weigher(min(2 * self.weigher.images, self.most))
        if weigher.images <= self.weigher.images:
            return False
        leaders = sorted(self.losses, key=self._lost)[-LEADERS:]
        names = [one.name for one in self.found if one.name in {*could, *leaders}]
        self.weigher, self.losses, self.exchanges = weigher, {}, {}
        weigher.record(list(self.every))  # the means of all: they may be asked for, and cost little
        self._weigh(names)
        self._compare()
        return True

    def _lost(self, name: str) -> float:
        return number(self.losses[name].worth, self.by)

    def _exchanged(self, name: str) -> Losses | None:
        if name not in self.exchanges:
            self.exchanges[name] = found = self.weigher.exchanged(name)
            lost = None if found is None else found.worth
            self.known[name] = replace(self.known[name], exchanged=lost)
        return self.exchanges[name]

    def _shares(self, name: str) -> list[tuple[Estimate, float, float]]:
        """A layer's shares of the best one's losses, each with what it must and may reach."""
        own = self.known[name].of_best
        assert own is not None and self.best is not None, "weighed on the images of now"
        found = [(own, SHARE, LEAST_SHARE)]
        if own.value >= HOPELESS and self.weigher.several:
            mine, bar = self._exchanged(name), self._exchanged(self.best)
            if mine is not None and bar is not None and number(bar.worth, self.by) > 0:
                found.append((ratio(mine, bar, self.by), SURE, LEAST_SURE))
        return found

    def _passes(self, name: str) -> bool:
        shares = self._shares(name)
        if self._interval(name):
            return all(share.value >= bar and share.low >= least for share, bar, least in shares)
        # Too few images for an interval, and no more to come: the share itself decides.
        return self._last and all(share.value >= bar for share, bar, _ in shares)

    def _fails(self, name: str) -> bool:
        shares = self._shares(name)
        if self._interval(name):
            return any(share.high < bar for share, bar, _ in shares)
        bars = [(share, bar if self._last else HOPELESS) for share, bar, _ in shares]
        return any(share.value < bar for share, bar in bars)

    def _reaches(self, name: str, least: bool) -> bool:
        """Whether the shares themselves are those that must be reached, or may at `least`."""
        return all(share.value >= (low if least else bar) for share, bar, low in self._shares(name))

    def _interval(self, name: str) -> bool:
        own = self.known[name].of_best
        return own is not None and own.ci is not None

    @cached_property
    def _last(self) -> bool:
        """Whether the first images are all that will be looked at."""
        return len(self.images[: min(2 * self.first, self.most)]) <= self.first


def estimated(losses: Losses, by: By) -> Estimate:
    """What is lost, with its interval over images."""
    sampling = _sampling(losses)
    drawn = losses.drawn(sampling.weights())[by == "logits"]
    return sampling.of_draws(number(losses.worth, by), drawn)


def ratio(losses: Losses, best: Losses, by: By) -> Estimate:
    """What is lost, over what another layer loses, with the interval of both drawn together."""
    sampling = _sampling(losses)
    weights = sampling.weights()
    own, other = (one.drawn(weights)[by == "logits"] for one in (losses, best))
    whole = number(best.worth, by)
    share = number(losses.worth, by) / whole if whole > 0 else float("nan")
    return sampling.of_draws(share, divided(own, other))


def _sampling(losses: Losses) -> Sampling:
    names = tuple(f"{place:04}" for place in range(losses.images))
    return Sampling(names, names, "images", 0, DRAWS)


def weighed(levels: Levels, weigher: Weigher, losses: Losses, by: By) -> Weighed:
    """What one or several layers are worth that were recorded, by exchange too."""
    shapes = [weigher.shapes[name] for name in levels.names]
    shape = (
        sum(one[1] for one in shapes),
        max(one[2] for one in shapes),
        max(one[3] for one in shapes),
    )
    other = weigher.exchanged(*levels.names) if weigher.several else None
    level = level_of(weigher.parts[0].shape[2:], shape)
    return Weighed(
        str(levels),
        shape,
        level,
        losses.worth,
        losses.images,
        None if other is None else other.worth,
        estimated(losses, by),
    )


def lost(losses: Losses | None, by: By) -> float:
    return 0.0 if losses is None else number(losses.worth, by)
