"""The layer where the decision passes: candidates by structure, chosen by what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from conceptseg.errors import InputError
from conceptseg.network.candidates import Candidate, candidates
from conceptseg.network.influence import sloping
from conceptseg.network.layers import LayerInfo, level_of, products, survey, watch
from conceptseg.network.levels import AND, Levels
from conceptseg.network.together import together
from conceptseg.network.worth import Weigher, Worth

if TYPE_CHECKING:
    from conceptseg.network.contract import Network

By = Literal["prediction", "logits"]

_CHOICES: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], Choice | None]] = (
    WeakKeyDictionary()
)
"""What was chosen for each network, by image size, preprocessing, reading and state of weights."""

IMAGES = 4
"""Images on which layers are weighed; of more that are given, the first."""
AT_MOST = 16
"""Layers that are weighed; where there are more candidates, the last of each visit come first."""
DEAR = 120e9
"""Products of weights and places in one image's pass from which on half of both will do: networks
that find instances take minutes for each layer otherwise."""
SHARE = 0.9
"""Share of what the best layer is worth that a coarser one must reach to be taken."""
ENOUGH = 0.05
"""What the best layer must be worth to the prediction; below, the logits' variation decides."""
SURE = 0.8
"""Share of what the best layer loses by exchange that the one which is taken must lose too."""
TRIED = 4
"""Layers that are tried by exchange."""
LEAST = 1e-6
"""What the best layer must lose of the logits' variation for any to be called one that acts."""


@dataclass(frozen=True)
class Weighed:
    """A layer [u, y, x], and what is lost without it and with another image's output of it.

    Or several layers, of which the shape is that of their joint map, the level its grid's.
    """

    name: str
    shape: tuple[int, int, int]
    level: int
    without: Worth
    exchanged: Worth | None = None


@dataclass(frozen=True)
class Choice:
    """What layers are worth to the decision, and the one that is taken for `auto`.

    `by` says whether the prediction's or the logits' loss decided (see
    :class:`~conceptseg.network.worth.Worth`). `weighed` are in the order in which they end;
    `best` loses most, `runner_up` is what the rule takes without the layer's level. `images` were
    looked at, and `passed` of them went through the network in all.

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

    @property
    def joint(self) -> str:
        """The name of what `layers: auto` takes."""
        return str(Levels(self.levels))

    @property
    def carried(self) -> bool:
        """Whether the layer that is taken carries the decision alone: nine tenths of `whole`."""
        return (self.worth(self.best) or 0.0) >= SHARE * self.whole

    def worth(self, name: str) -> float | None:
        """What a layer is worth, 0 to 1; None if it was not weighed."""
        one = self.weighed.get(name)
        return None if one is None else _number(one.without, self.by)

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
            if _number(one.without, self.by) >= _number(self.weighed[held].without, self.by):
                found[one.level] = name
        return found

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
            "layers": [
                {
                    "layer": name,
                    "channels": one.shape[0],
                    "grid": f"{one.shape[1]} x {one.shape[2]}",
                    "prediction": round(one.without.prediction, 3),
                    "logits": round(one.without.logits, 3),
                    "exchanged": one.exchanged and round(_number(one.exchanged, self.by), 3),
                }
                for name, one in self.weighed.items()
            ],
        }


def chosen(
    model: Network, images: Tensor, batch_size: int = IMAGES, layer: str | Levels | None = None
) -> Choice | None:
    """:func:`choose`, once for a network, a size of images and a state of its weights.

    `layer` is one that has to be weighed too, or several together, if it can be.
    """
    weights = sum(0 if p.is_inference() else p._version for p in model.module.parameters())
    key = (*images.shape[1:], model.preprocessing, model.reads()[1], model.classes, weights)
    known = _CHOICES.setdefault(model.module, {})
    if key not in known:
        known[key] = choose(model, images, batch_size)
    choice = known[key]
    if choice is not None and layer is not None and str(layer) not in choice.weighed:
        own = images[: choice.images]
        known[key] = choice = _with(choice, Levels.of(layer), model, own, batch_size)
    return choice


def layer_name(model: Network, images: Tensor, batch_size: int = IMAGES) -> str:
    """The layer that `auto` stands for: the chosen one; where none can be weighed, by structure.

    Raises :class:`~conceptseg.errors.InputError` where no layer has a map or influence.
    """
    choice = chosen(model, images, batch_size)
    if choice is not None:
        return choice.layer
    infos = survey(model, images)
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
        replace(info, worth=choice.worth(info.name), recommended=info.name == choice.layer)
        for info in infos
    ]


def choose(model: Network, images: Tensor, batch_size: int = IMAGES) -> Choice | None:
    """Weigh a network's candidates on the first four of some images; None if no layer acts.

    Of a network whose pass is :data:`DEAR`, half as many on half of these.

    The rule: of the coarsest level whose best layer loses at least nine tenths of what any layer
    loses, the last such layer. It is the deepest place that the decision passes as a whole; layers
    just before the head always carry it, but say least about how it came to be. Where there are
    several images, the layer must also lose eight tenths of what the best one does when each image
    gets the next one's output; else the next best is asked.

    None also where logits are not finite. Raises :class:`~conceptseg.errors.InputError` for a
    TorchScript network.
    """
    seen, sizes = watch(model, images)
    dear = products(seen, sizes) >= DEAR
    images = images[: IMAGES // 2 if dear else IMAGES]
    found = [*candidates(seen, sizes, model.reads()[0])]
    names = [one.name for one in found]
    acting = sloping(model, images[:1], names) or set(names)  # none: decisions by steps
    found = _fewer([one for one in found if one.name in acting], AT_MOST // 2 if dear else AT_MOST)
    weigher = Weigher(model, images, batch_size)
    if not found or not weigher.record([one.name for one in found]):
        return None
    lost = {one.name: weigher.without(one.name) for one in found}
    known = {
        one.name: Weighed(one.name, one.shape, one.level, worth)
        for one in found
        if (worth := lost[one.name]) is not None
    }
    able = [one for one in found if one.name in known]
    by: By = "prediction"
    if max((_number(one.without, by) for one in known.values()), default=0.0) < ENOUGH:
        by = "logits"
    values = {name: _number(one.without, by) for name, one in known.items()}
    best = max(values, key=lambda name: values[name], default=None)
    if best is None or values[best] <= LEAST:
        return None
    order = ranked(able, values)
    layer = order[0]
    if weigher.several:
        layer = _exchanged(order, best, by, weigher, known)
    levels, whole = _together(able, layer, by, weigher, known)
    level = known[layer].level
    rest = [one for one in able if one.level != level]
    return Choice(
        layer=layer,
        runner_up=ranked(rest, values)[0] if rest else None,
        best=best,
        by=by,
        weighed=known,
        images=len(images),
        passed=weigher.passed + 3,  # two by which layers were watched, one with gradients
        levels=levels,
        whole=whole,
    )


def _together(
    able: Sequence[Candidate], layer: str, by: By, weigher: Weigher, known: dict[str, Weighed]
) -> tuple[tuple[str, ...], float]:
    """The layers that `layers: auto` takes, added to `known`, and what all candidates lose."""
    held: dict[tuple[str, ...], Worth] = {(name,): one.without for name, one in known.items()}
    every = tuple(one.name for one in able)

    def lost(names: tuple[str, ...]) -> float:
        names = tuple(name for name in every if name in names)
        if names not in held:
            worth = weigher.without(*names)
            held[names] = Worth(0.0, 0.0) if worth is None else worth
        return _number(held[names], by)

    def holds(names: tuple[str, ...]) -> bool:
        both = [weigher.exchanged(*layers) for layers in (names, every) if weigher.several]
        own, whole = (0.0 if one is None else _number(one, by) for one in both or (None, None))
        return own >= SURE * whole

    whole = lost(every)
    levels = together(able, layer, SHARE * whole, lost, holds)
    if len(levels) > 1:
        one = _weighed(Levels(levels), weigher, held[levels])
        known[one.name] = one
    return levels, whole


def _with(choice: Choice, levels: Levels, model: Network, images: Tensor, batch: int) -> Choice:
    """The choice with another layer weighed, or several; as it was if they cannot be set."""
    weigher = Weigher(model, images, batch)
    if not weigher.record(levels.names):
        return choice
    worth = weigher.without(*levels.names)
    if worth is None:
        return choice
    one = _weighed(levels, weigher, worth)
    passed = choice.passed + weigher.passed
    return replace(choice, weighed={**choice.weighed, one.name: one}, passed=passed)


def _weighed(levels: Levels, weigher: Weigher, worth: Worth) -> Weighed:
    """What one or several layers are worth that were recorded, by exchange too."""
    shapes = [weigher.shapes[name] for name in levels.names]
    shape = (
        sum(one[1] for one in shapes),
        max(one[2] for one in shapes),
        max(one[3] for one in shapes),
    )
    other = weigher.exchanged(*levels.names) if weigher.several else None
    level = level_of(weigher.parts[0].shape[2:], shape)
    return Weighed(str(levels), shape, level, worth, other)


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


def _exchanged(
    order: Sequence[str], best: str, by: By, weigher: Weigher, known: dict[str, Weighed]
) -> str:
    """The first of `order` that the decision follows too when images get each other's output."""

    def lost(name: str) -> float:
        if known[name].exchanged is None:
            found = weigher.exchanged(name)
            known[name] = replace(known[name], exchanged=found)
        worth = known[name].exchanged
        return 0.0 if worth is None else _number(worth, by)

    bar = SURE * lost(best)
    carrying = [n for n in order if _number(known[n].without, by) >= bar][:TRIED]
    return next((name for name in carrying if lost(name) >= bar), order[0])


def _fewer(found: Sequence[Candidate], most: int) -> list[Candidate]:
    """At most so many candidates: the last of each visit first, then those before it."""
    order = {one.name: place for place, one in enumerate(found)}
    kept = sorted(found, key=lambda one: (one.place, -order[one.name]))[:most]
    return sorted(kept, key=lambda one: order[one.name])


def _number(worth: Worth, by: By) -> float:
    return worth.prediction if by == "prediction" else worth.logits
