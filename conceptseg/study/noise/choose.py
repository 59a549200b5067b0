"""Pass 1: which images hold which classes; then which of them fit, and which judge."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.network.label_map import class_areas, label_map
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.noise.config import NoiseStudy

HELD = Key("noise held", SampleTable)


@dataclass(frozen=True)
class Drawn:
    """The classes; of each the images `fit` that hold it; and the cases `judged`, image by image,
    of images whose groups no image of the fit belongs to."""

    classes: tuple[int, ...]
    fit: tuple[tuple[str, ...], ...]
    judged: tuple[tuple[str, int], ...]


DRAWN = Key("noise drawn", Drawn)


@dataclass(frozen=True)
class Choose(Pass):
    """In which images each class is predicted on enough of the image."""

    study: NoiseStudy

    name = "choose"
    cost = "1 forward per image"
    keeps = True

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        wanted, table = self.study.class_ids(context), SampleTable.empty(self.study.images)
        with torch.no_grad():
            logits = context.model(batch.images)
        predicted = label_map(logits)
        least = self.study.min_region_fraction * predicted[0].numel()
        areas = class_areas(predicted, logits.shape[1])
        for i, name in enumerate(batch.ids):
            held = [c for c in wanted if areas[i, c] >= least]
            row = SampleTable.of(
                name,
                {"class": np.array(held, np.int64)},
                priority=sample_priority(context.seed, name),
                classes=held,
                capacity=self.study.images,
            )
            table = table.merge(row)
        return HELD(table)


def draw(study: NoiseStudy, context: Context, known: Known) -> Known:
    """Whole groups judge until there are enough images of them; all others fit.

    Raises InputError where no class is predicted, or there are not two groups that hold one.
    """
    table = known[HELD]
    held = {name: [int(c) for c in table.tables[name]["class"]] for name in table.ids}
    often = Counter(c for own in held.values() for c in own)
    if not often:
        names = ", ".join(context.model.classes[c] for c in study.class_ids(context))
        raise InputError(
            f"{context.manifest.where}: none of the {len(context.manifest.samples)} images is "
            f"predicted to hold {names} on {study.min_region_fraction:.2%} of it or more; lower "
            "min_region_fraction, choose other classes, or check model.preprocessing"
        )
    classes = sorted(often, key=lambda c: (-often[c], c))
    if not study.data.classes:
        classes = classes[: study.classes_at_most]
    group = {name: context.manifest.sample(name).group for name in held}
    ranked = sorted(set(group.values()), key=lambda g: (sample_priority(context.seed, g), g))
    apart = _apart(ranked, Counter(group.values()), min(study.judged, len(held) // 2))
    fit = [
        tuple(n for n in sorted(held) if group[n] not in apart and c in held[n]) for c in classes
    ]
    judged = [
        (n, c) for n in sorted(held) if group[n] in apart for c in sorted(classes) if c in held[n]
    ]
    kept = [(c, own) for c, own in zip(classes, fit, strict=True) if own]
    there = {c for c, _ in kept}
    judged = [(n, c) for n, c in judged if c in there]
    if not kept or not judged:
        raise InputError(
            f"{context.manifest.where}: the {len(held)} images that hold a class are of "
            f"{len(ranked)} groups, and some have to judge what others fit; give images of more "
            "groups, or a manifest without `group` if images are independent"
        )
    order = sorted(kept)
    return DRAWN(Drawn(tuple(c for c, _ in order), tuple(own for _, own in order), tuple(judged)))


def _apart(ranked: Sequence[str], sizes: Counter[str], wanted: int) -> set[str]:
    """The first groups that make so many images, at least one and never all."""
    found, count = set[str](), 0
    for name in ranked[: max(0, len(ranked) - 1)]:
        if found and count >= wanted:
            break
        found.add(name)
        count += sizes[name]
    return found
