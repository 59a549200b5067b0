"""The sweeps that exchange parts: each at first, the undecided more often, then two at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.permutation.deltas import Deltas
from conceptseg.study.permutation.donors import Library
from conceptseg.study.permutation.features import (
    Channels,
    Feature,
    apart,
    conditional,
    filled,
    shuffled_blocks,
    swapped,
)
from conceptseg.study.permutation.losses import EXTRA, boundary_loss, likelihood_loss, overlap_loss
from conceptseg.study.permutation.survey import Plan, Variant, drawn

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.network.record import Tail
    from conceptseg.study.permutation.config import Permutation


@dataclass(frozen=True)
class Exchange(Pass):
    """What the sweeps share: images changed by variants, and the losses that follow."""

    study: Permutation
    _libraries: dict[int, Library] = field(default_factory=dict, compare=False, repr=False)

    labels = "required"
    rounds: ClassVar[str] = ""

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        return drawn(self.study, context)

    def library(self, context: Context) -> Library:
        if id(context) not in self._libraries:
            self._libraries[id(context)] = Library(context)
        return self._libraries[id(context)]

    def overlaps(
        self,
        context: Context,
        batch: Batch,
        plan: Plan,
        wanted: Sequence[tuple[int, Variant]],
        repeats: Sequence[int],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Losses of a batch: clean, by variant and repeat, and the extra ones of both.

        `wanted` are variants with their places; the result has a row for each of them.
        """
        import torch

        from conceptseg.network.record import Tail

        study, images = self.study, batch.images
        truth = known_labels(batch, len(context.model.classes), study.min_share)
        some_units = any(v.feature.kind == "units" for _, v in wanted)
        tail = Tail.of(context.model, images, context.layer) if some_units else None
        with torch.no_grad():
            logits = context.model(images) if tail is None else tail.logits
        context.model.check_finite(logits, batch.ids)
        clean, extra_clean = overlap_loss(logits, truth), self._extra(logits, truth)
        n, k = clean.shape
        found = np.full((n, len(wanted), len(repeats), k), np.nan)
        extra = np.full((n, len(wanted), len(EXTRA), k), np.nan)
        taken = np.zeros((n, len(wanted), len(EXTRA), k))
        pool = drawn(study, context)
        for place, repeat in enumerate(repeats):
            donors = self.library(context).images(pool, batch.ids, repeat, images)
            given = None if tail is None else encoded(context, donors)
            for row, (_, variant) in enumerate(wanted):
                if variant.once and repeat > 0:
                    found[:, row, place] = found[:, row, 0] if repeats[0] == 0 else np.nan
                    continue
                changed = self.changed(context, batch, variant, donors, plan.channels, repeat)
                logits = run(context, variant.feature, changed, tail, given)
                found[:, row, place] = overlap_loss(logits, truth) - clean
                if repeat < study.extra_repeats:
                    taken[:, row] += self._extra(logits, truth) - extra_clean
                    extra[:, row] = taken[:, row] / (1 if variant.once else repeat + 1)
        return clean, found, extra_clean, extra

    def changed(
        self,
        context: Context,
        batch: Batch,
        variant: Variant,
        donors: Tensor,
        known: Channels,
        repeat: int,
    ) -> Tensor:
        """The batch's images under a variant; those of units are left as they are."""
        images, feature = batch.images, variant.feature
        if feature.kind == "units":
            return images
        if variant.scheme == "conditional":
            return conditional(images, donors, feature, known)
        if variant.scheme == "mean":
            return filled(images, feature, known)
        if variant.scheme in ("block", "pixel"):
            side = self.study.block_px if variant.scheme == "block" else 1
            seeds = [(sample_priority(context.seed, name), repeat, side) for name in batch.ids]
            return shuffled_blocks(images, feature, side, seeds)
        return swapped(images, donors, feature)

    def _extra(self, logits: Tensor, truth: Tensor) -> np.ndarray:
        """Likelihood and border losses [n, 2, k], in the order of `EXTRA`."""
        nothing = np.full((len(truth), len(EXTRA), logits.shape[1]), np.nan)
        if not self.study.extra_repeats:
            return nothing
        both = likelihood_loss(logits, truth), boundary_loss(logits, truth, self.study.tolerance_px)
        return np.stack(both, 1)

    def _state(self, batch: Batch, arrays: Mapping[str, np.ndarray]) -> State:
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            one = {name: value[i : i + 1] for name, value in arrays.items()}
            table = table.merge(SampleTable.of(sample_id, one))
        return {self.name: table}


@dataclass(frozen=True)
class Permute(Exchange):
    """Every variant, `repeats` times."""

    name = "permute"
    cost = "variants x repeats forwards per image that is drawn"

    def forwards(self, context: Context) -> float:
        count = min(self.study.images, len(context.manifest.samples))
        return count * (1 + guessed_variants(self.study) * self.study.repeats)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        plan: Plan = carry["plan"]
        wanted = list(enumerate(plan.variants))
        names = ("clean", "overlap", "extra_clean", "extra")
        arrays = self.overlaps(context, batch, plan, wanted, range(self.study.repeats))
        return self._state(batch, dict(zip(names, arrays, strict=True)))

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        from conceptseg.study.permutation.assess import undecided

        table = state[self.name]
        assert isinstance(table, SampleTable)
        names = ("clean", "overlap", "extra_clean", "extra")
        columns = {name: table.column(name) for name in names}
        deltas = Deltas(tuple(table.ids), carry["plan"].variants, **columns)
        return {"deltas": deltas, "undecided": undecided(self.study, context, deltas)}


@dataclass(frozen=True)
class Race(Exchange):
    """The variants that the first exchanges have not decided, up to `most_repeats` times."""

    name = "race"
    cost = "further forwards for what is undecided"

    def forwards(self, context: Context) -> float:
        """A third of the variants is taken to be undecided."""
        count = min(self.study.images, len(context.manifest.samples))
        more = max(0, self.study.most_repeats - self.study.repeats)
        return count * guessed_variants(self.study) * more / 3

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        more = self.study.most_repeats > self.study.repeats
        return drawn(self.study, context) if carry["undecided"] and more else []

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        plan: Plan = carry["plan"]
        wanted = [(place, plan.variants[place]) for place in carry["undecided"]]
        repeats = range(self.study.repeats, self.study.most_repeats)
        _, found, _, _ = self.overlaps(context, batch, plan, wanted, repeats)
        return self._state(batch, {"overlap": found})

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        deltas: Deltas = carry["deltas"]
        if self.name not in state:
            return {}
        table = state[self.name]
        assert isinstance(table, SampleTable)
        further = table.column("overlap")
        n, v, r, k = deltas.overlap.shape
        whole = np.full((n, v, r + further.shape[2], k), np.nan)
        whole[:, :, :r] = deltas.overlap
        whole[:, list(carry["undecided"]), r:] = further
        return {
            "deltas": Deltas(
                deltas.ids, deltas.variants, deltas.clean, whole, deltas.extra_clean, deltas.extra
            )
        }


@dataclass(frozen=True)
class Pairs(Exchange):
    """The parts of largest effect exchanged two at a time, from the same donor."""

    name = "pairs"
    cost = "pairs x repeats forwards per image that is drawn"

    def forwards(self, context: Context) -> float:
        count = min(self.study.images, len(context.manifest.samples))
        return count * self.study.repeats * self.study.pairs * (self.study.pairs - 1) / 4

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        return drawn(self.study, context) if chosen_pairs(self.study, context, carry) else []

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        import torch

        pool = drawn(self.study, context)
        pairs = chosen_pairs(self.study, context, carry)
        truth = known_labels(batch, len(context.model.classes), self.study.min_share)
        clean_of = dict(zip(carry["deltas"].ids, carry["deltas"].clean, strict=True))
        clean = np.stack([clean_of[name] for name in batch.ids])
        found = np.zeros((len(batch), len(pairs), self.study.repeats, clean.shape[1]))
        for repeat in range(self.study.repeats):
            donors = self.library(context).images(pool, batch.ids, repeat, batch.images)
            for row, (one, other) in enumerate(pairs):
                changed = swapped(swapped(batch.images, donors, one), donors, other)
                with torch.no_grad():
                    logits = context.model(changed)
                found[:, row, repeat] = overlap_loss(logits, truth) - clean
        return self._state(batch, {"overlap": found})

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get(self.name, SampleTable.empty())
        assert isinstance(table, SampleTable)
        pairs = chosen_pairs(self.study, context, carry)
        return {"pairs": (pairs, table.column("overlap") if table.ids else None)}


def run(
    context: Context,
    feature: Feature,
    images: Tensor,
    tail: Tail | None,
    given: Tensor | None,
) -> Tensor:
    """Logits of changed images, or of images whose units are the donors'."""
    import torch

    with torch.no_grad():
        if feature.kind != "units":
            logits: Tensor = context.model(images)
            return logits
        assert tail is not None and given is not None
        activation = tail.activation.clone()
        members = list(feature.members)
        activation[:, members] = given[:, members]
        return tail.resume(activation)


def encoded(context: Context, donors: Tensor) -> Tensor:
    from conceptseg.network.record import encode

    return encode(context.model, donors, context.layer)


def known_labels(batch: Batch, k: int, min_share: float) -> Tensor:
    """Labels in which a class of too small a share of its image is ignored."""
    import torch

    assert batch.labels is not None
    labels = batch.labels
    known = (labels >= 0) & (labels < k)
    safe = labels.clamp(0, k - 1)
    pixels = torch.stack([(known & (safe == c)).flatten(1).sum(1) for c in range(k)], 1)
    tiny = pixels <= min_share * pixels.sum(1, keepdim=True)
    dropped = tiny.gather(1, safe.flatten(1)).reshape(labels.shape)
    return torch.where(known & ~dropped, labels, torch.full_like(labels, -1))


def chosen_pairs(
    study: Permutation, context: Context, carry: Carry
) -> list[tuple[Feature, Feature]]:
    """All pairs that share nothing among the swapped parts of largest mean effect."""
    from conceptseg.study.permutation.assess import means

    deltas: Deltas = carry["deltas"]
    overall = means(deltas, study.class_ids(context))
    ranked = sorted(
        (
            (-float(np.nanmean(overall[:, place])), place)
            for place, variant in enumerate(deltas.variants)
            if variant.scheme == "swap" and variant.feature.kind != "units"
        ),
    )
    parts = [deltas.variants[place].feature for _, place in ranked]
    found = [(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :] if apart(a, b)]
    most = study.pairs * (study.pairs - 1) // 2
    return found[:most]


def guessed_variants(study: Permutation) -> int:
    """About how many variants there are, for images of three channels."""
    counts = {"channels": 5, "colour": 2, "frequency": 2 + study.octaves, "units": 0}
    counts["units"] = study.unit_groups
    own = sum(counts[name] for name in study.features)
    extra = 5 * (len(study.schemes) - 1) if "channels" in study.features else 0
    return own + extra
