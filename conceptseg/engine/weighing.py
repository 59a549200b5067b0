"""What the layer that is studied is worth to the decision, asked before the first pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptseg import catalogue
from conceptseg.config import RunConfig
from conceptseg.engine.contract import Context
from conceptseg.engine.reading import laid_out
from conceptseg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.manifest import Manifest
    from conceptseg.network.choice import Choice

LITTLE = 0.5
"""Share of what the best layer is worth below which a layer that was named is in doubt."""


def images_to_weigh(manifest: Manifest, run: RunConfig, seed: int) -> Tensor:
    """Up to four images [n, c, h, w] of a manifest, those of the first one's size.

    Those that the smallest `limit` keeps: so they are the same for all studies of the data, however
    many images each takes, and whatever the batch size is.
    """
    import torch

    from conceptseg.network.choice import IMAGES

    drawn = manifest.select(limit=IMAGES, seed=seed).samples
    images = [torch.from_numpy(manifest.image(one)) for one in drawn]
    alike = [one for one in images if one.shape == images[0].shape]
    return laid_out(torch.stack(alike).to(run.device), run)


def readers_of_several() -> list[str]:
    """The studies that `layers` may be given to."""
    studies = {name: catalogue.load("study", name) for name in catalogue.names("study")}
    return [name for name, study in studies.items() if getattr(study, "reads", "one") != "one"]


def about_layer(context: Context, image: Tensor) -> tuple[str, bool]:
    """Whether the layer has influence on an image's logits, by its gradient, else by erasing it.

    Returns what is to be said, and whether it is a doubt.
    """
    from conceptseg.network.influence import acting_channels, acts
    from conceptseg.network.record import encode

    model, name, levels = context.model, context.layer, context.levels
    try:
        u, y, x = encode(model, image, levels).shape[1:]
    except InputError as error:
        return str(error), True
    size = f"{name}: {u} channels on {y} x {x}"
    if not acts(model, image, levels):
        return (
            f"{size}; it has no influence on the logits, so that nothing can be shown to be "
            "used there: choose another (conceptseg layers shows them)",
            True,
        )
    try:
        acting = acting_channels(model, image, levels)
    except InputError as error:
        return f"{size}; erasing it acts, but its gradient fails: {error}", False
    if acting == 0:
        return f"{size}; it acts by steps, without a gradient", False
    return f"{size}, {acting:.0%} of them act on the logits", False


def about_worth(context: Context) -> tuple[str, bool]:
    """What the layer is worth to the decision, beside the best and the runner-up; and the doubt."""
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
    said = [
        f"{worth:.2f} of the {what} is lost when {name} is set to its mean over {choice.images} "
        f"image{'' if choice.images == 1 else 's'} ({_beside(choice, name)})"
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
        said += _no_deeper(choice)
    little = share < LITTLE
    if little and not alone:
        better = f"{choice.layer} (layer: auto)" if choice.carried else _joint(choice)
        said.append(
            f"most of the decision does not pass here: take {better} unless that is what you want "
            "to look at"
        )
    return "; ".join(said), little or (alone and not choice.carried)


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
