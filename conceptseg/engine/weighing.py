"""What the layer that is studied is worth to the decision, asked before the first pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptseg import catalogue
from conceptseg.config import RunConfig
from conceptseg.data.draw import drawn
from conceptseg.data.listed import first_of
from conceptseg.engine.contract import Context
from conceptseg.engine.reading import laid_out
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.manifest import Manifest
    from conceptseg.network.choice import Choice


class Drawn:
    """Images of a manifest, read when they are asked for: `drawn[:n]` is a tensor [n, c, h, w].

    They come in the order in which a `limit` takes them, so that those of any number are the same
    for all studies of the data, however many images each takes, and whatever the batch size is.
    Those of the first one's size alone, of the first `most` that are drawn.
    """

    def __init__(self, manifest: Manifest, run: RunConfig, seed: int, most: int):
        self.manifest, self.run = manifest, run
        some = {one.id: one for one in first_of(manifest.samples, seed, most)}
        self._left = [some[name] for name in drawn(seed, some, most)]
        self._held: list[Tensor] = []

    def __getitem__(self, some: slice) -> Tensor:
        import torch

        assert some.stop is not None, "all of them may be more than memory holds"
        while self._left and len(self._held) < some.stop:
            one = laid_out(
                torch.from_numpy(self.manifest.image(self._left.pop(0)))[None].to(self.run.device),
                self.run,
            )
            if not self._held or one.shape == self._held[0].shape:
                self._held.append(one)
        return torch.cat(self._held[some])

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the images there are at most, [n, c, h, w]."""
        return (len(self._held) + len(self._left), *self[:1].shape[1:])


def images_to_weigh(manifest: Manifest, run: RunConfig, seed: int) -> Drawn:
    """The images on which layers are weighed, up to as many as that takes at most."""
    from conceptseg.network.choice import MOST

    return Drawn(manifest, run, seed, MOST)


def readers_of_several() -> list[str]:
    """The studies that `layers` may be given to."""
    studies = {name: catalogue.load("study", name) for name in catalogue.names("study")}
    return [name for name, study in studies.items() if getattr(study, "reads", "one") != "one"]


def about_layer(context: Context, image: Tensor) -> tuple[str, bool]:
    """Whether the layer has influence on an image's logits, by its gradient, else by erasing it.

    Returns what is to be said, and whether it is a doubt.
    """
    from conceptseg.network.record import encode

    model, name, levels = context.model, context.layer, context.levels
    try:
        u, y, x = encode(model, image, levels).shape[1:]
    except InputError as error:
        return str(error), True
    size = f"{name}: {u} channels on {y} x {x}"
    said, doubt = _acting(context, image)
    often = _often(context, image)
    return "; ".join(filter(None, (f"{size}{said}", often))), doubt or bool(often)


def _acting(context: Context, image: Tensor) -> tuple[str, bool]:
    """How the layer acts on the logits, to be said after its size; and whether that is a doubt."""
    from conceptseg.network.influence import acting_channels, acts

    model, levels = context.model, context.levels
    if not acts(model, image, levels):
        return (
            "; it has no influence on the logits, so that nothing can be shown to be used there: "
            "choose another (conceptseg layers shows them)",
            True,
        )
    try:
        acting = acting_channels(model, image, levels)
    except InputError as error:
        return f"; erasing it acts, but its gradient fails: {error}", False
    if acting == 0:
        return "; it acts by steps, without a gradient", False
    return f", {acting:.0%} of them act on the logits", False


def _often(context: Context, image: Tensor) -> str:
    """That a layer which was named without a call's number runs several times, if it does."""
    from conceptseg.network.layers import watch

    try:
        seen, _ = watch(context.model, image)
    except InputError:  # TorchScript, into which no one can look
        return ""
    many = [(name, seen[name].calls) for name in context.levels.names if name in seen]
    told = [f"{name} runs {count} times in a pass" for name, count in many if count > 1]
    if not told:
        return ""
    return (
        f"{' and '.join(told)}, and the first time alone is looked at: of a network that cuts the "
        "image into parts, or is run at several sizes, that is one part. Name a layer that runs "
        "once, or the one of these that you mean (NAME#0, NAME#1, ...)"
    )


def about_worth(context: Context) -> tuple[str, bool]:
    """What the layer is worth to the decision, beside the best and the runner-up; and the doubt."""
    from conceptseg.network.choice import LITTLE

    choice, name = context.choice, context.layer
    if choice is None:
        return (
            "not measured: the logits follow no layer that can be set to another value, or they "
            "are not finite",
            False,
        )
    worth, share = choice.worth(name), choice.share(name)
    if worth is None or share is None:
        return f"not measured: what {name} puts out cannot be set to another value", False
    what = "prediction" if choice.by == "prediction" else "logits' variation"
    ends = choice.interval(name)
    within = "" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    said = [
        f"{worth:.2f}{within} of the {what} is lost when {name} is set to its mean over "
        f"{choice.images} image{'' if choice.images == 1 else 's'} ({_beside(choice, name)})"
    ]
    exchanged = choice.weighed[name].exchanged
    if exchanged is not None:
        lost = exchanged.prediction if choice.by == "prediction" else exchanged.logits
        said.append(f"{lost:.2f} when each image gets another's")
    if choice.by == "logits":
        said.append("no layer's loss changes the prediction by as much as 0.05")
    alone = name == choice.layer and len(choice.levels) > 1
    if alone:
        said.append(_several(choice))
    elif name == choice.layer:
        said += [*_open(choice), *_no_deeper(choice)]
    little = share < LITTLE  # of a layer that was named
    if little and not alone:
        better = f"{choice.layer} (layer: auto)" if choice.carried else _joint(choice)
        said.append(
            f"most of the decision does not pass here: take {better} unless that is what you want "
            "to look at"
        )
    said.append(f"it took {choice.passed} passes of one image to say")
    return "; ".join(said), little or (alone and not choice.carried)


def _open(choice: Choice) -> list[str]:
    """Where images did not tell the layer's share of the best from what it must reach."""
    one = choice.weighed[choice.layer]
    if choice.told or one.of_best is None or one.of_best.ci is None:
        return []
    low, high = one.of_best.ci
    return [
        f"{choice.images} images do not tell whether that is nine tenths of the best layer's "
        f"({one.of_best.value:.2f}, {low:.2f} to {high:.2f}): of what they do not tell apart the "
        "coarsest is taken"
    ]


def _joint(choice: Choice) -> str:
    return f"{choice.joint} (layers: auto)"


def _several(choice: Choice) -> str:
    """Why `layers: auto` takes several layers where the layer is the one of `layer: auto`."""
    where = " on a coarser grid than the finest" if choice.carried else ""
    return (
        f"no single layer{where} carries the decision: {_with_worth(choice, choice.joint)} "
        f"together, {choice.whole:.2f} all that were weighed; layers: auto takes these as one, in "
        f"studies that read several ({', '.join(readers_of_several())})"
    )


def _beside(choice: Choice, name: str) -> str:
    """The best layer and the runner-up, or the one that `auto` would take, with their worth; a
    layer that is two of these comes once."""
    best, other = choice.best, choice.runner_up
    parts = [] if best in (name, choice.layer) else [f"at most {_with_worth(choice, best)}"]
    if name != choice.layer:
        parts.append(f"auto takes {_with_worth(choice, choice.layer)}")
    elif other is not None and other != best:
        parts.append(f"runner-up {_with_worth(choice, other)}")
    return ", ".join(parts) or "no other layer was weighed"


def _no_deeper(choice: Choice) -> list[str]:
    """Where the layer is on the finest grid: what the best of each coarser one is worth."""
    levels = choice.best_by_level()
    own = choice.weighed[choice.layer].level
    coarser = [_with_worth(choice, name) for level, name in levels.items() if level > own]
    if own > min(levels) or not coarser:
        return []
    return [
        "no layer on a coarser grid carries the decision alone (" + ", ".join(coarser) + "), nor "
        "do all of them together: a part of it passes on the finest grid only, as by skips; "
        f"{', '.join(readers_of_several())} read several layers if layers names them"
    ]


def _with_worth(choice: Choice, name: str) -> str:
    return f"{name} {choice.worth(name):.2f}"
