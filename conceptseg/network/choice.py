"""The layer where the decision passes: candidates by structure, chosen by what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.network.candidates import Candidate, candidates
from conceptseg.network.contest import (
    SHARE,
    By,
    Contest,
    Images,
    Weighed,
    number,
    weighed,
)
from conceptseg.network.influence import sloping
from conceptseg.network.layers import LayerInfo, products, survey, watch
from conceptseg.network.levels import AND, Levels
from conceptseg.network.together import carried
from conceptseg.network.worth import Weigher

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

_CHOICES: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], Choice | None]] = (
    WeakKeyDictionary()
)
"""What was chosen for each network, by image size, preprocessing, reading and state of weights."""

FIRST, MOST = 8, 64
"""Images on which all candidates are weighed, and those that matter at most."""
FEWER = 4
"""Images on which the candidates of a network are weighed that is not `LIGHT`."""
AT_MOST = 16
"""Layers that are weighed; where there are more candidates, the last of each visit come first."""
LIGHT = 2e9
"""Products of weights and places in one image's pass up to which a network's pass is cheap."""
ROOM = 100e9
"""Products that one layer may take on all images together; beyond the first images no more."""
DEAR = 120e9
"""Products in one image's pass from which on half of both will do: networks that find instances
take minutes for each layer otherwise."""
LITTLE = 0.5
"""Share of what the best layer is worth below which most of the decision does not pass."""
LEAST = 1e-6
"""What the best layer must lose of the logits' variation for any to be called one that acts."""


@dataclass(frozen=True)
class Choice:
    """What layers are worth to the decision, and the one that is taken for `auto`.

    `by` says whether the prediction's or the logits' loss decided (see
    :class:`~conceptseg.network.worth.Worth`). `weighed` are in the order in which they end;
    `best` loses most, `runner_up` is what the rule takes without the layer's level. `images` were
    looked at, and `passed` of them went through the network in all. `told` is whether intervals
    over these tell the layer from all that the rule would have taken first
    (:class:`~conceptseg.network.contest.Contest`).

    `levels` are the layers that `layers: auto` takes (:func:`conceptseg.network.together.together`
    says by what rule), which is `layer` alone where a single one carries the decision; `whole` is
    what is lost without all candidates at once. Several layers are weighed under their joint name.
    """

    layer: str
    runner_up: str | None
    best: str
    by: By
    weighed: Mapping[str, Weighed]
    images: int
    passed: int
    levels: tuple[str, ...]
    whole: float
    told: bool

    @property
    def joint(self) -> str:
        """The name of what `layers: auto` takes."""
        return str(Levels(self.levels))

    @property
    def carried(self) -> bool:
        """Whether the layer that is taken carries the decision alone: nine tenths of `whole`."""
        return (self.worth(self.best) or 0.0) >= SHARE * self.whole

    def worth(self, name: str) -> float | None:
        """What a layer is worth, 0 to 1; None if it was not weighed.

        Of one that was weighed on fewer images: its share of the best, of what that is worth on
        all, for a mean IoU over few images is one of fewer classes.
        """
        one = self.weighed.get(name)
        if one is None:
            return None
        best = number(self.weighed[self.best].without, self.by)
        fewer = one.images < self.images and one.of_best is not None
        return one.of_best.value * best if fewer and one.of_best else number(one.without, self.by)

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95 % interval of a layer's worth over all images; None where there is none."""
        one = self.weighed.get(name)
        if one is None or one.interval is None or one.images < self.images:
            return None
        return one.interval.ci

    def share(self, name: str) -> float | None:
        """What a layer is worth, of what the best one is, or all together if that is more."""
        own, best = self.worth(name), max(self.worth(self.best) or 0.0, self.whole)
        return None if own is None or not best else min(1.0, own / best)

    def best_by_level(self) -> dict[int, str]:
        """The layer that is worth most on each level, from the coarsest on."""
        found: dict[int, str] = {}
        single = {name: one for name, one in self.weighed.items() if AND not in name}
        for name, one in sorted(single.items(), key=lambda item: -item[1].level):
            held = found.setdefault(one.level, name)
            if (self.worth(name) or 0.0) >= (self.worth(held) or 0.0):
                found[one.level] = name
        return found

    def from_outside(self, px: float) -> str | None:
        """The layer at which to ask what acts from more than so many pixels away, if one is known.

        Of those whose positions act farther, and that most of the decision passes (`LITTLE`): on
        the coarsest grid, there the one that is worth most.
        """
        found = [
            name
            for name, one in reversed([*self.weighed.items()])
            if (one.reach or 0.0) > px and (self.share(name) or 0.0) >= LITTLE
        ]
        worth = {name: (self.weighed[name].level, self.worth(name) or 0.0) for name in found}
        return max(found, key=worth.__getitem__, default=None)

    def recorded(self) -> dict[str, Any]:
        """As it is kept with a result; numbers to three digits."""
        return {
            "auto": self.layer,
            "runner_up": self.runner_up,
            "best": self.best,
            "levels": list(self.levels),
            "whole": round(self.whole, 3),
            "by": self.by,
            "images": self.images,
            "passed": self.passed,
            "told": self.told,
            "layers": [self._row(name, one) for name, one in self.weighed.items()],
        }

    def _row(self, name: str, one: Weighed) -> dict[str, Any]:
        of_best = None if one.of_best is None else one.of_best
        found = {
            "prediction": one.without.prediction,
            "logits": one.without.logits,
            "exchanged": None if one.exchanged is None else number(one.exchanged, self.by),
            "worth": self.worth(name),
            "of_best": None if of_best is None else of_best.value,
            "of_best_low": None if of_best is None else of_best.low,
            "of_best_high": None if of_best is None else of_best.high,
        }
        return {
            "layer": name,
            "channels": one.shape[0],
            "grid": f"{one.shape[1]} x {one.shape[2]}",
            "images": one.images,
            **{key: _rounded(value) for key, value in found.items()},
            **({} if one.reach is None else {"reach_px": one.reach}),
        }


def chosen(
    model: Network, images: Images, batch_size: int = FEWER, layer: str | Levels | None = None
) -> Choice | None:
    """:func:`choose`, once for a network, a size of images and a state of its weights.

    `layer` is one that has to be weighed too, or several together, if it can be.
    """
    weights = sum(0 if p.is_inference() else p._version for p in model.module.parameters())
    key = (*images.shape[1:], model.preprocessing, model.reads()[1], model.classes, weights)
    known = _CHOICES.setdefault(model.module, {})
    if key not in known:
        from conceptseg.network.tokens import check_tokens

        found = choose(model, images, batch_size)
        for name in () if found is None else {found.layer, *found.levels}:
            check_tokens(model, images[:1], name)
        known[key] = found
    choice = known[key]
    if choice is not None and layer is not None and str(layer) not in choice.weighed:
        own = images[: choice.images]
        known[key] = choice = _with(choice, Levels.of(layer), model, own, batch_size)
    return choice


def layer_name(model: Network, images: Images, batch_size: int = FEWER) -> str:
    """The layer that `auto` stands for: the chosen one; where none can be weighed, by structure.

    Raises :class:`~conceptseg.errors.InputError` where no layer has a map or influence.
    """
    choice = chosen(model, images, batch_size)
    if choice is not None:
        return choice.layer
    infos = survey(model, images[:1])
    found = next((info.name for info in infos if info.recommended), None)
    if found is not None:
        return found
    size = f"{images.shape[2]} x {images.shape[3]}"
    if any(info.spatial for info in infos):
        raise InputError(
            f"layer 'auto': no layer of model {model.name!r} has influence on the logits of the "
            f"first image ({size}): neither gradients nor zeros in a layer's place change them; "
            "check the weights, or name a layer"
        )
    raise InputError(
        f"layer 'auto': model {model.name!r} has no layer with a map of more than one pixel at "
        f"{size}; name a layer or enlarge the images"
    )


def with_worth(infos: Sequence[LayerInfo], choice: Choice | None) -> list[LayerInfo]:
    """The list of layers with what was weighed, and the choice in place of the one by structure."""
    if choice is None:
        return list(infos)
    return [
        replace(
            info,
            worth=choice.worth(info.name),
            reach=choice.weighed[info.name].reach if info.name in choice.weighed else None,
            recommended=info.name == choice.layer,
        )
        for info in infos
    ]


def choose(model: Network, images: Images, batch_size: int = FEWER) -> Choice | None:
    """Weigh a network's candidates on some images, as many as it takes; None if no layer acts.

    All candidates on the first eight (four of a network that is not `LIGHT`), those that the choice
    is between on up to 64 (:class:`~conceptseg.network.contest.Contest` says which, and by what
    rule). Of a network whose pass is `DEAR`, half as many layers on the first two.

    The layer is the deepest place that the decision passes as a whole; layers just before the head
    always carry it, but say least about how it came to be.

    None also where logits are not finite. Raises :class:`~conceptseg.errors.InputError` for a
    TorchScript network.
    """
    seen, sizes = watch(model, images[:1])
    passes = products(seen, sizes)
    first, most, layers = _amounts(passes)
    found = [*candidates(seen, sizes, model.reads()[0])]
    names = [one.name for one in found]
    acting = sloping(model, images[:1], names) or set(names)  # none: decisions by steps
    found = _fewer([one for one in found if one.name in acting], layers)
    contest = Contest(model, images, found, batch_size, first, most)
    if not contest.begin():
        return None
    best = contest.best
    if best is None or not number(contest.losses[best].worth, contest.by) > LEAST:
        return None
    layer = contest.settle()
    able = [one for one in found if one.name in contest.known]
    known = contest.known
    levels, whole = carried(able, layer, contest, known)
    level = known[layer].level
    rest = [one for one in able if one.level != level]
    shares = {name: one.of_best.value for name, one in known.items() if one.of_best is not None}
    return Choice(
        layer=layer,
        runner_up=ranked(rest, shares)[0] if rest else None,
        best=contest.best or layer,
        by=contest.by,
        weighed=known,
        images=contest.weigher.images,
        passed=contest.passed + 3,  # two by which layers were watched, one with gradients
        levels=levels,
        whole=whole,
        told=contest.told,
    )


def _amounts(passes: float) -> tuple[int, int, int]:
    """Of a network of so many products a pass: the first images, the most, the most layers."""
    if passes >= DEAR:
        return FEWER // 2, FEWER // 2, AT_MOST // 2
    first = FIRST if passes <= LIGHT else FEWER
    most = first
    while most < MOST and 2 * most * passes <= ROOM:
        most *= 2
    return first, most, AT_MOST


def _with(choice: Choice, levels: Levels, model: Network, images: Tensor, batch: int) -> Choice:
    """The choice with another layer weighed, or several; as it was if they cannot be set."""
    weigher = Weigher(model, images, batch)
    if not weigher.record(levels.names):
        return choice
    losses = weigher.without(*levels.names)
    if losses is None:
        return choice
    one = weighed(levels, weigher, losses, choice.by)
    passed = choice.passed + weigher.passed
    return replace(choice, weighed={**choice.weighed, one.name: one}, passed=passed)


def ranked(found: Sequence[Candidate], values: Mapping[str, float]) -> list[str]:
    """Names from the first choice on: those that carry the decision, then others by their worth.

    Of those that carry it (nine tenths of the best) the coarsest level first, in it the last.
    """
    bar = SHARE * max((values[one.name] for one in found), default=0.0)
    last = {one.name: place for place, one in enumerate(found)}
    carry = [one for one in found if values[one.name] >= bar]
    carry.sort(key=lambda one: (-one.level, -last[one.name]))
    others = [one for one in found if values[one.name] < bar]
    others.sort(key=lambda one: (-values[one.name], -last[one.name]))
    return [one.name for one in (*carry, *others)]


def _fewer(found: Sequence[Candidate], most: int) -> list[Candidate]:
    """At most so many candidates: the last of each visit first, then those before it."""
    order = {one.name: place for place, one in enumerate(found)}
    kept = sorted(found, key=lambda one: (one.place, -order[one.name]))[:most]
    return sorted(kept, key=lambda one: order[one.name])


def _rounded(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(value, 3)
