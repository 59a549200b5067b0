"""The kinds of images that are asked about, and pictures of those of which something is told."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.report.panels import Palette
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.bottleneck.confidence import NAMES
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.findings import told
from conceptseg.study.bottleneck.judge import JUDGED, Judged
from conceptseg.study.bottleneck.measure import drawn_as
from conceptseg.study.bottleneck.search import Condition, search_slices
from conceptseg.study.bottleneck.slices import Slice, clusters, examples, judged_slices, pairs
from conceptseg.study.shared.attributes import columns
from conceptseg.study.shared.sweep import One, Sweep
from conceptseg.study.shared.user_masks import user_masks


@dataclass(frozen=True)
class Sliced:
    """Of the judged images the `cluster` [n] and, by column, the `values` [n]; what these and pairs
    of them make worse or better, and what a search found on one half and tested on the other."""

    cluster: np.ndarray
    values: dict[str, list[str]]
    slices: list[Slice]
    searched: list[Slice]


SLICED = Key("sliced", Sliced)
PICTURED_SLICES = Key("pictured slices", SampleTable)
SLICE_PICTURES: Key[dict[str, bytes]] = Key("slice pictures", dict)


def judge_slices(study: Bottleneck, context: Context, known: Known) -> Known:
    """Which kinds of images are segmented worse than others, as a step of the plan."""
    judged = known[JUDGED]
    cluster = clusters(judged.features["layer"].rows, study.slices, context.seed)
    values = columns(_metadata(study, context, judged))
    slices = _slices(study, judged, judged.largest, cluster, values)
    searched = _searched(study, judged, judged.largest, cluster, values)
    return SLICED(Sliced(cluster, values, slices, searched))


@dataclass(frozen=True)
class PictureSlices(Sweep):
    """Images of the slices that are told of, which the draw of pictures has passed over."""

    study: Bottleneck

    name = "slices pictured"
    cost = "1 forward per image of a slice that is told of and was not drawn"
    labels = "optional"
    rows = PICTURED_SLICES

    def forwards(self, context: Context) -> float:
        return 0.0  # none, unless images are many

    def wanted(self, known: Known) -> Collection[str]:
        judged, sliced = known[JUDGED], known[SLICED]
        names = {
            judged.ids[row]
            for one in told([*sliced.slices, *sliced.searched])
            for row in examples(one, judged.quality)
        }
        return names - set(judged.measured.pictures)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        with torch.no_grad():
            logits = context.model(one.image)[0]
        palette = Palette.of(context.manifest, context.model.classes)
        data = drawn_as(one.image[0], one.labels, logits, palette, self.study.picture_px)
        return {"picture": np.frombuffer(data, dtype=np.uint8)}

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return SLICE_PICTURES(
            {name: own["picture"].tobytes() for name, own in table.tables.items()}
        )


def _slices(
    study: Bottleneck,
    judged: Judged,
    confidence: np.ndarray,
    cluster: np.ndarray,
    values: dict[str, list[str]],
) -> list[Slice]:
    """Clusters of the layer, values of metadata, and pairs of these."""
    single = {
        f"{column} = {value}": np.array([one == value for one in each])
        for column, each in values.items()
        for value in sorted(set(each))
    }
    kinds = {("cluster", f"cluster {c + 1}"): cluster == c for c in np.unique(cluster)}
    for kind, own in (("metadata", single), ("pair", pairs(single, study.min_slice))):
        kinds |= {(kind, name): members for name, members in own.items()}
    sampling, options = judged.sampling, {"least": study.min_slice, "seed": study.seed}
    return judged_slices(kinds, judged.quality, confidence, sampling, **options)


def _searched(
    study: Bottleneck,
    judged: Judged,
    confidence: np.ndarray,
    cluster: np.ndarray,
    values: dict[str, list[str]],
) -> list[Slice]:
    return search_slices(
        conditions_of(judged, cluster, values),
        judged.quality,
        confidence,
        judged.sampling,
        length=study.conditions,
        least=study.min_slice,
        seed=study.seed,
    )


def conditions_of(
    judged: Judged, cluster: np.ndarray, values: Mapping[str, Sequence[str]]
) -> list[Condition]:
    """What images may have in common: a cluster of the layer, a value of the metadata, and how much
    of them is predicted as a studied class, and is border, in thirds."""
    numbers = judged.measured.confidence[judged.rows]
    shape = {
        said: numbers[:, NAMES.index(name)].astype(float).tolist()
        for said, name in (("predicted part", "foreground"), ("predicted border", "boundary"))
    }
    every = {**columns(shape), **values, "cluster": [str(c + 1) for c in cluster.tolist()]}
    return [
        Condition(f"{column} = {value}", column, np.array([one == value for one in each]))
        for column, each in every.items()
        for value in sorted(set(each))
    ]


def _metadata(study: Bottleneck, context: Context, judged: Judged) -> dict[str, list[str | float]]:
    """Of each image the values of metadata, its split, and whether it shows the user's concepts."""
    samples = [context.manifest.sample(name) for name in judged.ids]
    names = sorted({key for sample in samples for key in sample.metadata})
    values: dict[str, list[str | float]] = {
        name: [sample.metadata.get(name, "") for sample in samples] for name in names
    }
    if len({sample.split for sample in samples}) > 1:
        values["split"] = [sample.split or "" for sample in samples]
    for mask in user_masks(study.masks, context.manifest):
        values[f"concept {mask.name}"] = [mask.holds(name) for name in judged.ids]
    return values
