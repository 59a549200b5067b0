"""First sweep: how channels and units go together, which parts there are, and the variants."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.network.record import encode
from conceptseg.stats.mergeable.sums import Sums
from conceptseg.study.permutation.config import EVERYTHING, Permutation
from conceptseg.study.permutation.donors import draw_samples
from conceptseg.study.permutation.features import (
    Channels,
    Feature,
    channel_features,
    frequency_features,
    tree,
    unit_groups,
)

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


PLAN = Key("plan", Plan)
SUMS = Key("sums", Sums)


@dataclass(frozen=True)
class Survey(Pass):
    """The images' channels, and one encoder pass each for the layer's units."""

    study: Permutation

    name = "survey"
    cost = "1 encoder pass per image that is drawn, if units are permuted"
    labels = "none"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return draw_samples(self.study, context)

    def forwards(self, context: Context) -> float:
        return float(min(self.study.images, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        total, maps = Sums.empty(), {"channels": batch.images}
        if "units" in self.study.features:
            maps["units"] = encode(context.model, batch.images, context.layer)
            context.model.check_finite(maps["units"], batch.ids)
        for name, values in maps.items():
            for rows in values.double().flatten(2).cpu().numpy():
                total = total.merge(moments(rows, name))
        return SUMS(total)


def list_variants(study: Permutation, context: Context, known: Known) -> Known:
    """All parts that the images and the layer have, and every way to exchange them.

    Raises InputError for a name that is given to two parts.
    """
    channels = statistics(known[SUMS], "channels")
    count = len(channels.mean)
    features = list(input_features(study, count))
    branches: list[tuple[str, float]] = []
    if "channels" in study.features:
        names = [feature.name for feature in features]
        for members, height in tree(channels.correlation()) if count <= TREE_MOST else ():
            name = " + ".join(names[c] for c in members)
            branches.append((name, height))
            if not any(f.kind == "channels" and f.members == members for f in features):
                features.append(Feature(name, "channels", members))
        features.sort(key=lambda feature: feature.kind != "channels")
    if "units" in study.features:
        groups = unit_groups(statistics(known[SUMS], "units").correlation(), study.unit_groups)
        for number, members in enumerate(groups, start=1):
            name = f"units {number} ({len(members)} of {context.layer})"
            features.append(Feature(name, "units", members))
    refuse_twice(features)
    return PLAN(Plan(channels, tuple(branches), tuple(variants(study, features, count))))


def input_features(study: Permutation, channels: int) -> list[Feature]:
    """The parts that are known before any image is seen: named channels, colour, scales.

    Raises InputError for names or groups that do not fit images of so many channels.
    """
    features: list[Feature] = []
    if "channels" in study.features:
        features += channel_features(channels, study.channel_names, study.groups)
    if "colour" in study.features and channels > 1:
        features += [Feature("luminance", "luminance"), Feature("chroma", "chroma")]
    if "frequency" in study.features:
        features += frequency_features(study.octaves)
    refuse_twice(features)
    return features


def refuse_twice(features: Sequence[Feature]) -> None:
    """Raise InputError if two parts have one name."""
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"groups: the name {twice[0]!r} is given to two parts; choose another")


def variants(study: Permutation, features: Sequence[Feature], channels: int) -> list[Variant]:
    """Every part by every scheme that it has; swap first.

    Conditional exchange needs channels that are left; units can only be swapped.
    """
    result = []
    for scheme in sorted(dict.fromkeys(study.schemes), key=lambda name: name != "swap"):
        for feature in features:
            whole = feature.name == EVERYTHING or len(feature.members) == channels
            if scheme != "swap" and feature.kind != "channels":
                continue
            if scheme == "conditional" and whole:
                continue
            result.append(Variant(feature, scheme))
    return result


def moments(rows: np.ndarray, name: str) -> Sums:
    """Sums of an image's values [d, p]: count, sums and products, float64."""
    count = np.array(float(rows.shape[1]))
    sums = {"count": count, "sum": rows.sum(1), "products": rows @ rows.T}
    return Sums({f"{name}/{key}": value for key, value in sums.items()})


def statistics(sums: Sums, name: str) -> Channels:
    count = float(sums.values[f"{name}/count"])
    mean = sums.values[f"{name}/sum"] / count
    return Channels(mean, sums.values[f"{name}/products"] / count - np.outer(mean, mean))
