"""The concepts that a study asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conceptseg.data.manifest import Source as ImageSource
from conceptseg.errors import InputError
from conceptseg.study.dissect.sources import (
    BoundaryBand,
    ConceptSource,
    FalseAlarms,
    Frame,
    KnownContext,
    Labels,
    Missed,
    Places,
    Predictions,
    Sizes,
    Textures,
)
from conceptseg.study.dissect.textures import Codebook
from conceptseg.study.dissect.vocabulary import Category

if TYPE_CHECKING:
    from conceptseg.data.manifest import Manifest
    from conceptseg.engine.contract import Context
    from conceptseg.study.dissect.config import Dissect


def knows_context(manifest: Manifest) -> bool:
    return type(manifest.source).context is not ImageSource.context


def sources(study: Dissect, context: Context, codebook: Codebook | None) -> list[ConceptSource]:
    """The sources that a study asks for, without those for which the data have nothing.

    Raises InputError if none is left.
    """
    from conceptseg.study.dissect.colour_names import Colours
    from conceptseg.study.dissect.user_masks import UserMasks

    manifest, classes = context.manifest, context.model.classes
    labelled = any(manifest.labelled(sample) for sample in manifest.samples)
    background = None
    if manifest.background in classes:
        background = classes.index(str(manifest.background))
    found: list[ConceptSource] = []
    for kind in study.concepts:
        made: dict[str, Any] = {
            "classes": lambda: [Labels(classes)] if labelled else [Predictions(classes)],
            "predicted": lambda: [Predictions(classes)],
            "errors": lambda: [Missed(classes), FalseAlarms(classes)] if labelled else [],
            "boundary": lambda: [BoundaryBand()],
            "size": lambda: [Sizes(background)],
            "position": lambda: [Places(), Frame()],
            "colours": lambda: [Colours(manifest.channels)],
            "textures": lambda: [] if codebook is None else [Textures(codebook)],
            "context": lambda: [KnownContext(manifest)] if knows_context(manifest) else [],
        }
        found += [one for one in made[kind]() if one.category not in [f.category for f in found]]
    for name, pattern in study.masks.items():
        found.append(UserMasks(name, pattern, manifest))
    if not found:
        raise InputError("concepts: the data hold none of those asked for; name others, or masks")
    _tell_apart(found)
    return found


def _tell_apart(found: Sequence[ConceptSource]) -> None:
    """Give concepts that are called like one of an earlier category its own category's name too."""
    taken: set[str] = set()
    for source in found:
        category = source.category
        names = tuple(
            f"{name} ({category.name})" if name in taken else name for name in category.concepts
        )
        source.category = Category(category.name, names)
        taken.update(names)
