"""Who gives to whom: derangements that depend on the samples alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import drawn, sample_priority
from conceptseg.engine.known import Key
from conceptseg.study.shared.studied import labelled

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.manifest import Sample
    from conceptseg.engine.contract import Context
    from conceptseg.study.permutation.config import Permutation


def draw_samples(study: Permutation, context: Context) -> list[Sample]:
    """The labelled images that are permuted: the first by hash, in the manifest's order."""
    given = labelled(context)
    kept = set(drawn(context.seed, [sample.id for sample in given], study.images))
    return [sample for sample in given if sample.id in kept]


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


@dataclass
class Library:
    """Donors' images, as they are asked for, among the images that are permuted.

    The last few are kept.
    """

    context: Context
    samples: Sequence[Sample]
    kept: int = 48
    _held: OrderedDict[str, np.ndarray] = field(default_factory=OrderedDict)
    _rings: dict[int, Mapping[str, str]] = field(default_factory=dict)

    def images(self, ids: Sequence[str], repeat: int, like: Tensor) -> Tensor:
        """The donors' images for a batch, resized to its size where theirs is another."""
        import torch
        import torch.nn.functional as F

        if repeat not in self._rings:
            self._rings[repeat] = derangement(self.samples, self.context.seed, repeat)[0]
        ring = self._rings[repeat]
        donors = []
        for name in ids:
            image = torch.from_numpy(self._image(ring[name])).to(like)
            if image.shape[1:] != like.shape[2:]:
                size = (like.shape[2], like.shape[3])
                resized = F.interpolate(image[None], size, mode="bilinear", align_corners=False)
                image = resized[0]
            donors.append(image)
        return torch.stack(donors)

    def _image(self, name: str) -> np.ndarray:
        if name in self._held:
            self._held.move_to_end(name)
        else:
            manifest = self.context.manifest
            self._held[name] = manifest.image(manifest.sample(name))
            while len(self._held) > self.kept:
                self._held.popitem(last=False)
        return self._held[name]


LIBRARY = Key("donors", Library)
