"""Whether the layer that is studied acts far enough to show a use from context, and which does."""

from collections.abc import Mapping
from typing import Any

from conceptseg.concepts.segments import ring_px
from conceptseg.engine.contract import Context
from conceptseg.engine.reading import first_images

FAR = 2
"""Of the ring that is spared, how far a layer has to act for most of a class to be reached: a few
pixels farther than the ring, and it is the class's border alone."""


def outside_layer(context: Context, spared: int) -> dict[str, Any] | None:
    """Another layer at which uses from farther than `spared` pixels away can be told; None if none
    is known. With its worth and that of the layer that is studied, and how far it acts."""
    choice = context.choice
    name = None if choice is None else choice.from_outside(FAR * spared)
    if choice is None or name is None or name == context.layer:
        return None
    return {
        "layer": name,
        "worth": choice.worth(name),
        "own_worth": choice.worth(context.layer),
        "reach_px": choice.weighed[name].reach,
    }


def instead(other: Mapping[str, Any]) -> str:
    """How to look at that layer, and what it is worth."""
    own = other["own_worth"]
    beside = "" if own is None else f", {own:.2f} here"
    return (
        f"`--set layer={other['layer']}`, from where a position acts on pixels "
        f"{other['reach_px']:.0f} px away (worth {other['worth']:.2f} to the decision{beside})"
    )


def about_reach(context: Context) -> list[tuple[str, str]]:
    """What `check` says where no use from context could be shown at the layer that is studied."""
    choice = context.choice
    own = None if choice is None else choice.weighed.get(context.layer)
    spared = ring_px(first_images(context.manifest, context.run).shape[2:])
    if own is None or own.reach is None or own.reach > spared:
        return []
    other = outside_layer(context, spared)
    text = (
        f"behind {context.layer} a position acts on pixels {own.reach:.0f} px away at most, and "
        f"{spared} px around a class are spared: no use from context could be shown here"
    )
    return [("context", text if other is None else f"{text}; it could with {instead(other)}")]
