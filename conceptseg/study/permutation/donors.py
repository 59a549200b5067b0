"""Who gives to whom: derangements that depend on the samples alone."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.draw import sample_priority
from conceptseg.data.listed import first_of
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key
from conceptseg.study.permutation.config import Permutation
from conceptseg.study.shared.donors import Donors
from conceptseg.study.shared.studied import labelled

KEPT = 48


def draw_samples(study: Permutation, context: Context) -> list[Sample]:
    """The labelled images that are permuted: the first by hash, in the manifest's order."""
    return list(first_of(labelled(context), context.seed, study.images))


def derangement(samples: Sequence[Sample], seed: int, repeat: int) -> tuple[dict[str, str], bool]:
    """Each sample's donor: another one, of another group where that can be, each giving once.

    Samples are laid in a ring, group by group, both in an order by hash; each receives from the one
    that lies as many places on as the largest group has members. So it is never of its own group,
    unless that group holds more than half of all: then each receives from the next in an order by
    hash alone, and the second value is False.
    """

    def rank(text: str) -> int:
        return sample_priority(seed, f"{repeat}:{text}")

    ids = [sample.id for sample in samples]
    group = {sample.id: sample.group for sample in samples}
    sizes = np.unique([group[name] for name in ids], return_counts=True)[1]
    largest = int(sizes.max())
    apart = 2 * largest <= len(ids)
    if apart:
        ring = sorted(ids, key=lambda name: (rank(f"group {group[name]}"), rank(name), name))
    else:
        ring, largest = sorted(ids, key=lambda name: (rank(name), name)), 1
    pairs = zip(ring, ring[largest:] + ring[:largest], strict=True)
    return dict(pairs), apart


class Library:
    """Donors' images, among the images that are permuted; the last few asked for are kept."""

    def __init__(self, context: Context, samples: Sequence[Sample]):
        self._donors = Donors(context, KEPT)
        self._ring = cache(lambda repeat: derangement(samples, context.seed, repeat)[0])

    def images(self, ids: Sequence[str], repeat: int, like: Tensor) -> Tensor:
        """The donors' images for a batch, resized to its size where theirs is another."""
        ring = self._ring(repeat)
        return torch.cat([self._donors.image(ring[name], like) for name in ids])


LIBRARY = Key("donors", Library)
