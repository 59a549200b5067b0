"""The concepts that a study asks for, and what can be refused of them before anything is run."""

from collections.abc import Sequence

import numpy as np

from conceptseg.data.manifest import Source as ImageSource
from conceptseg.engine.contract import Context
from conceptseg.errors import InputError
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.sources import (
    BoundaryBand,
    Colours,
    ConceptSource,
    Errors,
    Frame,
    KnownContext,
    Labels,
    Places,
    Predictions,
    Sizes,
    Textures,
    UserMasks,
)
from conceptseg.study.dissect.textures import Codebook
from conceptseg.study.dissect.vocabulary import Category
from conceptseg.study.shared.user_masks import user_masks

UNLEARNT = Codebook(np.empty(0), np.empty(0), np.empty(0), ())
"""No textures: before any are learnt, and where none are asked for."""


def sources(study: Dissect, context: Context, codebook: Codebook) -> list[ConceptSource]:
    """The sources that a study asks for, without those for which the data have nothing.

    Raises InputError if none is left, and for masks of the user's that do not exist.
    """
    manifest, classes = context.manifest, context.model.classes
    labelled = manifest.any_labelled
    background = manifest.background
    shows_context = type(manifest.source).context is not ImageSource.context
    offered: dict[str, list[ConceptSource]] = {
        "classes": [Labels(classes) if labelled else Predictions(classes)],
        "predicted": [Predictions(classes)],
        "errors": [Errors(classes, missed) for missed in (True, False) if labelled],
        "boundary": [BoundaryBand()],
        "size": [Sizes(classes.index(background) if background in classes else None)],
        "position": [Places(), Frame()],
        "colours": [Colours(manifest.channels)],
        "textures": [Textures(codebook)],
        "context": [KnownContext(manifest)] if shows_context else [],
    }
    chosen: list[ConceptSource] = []
    for kind in study.concepts:
        known = [source.category for source in chosen]
        chosen += [source for source in offered[kind] if source.category not in known]
    chosen += [UserMasks(mask) for mask in user_masks(study.masks, manifest)]
    if not chosen:
        raise InputError("concepts: the data hold none of those asked for; name others, or masks")
    _qualify(chosen)
    return chosen


def _qualify(chosen: Sequence[ConceptSource]) -> None:
    """Add its category's name to a concept that is called like one of an earlier category."""
    taken: set[str] = set()
    for source in chosen:
        category = source.category
        names = tuple(
            f"{name} ({category.name})" if name in taken else name for name in category.concepts
        )
        source.category = Category(category.name, names)
        taken.update(names)
