"""First sweep: how channels and units go together, which parts there are, and the variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.errors import InputError
from conceptseg.stats.mergeable.sums import Sums
from conceptseg.study.permutation.features import (
    EVERYTHING,
    Channels,
    Feature,
    channel_features,
    colour_features,
    frequency_features,
    tree,
    unit_groups,
)

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.permutation.config import Permutation

TREE_MOST = 24
"""Channels up to which the groups that their clustering forms are exchanged as well."""


@dataclass(frozen=True)
class Variant:
    """One way to change an image: a part and a scheme; `once`: nothing about it is drawn."""

    feature: Feature
    scheme: str

    @property
    def once(self) -> bool:
        return self.scheme == "mean"


@dataclass(frozen=True)
class Plan:
    """The channels' statistics, the tree of like channels with heights, and all variants."""

    channels: Channels
    tree: tuple[tuple[str, float], ...]
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Survey(Pass):
    """The images' channels, and one encoder pass each for the layer's units."""

    study: Permutation

    name = "survey"
    cost = "1 encoder pass per image that is drawn, if units are permuted"
    labels = "none"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        return drawn(self.study, context)

    def forwards(self, context: Context) -> float:
        return float(min(self.study.images, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        from conceptseg.network.record import encode

        parts = [moments(batch.images.double().flatten(2).cpu().numpy(), "channels")]
        if "units" in self.study.features:
            activation = encode(context.model, batch.images, context.layer)
            parts.append(moments(activation.double().flatten(2).cpu().numpy(), "units"))
        total = Sums.empty()
        for part in parts:
            for one in part:
                total = total.merge(one)
        return {"sums": total}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        sums = state["sums"]
        assert isinstance(sums, Sums)
        known = statistics(sums, "channels")
        study = self.study
        count = len(known.mean)
        features: list[Feature] = []
        branches: list[tuple[str, float]] = []
        if "channels" in study.features:
            features += channel_features(count, study.channel_names, study.groups)
            names = [feature.name for feature in features]
            for members, height in tree(known.correlation()) if count <= TREE_MOST else ():
                name = " + ".join(names[c] for c in members)
                branches.append((name, height))
                if not any(f.kind == "channels" and f.members == members for f in features):
                    features.append(Feature(name, "channels", members))
        if "colour" in study.features:
            features += colour_features(count)
        if "frequency" in study.features:
            features += frequency_features(study.octaves)
        if "units" in study.features:
            groups = unit_groups(statistics(sums, "units").correlation(), study.unit_groups)
            for number, members in enumerate(groups, start=1):
                name = f"units {number} ({len(members)} of {context.layer})"
                features.append(Feature(name, "units", members))
        twice = {f.name for f in features if sum(g.name == f.name for g in features) > 1}
        if twice:
            raise InputError(
                f"groups: the name {sorted(twice)[0]!r} is given to two parts; choose another"
            )
        return {"plan": Plan(known, tuple(branches), tuple(variants(study, features, count)))}


def drawn(study: Permutation, context: Context) -> list[Sample]:
    """The labelled images that are permuted. Raises InputError for fewer than two."""
    given = [one for one in context.manifest.samples if context.manifest.labelled(one)]
    if len(given) < 2:
        raise InputError(
            f"{context.manifest.where}: {len(given)} of the {len(context.manifest.samples)} images "
            "have masks, and at least two are needed to exchange parts and judge what is lost; add "
            "masks"
        )
    ranked = sorted(given, key=lambda one: (sample_priority(context.seed, one.id), one.id))
    kept = {sample.id for sample in ranked[: study.images]}
    return [sample for sample in given if sample.id in kept]


def variants(study: Permutation, features: Sequence[Feature], channels: int) -> list[Variant]:
    """Every part by every scheme that it has; swap first.

    Conditional exchange needs channels that are left; units can be swapped or set to their mean.
    """
    found = []
    for scheme in ("swap", *[s for s in study.schemes if s != "swap"]):
        for feature in features:
            whole = feature.name == EVERYTHING or len(feature.members) == channels
            if scheme not in study.schemes:
                continue
            if scheme != "swap" and feature.kind != "channels":
                continue
            if scheme == "conditional" and whole:
                continue
            found.append(Variant(feature, scheme))
    return found


def moments(rows: np.ndarray, name: str) -> list[Sums]:
    """Sums of each image's values [n, d, p]: count, sums and products, float64."""
    return [
        Sums.of(
            {
                f"{name}/count": np.array(float(one.shape[1])),
                f"{name}/sum": one.sum(1),
                f"{name}/products": one @ one.T,
            }
        )
        for one in rows
    ]


def statistics(sums: Sums, name: str) -> Channels:
    count = float(sums.values[f"{name}/count"])
    mean = sums.values[f"{name}/sum"] / count
    return Channels(mean, sums.values[f"{name}/products"] / count - np.outer(mean, mean))
