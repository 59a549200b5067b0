"""How often exchanges of what says nothing are called needed, and the power to see what does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.manifest import Sample
from conceptseg.engine.known import Known
from conceptseg.study.permutation.assess import IMPORTANCES, assess
from conceptseg.study.permutation.deltas import DELTAS, Deltas
from conceptseg.study.permutation.donors import derangement
from conceptseg.study.permutation.features import Feature, swapped
from conceptseg.study.permutation.findings import findings
from conceptseg.study.permutation.losses import overlap_loss
from conceptseg.study.permutation.survey import Variant
from conceptseg.study.shared.nulls import Bench, Claim, Selftest, any_evidence

SIDE, CHANNELS, REPEATS, IMAGES = 16, 6, 5, 60


def scenes(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Images [n, c, h, w] and labels: a square of either class that the first channel shows, and
    channels of noise that say nothing of it."""
    images = rng.normal(size=(IMAGES, CHANNELS, SIDE, SIDE)).astype(np.float32)
    labels = np.zeros((IMAGES, SIDE, SIDE), np.int64)
    for image, label in zip(images, labels, strict=True):
        top, left, own = *rng.integers(0, SIDE - 7, 2), rng.integers(1, 3)
        label[top : top + 7, left : left + 7] = own
        # Images are of very unlike difficulty. Each channel has a size of its own: were it that of
        # the image, another's noise would not be as good as its own beside the other channels.
        image[1:] *= rng.exponential(0.5, (CHANNELS - 1, 1, 1))
        image[0] = 1.6 * (label == 1) - 1.6 * (label == 2)
    return torch.from_numpy(images), torch.from_numpy(labels)


def network(images: Tensor) -> Tensor:
    """It reads the noise, too, and errs by it, so its IoU can fall; exchanging it costs nothing."""
    seen = images[:, 0] + images[:, 1:].sum(1)
    return torch.stack([torch.full_like(seen, 0.8), seen, -seen], 1)


def exchanged(seed: Sequence[int]) -> Deltas:
    """What exchanging each channel of one data set costs, by the study's own functions."""
    rng = np.random.default_rng(seed)
    images, labels = scenes(rng)
    clean = overlap_loss(network(images), labels)
    samples = [Sample(f"s{i:02}", group=f"s{i:02}") for i in range(IMAGES)]
    parts = tuple(Variant(Feature(f"p{c}", "channels", (c,)), "swap") for c in range(CHANNELS))
    rise = np.zeros((IMAGES, CHANNELS, REPEATS, 3))
    for repeat in range(REPEATS):
        donors = derangement(samples, seed[-1], repeat)[0]
        given = images[[int(donors[one.id][1:]) for one in samples]]
        for place, part in enumerate(parts):
            changed = network(swapped(images, given, part.feature))
            rise[:, place, repeat] = overlap_loss(changed, labels) - clean
    nothing = np.zeros((IMAGES, CHANNELS, 2, 3))
    ids = tuple(one.id for one in samples)
    return Deltas(ids, parts, clean, rise, nothing[:, 0], nothing)


def without(deltas: Deltas, part: int) -> Deltas:
    """The same without the part that is needed: a family of which nothing is."""
    kept = [place for place in range(len(deltas.variants)) if place != part]
    parts = tuple(deltas.variants[place] for place in kept)
    return Deltas(
        deltas.ids,
        parts,
        deltas.clean,
        deltas.overlap[:, kept],
        deltas.extra_clean,
        deltas.extra[:, kept],
    )


def draws(bench: Bench, count: int, seed: int) -> Iterator[Sequence[bool]]:
    """A fresh data set each."""
    samples = {f"s{i:02}": Sample(f"s{i:02}", group=f"s{i:02}") for i in range(IMAGES)}
    study = SimpleNamespace(
        unit="image", smallest_effect=0.0, min_images=2, class_ids=lambda context: (0, 1, 2)
    )
    context = SimpleNamespace(
        manifest=SimpleNamespace(sample=samples.__getitem__),
        model=SimpleNamespace(classes=("ground", "one", "two")),
    )
    for number in range(count):
        context.seed = number
        known = Known() | DELTAS(without(exchanged((seed, number)), 0))
        judged = assess(study, context, known)[IMPORTANCES]  # type: ignore[arg-type]
        yield (any_evidence(findings(judged)),)


SELFTEST = Selftest(
    claims=(
        Claim(
            "a part is needed (joint flips of signs over images)",
            "channels of noise that the network reads and errs by; another image's noise is as "
            "good as an image's own; no loss is too small to count",
            "all parts and classes of a run",
        ),
    ),
    draws=draws,
    seconds=33,
    power="it names parts of the input and of a layer, and none of them as context",
)
