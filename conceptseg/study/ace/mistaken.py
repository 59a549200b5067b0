"""The concepts that mistakes may lie on: clusters of segments, and their directions."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Known
from conceptseg.study.ace.assess import describe
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Discovery
from conceptseg.study.ace.erase import erased
from conceptseg.study.shared.mistaken import Concepts, Edit


@dataclass(frozen=True)
class FoundConcepts(Concepts):
    """The concepts of a discovery."""

    @classmethod
    def of(cls, study: Ace) -> "FoundConcepts":
        return cls(
            study.min_images,
            study.smallest_effect,
            study.null_erasures,
            study.unit,
            study.picture_px,
        )

    def names(self, known: Known) -> tuple[str, ...]:
        return tuple(concept.name for concept in known[DISCOVERY].concepts)

    def lie_on(self, context: Context, known: Known) -> tuple[str, ...]:
        discovery, classes = known[DISCOVERY], context.model.classes
        return tuple(
            "" if concept.label else describe(discovery, concept, classes)
            for concept in discovery.concepts
        )

    def where(
        self, context: Context, ids: Sequence[str], images: Tensor, known: Known
    ) -> tuple[Tensor, Tensor]:
        discovery = known[DISCOVERY]
        maps = np.stack([_maps(discovery, name, images.shape[-2:]) for name in ids])
        shows = torch.from_numpy(maps).to(images.device)
        surveyed = torch.tensor([name in discovery.position for name in ids], device=images.device)
        return shows, surveyed[:, None, None, None].expand_as(shows)

    def edits(self, context: Context, concept: int, known: Known) -> dict[Hashable, Edit] | None:
        discovery = known[DISCOVERY]
        along = {("concept", concept): discovery.concepts[concept].direction}
        along |= {("random", n): each for n, each in enumerate(discovery.null_directions)}
        return {key: partial(erased, direction=each) for key, each in along.items()}


def _maps(discovery: Discovery, sample_id: str, size: Sequence[int]) -> np.ndarray:
    """Where each concept's segments lie in an image, bool [q, h, w]; nowhere if it has none."""
    maps = np.zeros((len(discovery.concepts), *size), dtype=bool)
    place = discovery.position.get(sample_id)
    if place is not None:
        segments = discovery.segments(sample_id)
        for shown, concept in zip(maps, discovery.concepts, strict=True):
            own = concept.members[discovery.image[concept.members] == place]
            for number in discovery.number[own].tolist():
                shown |= segments.mask(number)
    return maps
