"""The concepts that a study asks for, and what can be refused of them before anything is run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.data.manifest import Manifest
from conceptseg.data.manifest import Source as ImageSource
from conceptseg.engine.contract import Context
from conceptseg.errors import InputError
from conceptseg.study.dissect.colour_names import Colours
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.sources import (
    BoundaryBand,
    ConceptSource,
    Errors,
    Frame,
    KnownContext,
    Labels,
    Places,
    Predictions,
    Sizes,
    Textures,
)
from conceptseg.study.dissect.textures import Codebook
from conceptseg.study.dissect.user_masks import UserMasks
from conceptseg.study.dissect.vocabulary import Category

UNLEARNT = Codebook(np.empty(0), np.empty(0), np.empty(0), ())
"""No textures: before any are learnt, and where none are asked for."""


def knows_context(manifest: Manifest) -> bool:
    return type(manifest.source).context is not ImageSource.context


def sources(study: Dissect, context: Context, codebook: Codebook) -> list[ConceptSource]:
    """The sources that a study asks for, without those for which the data have nothing.

    Raises InputError if none is left, and for masks of the user's that do not exist.
    """
    manifest, classes = context.manifest, context.model.classes
    labelled = any(manifest.labelled(sample) for sample in manifest.samples)
    background = None
    if manifest.background in classes:
        background = classes.index(str(manifest.background))
    chosen: list[ConceptSource] = []
    for kind in study.concepts:
        makers: dict[str, Any] = {
            "classes": lambda: [Labels(classes)] if labelled else [Predictions(classes)],
            "predicted": lambda: [Predictions(classes)],
            "errors": lambda: (
                [Errors(classes, missed) for missed in (True, False)] if labelled else []
            ),
            "boundary": lambda: [BoundaryBand()],
            "size": lambda: [Sizes(background)],
            "position": lambda: [Places(), Frame()],
            "colours": lambda: [Colours(manifest.channels)],
            "textures": lambda: [Textures(codebook)],
            "context": lambda: [KnownContext(manifest)] if knows_context(manifest) else [],
        }
        known = [source.category for source in chosen]
        chosen += [source for source in makers[kind]() if source.category not in known]
    chosen += [UserMasks(name, pattern, manifest) for name, pattern in study.masks.items()]
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
