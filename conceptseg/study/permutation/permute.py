"""The sweeps that exchange parts: each at first, the undecided more often, then two at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Tail, encode
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.permutation.assess import CHOSEN_PARTS, UNDECIDED
from conceptseg.study.permutation.config import Permutation
from conceptseg.study.permutation.deltas import DELTAS, Deltas
from conceptseg.study.permutation.donors import LIBRARY, Library, draw_samples
from conceptseg.study.permutation.features import (
    Feature,
    conditional,
    filled,
    shuffled_blocks,
    swapped,
)
from conceptseg.study.permutation.losses import EXTRA, boundary_loss, likelihood_loss, overlap_loss
from conceptseg.study.permutation.survey import PLAN, Variant
from conceptseg.study.shared.overlap import without_small

COLUMNS = ("clean", "overlap", "extra_clean", "extra")
PERMUTED, RACED = Key("permuted", SampleTable), Key("raced", SampleTable)
PAIRED = Key("paired", SampleTable)


@dataclass(frozen=True)
class Exchange(Pass):
    """What the sweeps share: images changed by variants, and the losses that follow."""

    study: Permutation

    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return draw_samples(self.study, context)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield LIBRARY(Library(context, draw_samples(self.study, context)))

    def overlaps(
        self,
        context: Context,
        batch: Batch,
        known: Known,
        places: Sequence[int],
        repeats: Sequence[int],
    ) -> dict[str, np.ndarray]:
        """Losses of a batch by `COLUMNS`, with a row for each of the variants `places`: clean, by
        variant and repeat, and the extra losses of both."""
        study, images = self.study, batch.images
        wanted = [known[PLAN].variants[place] for place in places]
        truth = self.truth(context, batch)
        some_units = any(variant.feature.kind == "units" for variant in wanted)
        tail = Tail.of(context.model, images, context.layer) if some_units else None
        with torch.no_grad():
            logits = context.model(images) if tail is None else tail.logits
        clean, extra_clean = overlap_loss(logits, truth), self._extra(logits, truth)
        n, k = clean.shape
        overlap = np.full((n, len(wanted), len(repeats), k), np.nan)
        extra = np.full((n, len(wanted), len(EXTRA), k), np.nan)
        total = np.zeros((n, len(wanted), len(EXTRA), k))
        for place, repeat in enumerate(repeats):
            donors = known[LIBRARY].images(batch.ids, repeat, images)
            given = encode(context.model, donors, context.layer) if tail else None
            for row, variant in enumerate(wanted):
                if variant.once and repeat > 0:
                    overlap[:, row, place] = overlap[:, row, 0] if repeats[0] == 0 else np.nan
                    continue
                if tail is not None and given is not None and variant.feature.kind == "units":
                    logits = resumed(tail, given, variant.feature)
                else:
                    changed = self.changed(context, batch, known, variant, donors, repeat)
                    with torch.no_grad():
                        logits = context.model(changed)
                overlap[:, row, place] = overlap_loss(logits, truth) - clean
                if repeat < study.extra_repeats:
                    total[:, row] += self._extra(logits, truth) - extra_clean
                    extra[:, row] = total[:, row] / (1 if variant.once else repeat + 1)
        return dict(zip(COLUMNS, (clean, overlap, extra_clean, extra), strict=True))

    def beside(self, context: Context, logits: Tensor) -> object:
        """The losses of a changed image."""
        truth = label_map(logits)
        return overlap_loss(logits, truth), self._extra(logits, truth)

    def changed(
        self,
        context: Context,
        batch: Batch,
        known: Known,
        variant: Variant,
        donors: Tensor,
        repeat: int,
    ) -> Tensor:
        """The batch's images under a variant that changes images, not units."""
        images, feature, channels = batch.images, variant.feature, known[PLAN].channels
        if variant.scheme == "conditional":
            return conditional(images, donors, feature, channels)
        if variant.scheme == "mean":
            return filled(images, feature, channels)
        if variant.scheme in ("block", "pixel"):
            side = self.study.block_px if variant.scheme == "block" else 1
            seeds = [(sample_priority(context.seed, name), repeat, side) for name in batch.ids]
            return shuffled_blocks(images, feature, side, seeds)
        return swapped(images, donors, feature)

    def truth(self, context: Context, batch: Batch) -> Tensor:
        """Labels in which a class of too small a share of its image is ignored."""
        assert batch.labels is not None
        return without_small(batch.labels, len(context.model.classes), self.study.min_share)

    def drawn(self, context: Context) -> int:
        """About how many images are drawn, for estimates."""
        return min(self.study.images, len(context.manifest.samples))

    def _extra(self, logits: Tensor, truth: Tensor) -> np.ndarray:
        """Likelihood and border losses [n, 2, k], in the order of `EXTRA`."""
        if not self.study.extra_repeats:
            return np.full((len(truth), len(EXTRA), logits.shape[1]), np.nan)
        both = likelihood_loss(logits, truth), boundary_loss(logits, truth, self.study.tolerance_px)
        return np.stack(both, 1)


@dataclass(frozen=True)
class Permute(Exchange):
    """Every variant, `repeats` times."""

    name = "permute"
    cost = "variants x repeats forwards per image that is drawn"

    def forwards(self, context: Context) -> float:
        return self.drawn(context) * (1 + guessed_variants(self.study) * self.study.repeats)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        places, repeats = range(len(known[PLAN].variants)), range(self.study.repeats)
        arrays = self.overlaps(context, batch, known, places, repeats)
        return PERMUTED(SampleTable.batch(batch.ids, arrays))

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state[PERMUTED]
        columns = {name: table.column(name) for name in COLUMNS}
        return DELTAS(Deltas(tuple(table.ids), known[PLAN].variants, **columns))


@dataclass(frozen=True)
class Race(Exchange):
    """The variants that the first exchanges have not decided, up to `most_repeats` times."""

    name = "race"
    cost = "further forwards for what is undecided"

    def forwards(self, context: Context) -> float:
        """A third of the variants is taken to be undecided."""
        more = max(0, self.study.most_repeats - self.study.repeats)
        return self.drawn(context) * guessed_variants(self.study) * more / 3

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        more = self.study.most_repeats > self.study.repeats
        return draw_samples(self.study, context) if known[UNDECIDED] and more else []

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        places, repeats = known[UNDECIDED], range(self.study.repeats, self.study.most_repeats)
        overlap = self.overlaps(context, batch, known, places, repeats)["overlap"]
        return RACED(SampleTable.batch(batch.ids, {"overlap": overlap}))


def join(study: Permutation, context: Context, known: Known) -> Known:
    """The first exchanges and the further ones together."""
    if RACED not in known:
        return Known()
    deltas, further, places = known[DELTAS], known[RACED].column("overlap"), known[UNDECIDED]
    n, v, r, k = deltas.overlap.shape
    whole = np.full((n, v, r + further.shape[2], k), np.nan)
    whole[:, :, :r] = deltas.overlap
    whole[:, list(places), r:] = further
    return DELTAS(replace(deltas, overlap=whole))


@dataclass(frozen=True)
class Pairs(Exchange):
    """The parts of largest effect exchanged two at a time, from the same donor."""

    name = "pairs"
    cost = "pairs x repeats forwards per image that is drawn"
    keeps = True

    def forwards(self, context: Context) -> float:
        pairs = self.study.pairs * (self.study.pairs - 1) / 4
        return self.drawn(context) * self.study.repeats * pairs

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return draw_samples(self.study, context) if known[CHOSEN_PARTS] else []

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        deltas, pairs, truth = known[DELTAS], known[CHOSEN_PARTS], self.truth(context, batch)
        clean = deltas.clean[[deltas.ids.index(name) for name in batch.ids]]
        overlap = np.zeros((len(batch), len(pairs), self.study.repeats, clean.shape[1]))
        for repeat in range(self.study.repeats):
            donors = known[LIBRARY].images(batch.ids, repeat, batch.images)
            for row, (first, second) in enumerate(pairs):
                changed = swapped(swapped(batch.images, donors, first), donors, second)
                with torch.no_grad():
                    logits = context.model(changed)
                overlap[:, row, repeat] = overlap_loss(logits, truth) - clean
        return PAIRED(SampleTable.batch(batch.ids, {"overlap": overlap}))


def resumed(tail: Tail, given: Tensor, feature: Feature) -> Tensor:
    """Logits of images whose units of a feature are the donors' (activations `given`)."""
    activation = tail.activation.clone()
    members = list(feature.members)
    activation[:, members] = given[:, members]
    with torch.no_grad():
        return tail.resume(activation)


def guessed_variants(study: Permutation) -> int:
    """About how many variants there are, for images of three channels."""
    counts: dict[str, int] = {
        "channels": 5 * len(study.schemes),
        "colour": 2,
        "frequency": 2 + study.octaves,
        "units": study.unit_groups,
    }
    return sum(counts[name] for name in study.features)
