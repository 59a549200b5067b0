"""First, a few images: bins of each unit's values, dead units, textures, what will be counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.errors import InputError
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Recorder
from conceptseg.stats.estimate import Sampling
from conceptseg.stats.family import fewest
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.dissect.bins import Bins, resized
from conceptseg.study.dissect.chosen_sources import UNLEARNT, sources
from conceptseg.study.dissect.config import Dissect
from conceptseg.study.dissect.sources import ConceptSource, View, on_centres
from conceptseg.study.dissect.textures import Codebook, descriptors
from conceptseg.study.dissect.vocabulary import Vocabulary

VALUES_PER_IMAGE = 512
PLACES_PER_IMAGE = 256

TESTS = 1
"""That a use needs, of those that are corrected: of the loss over images."""


@dataclass(frozen=True)
class Plan:
    """What the sweep counts.

    `live` [v] are the units of the layer (of `units` in all) that are not constant; bins, and all
    arrays of units later, are of these. `two_sided` [v]: whether a unit's low values may be its
    answer too. `mean` [units] over the pilot's images; `lowest` the least value seen. `half` says
    of each sample whether it helps to choose (0) or to score (1) a unit's concept, `sampling` what
    it counts as in intervals and tests. `names` are what units of the layer are called: their
    numbers, or of several layers "layer:unit". `codebook` are the textures that were learnt;
    `seen_alone` says of each category whether it is told by the image alone, `predicts` whether one
    needs the network's prediction.
    """

    live: np.ndarray
    units: int
    bins: Bins
    two_sided: np.ndarray
    mean: np.ndarray
    lowest: float
    codebook: Codebook
    vocabulary: Vocabulary
    seen_alone: np.ndarray
    predicts: bool
    half: Mapping[str, int]
    sampling: Sampling
    names: tuple[int | str, ...]

    @property
    def alive(self) -> list[int | str]:
        """The names of the live units, [v]."""
        return [self.names[unit] for unit in self.live.tolist()]

    @property
    def dead(self) -> list[int | str]:
        """The names of the others."""
        return [self.names[unit] for unit in sorted({*range(self.units)} - set(self.live.tolist()))]


PILOT, PLAN = Key("pilot", SampleTable), Key("plan", Plan)
SOURCES: Key[tuple[ConceptSource, ...]] = Key("sources", tuple)


@dataclass(frozen=True)
class Pilot(Pass):
    """One encoder pass for each of a few images, drawn by hash."""

    study: Dissect

    name = "pilot"
    cost = "1 encoder pass for each of a few images"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return context.manifest.select(limit=self.study.pilot_images, seed=context.seed).samples

    def forwards(self, context: Context) -> float:
        return float(min(self.study.pilot_images, len(context.manifest.samples)))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        levels = context.levels
        with torch.no_grad(), Recorder(context.model, levels.names, stop=True) as recorder:
            recorder(batch.images)
        activation = levels.joined(recorder.activations).float()
        channels = np.array([recorder.activations[name].shape[1] for name in levels.names])
        context.model.check_finite(activation, batch.ids, context.layer)
        maps = resized(activation, count_grid(activation, batch.images, self.study.label_px))
        texture = descriptors(batch.images) if "textures" in self.study.concepts else None
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            rng = np.random.default_rng(sample_priority(context.seed, f"pilot/{sample_id}") % 2**63)
            one = {"values": _sampled(maps[i], VALUES_PER_IMAGE, rng), "channels": channels}
            if texture is not None:
                one["texture"] = _sampled(texture[i], PLACES_PER_IMAGE, rng).T
            table = table.merge(SampleTable.of(sample_id, one))
        return PILOT(table)


def observe(context: Context, batch: Batch, known: Known, label_px: int) -> tuple[Tensor, Tensor]:
    """Maps of live units [n, v, y, x], and slots int64 [g, n, *grid] on the grid of counting.

    The whole network is run only where a concept needs its prediction.
    """
    prediction, levels, plan = None, context.levels, known[PLAN]
    stop = not plan.predicts
    with torch.no_grad(), Recorder(context.model, levels.names, stop=stop) as recorder:
        logits = recorder(batch.images)
        if logits is not None:
            prediction = label_map(logits)
        activation = levels.joined(recorder.activations)
        context.model.check_finite(activation, batch.ids, context.layer)
        view = View(batch.ids, batch.images, batch.labels, prediction)
        grid = count_grid(activation, batch.images, label_px)
        slots = torch.stack([on_centres(source.map(view), grid) for source in known[SOURCES]])
        return activation[:, torch.from_numpy(plan.live).to(activation.device)], slots


def make_plan(study: Dissect, context: Context, known: Known) -> Known:
    """Raises InputError where every unit is constant, and where counts would take too much."""
    table = known[PILOT]
    values = np.concatenate([table.tables[i]["values"] for i in table.ids], axis=1)
    live = np.flatnonzero(values.max(1) - values.min(1) > 1e-6 * np.abs(values).max(1))
    if not len(live):
        raise InputError(
            f"layer {context.layer!r}: all {len(values)} units are constant on the pilot's images; "
            "choose another layer"
        )
    codebook = UNLEARNT
    if "textures" in study.concepts:
        codebook = Codebook.of(table.column("texture"), study.textures, context.seed)
    chosen = sources(study, context, codebook)
    alive, manifest = values[live], context.manifest
    ids = manifest.ids
    least = fewest("less", TESTS)
    sampling = Sampling.counting(
        ids, tuple(manifest.groups), study.unit, context.seed, fewest=least
    )
    plan = Plan(
        live,
        len(values),
        Bins.of(alive, study.bins),
        -alive.min(1) > 0.1 * alive.max(1),
        values.mean(1, dtype=np.float64),
        float(values.min()),
        codebook,
        Vocabulary(tuple(source.category for source in chosen)),
        np.array([source.seen_alone for source in chosen], dtype=bool),
        any(source.predicts for source in chosen),
        _halves(sampling, context.seed),
        sampling,
        context.levels.unit_names(table.tables[table.ids[0]]["channels"].tolist()),
    )
    slots = plan.vocabulary.slots
    what = f"counting {len(live)} units x {study.bins} bins x {slots} concepts"
    # Two halves, and while shards merge the sum and both of its parts.
    needed = 2 * 3 * 8 * len(live) * study.bins * slots
    _check(study, needed, what, "ask for fewer concepts or bins")
    return PLAN(plan)


def open_sources(study: Dissect, context: Context, known: Known) -> Known:
    """What the maps of the plan's concepts are drawn by."""
    return SOURCES(tuple(sources(study, context, known[PLAN].codebook)))


def count_grid(activation: Tensor, images: Tensor, longest: int) -> tuple[int, int]:
    """The grid that is counted on: four times the map's, within `longest` and the image."""
    y, x = activation.shape[-2:]
    h, w = images.shape[-2:]
    factor = max(1.0, min(4.0, longest / max(y, x)))
    return max(y, min(h, round(y * factor))), max(x, min(w, round(x * factor)))


def check_kept(study: Dissect, maps: Tensor, images: int, cure: str) -> None:
    """Raises InputError when maps like those of [n, v, y, x] of so many images take too much."""
    _check(study, 12 * images * maps[0].numel(), f"keeping the maps of {images} images", cure)


def _check(study: Dissect, size: int, what: str, cure: str) -> None:
    needed = size / 2**30
    if needed > study.memory_gib:
        raise InputError(
            f"memory_gib: {what} takes {needed:.1f} GiB, more than {study.memory_gib:g}; {cure}, "
            "or raise memory_gib"
        )


def _sampled(maps: Tensor, count: int, rng: np.random.Generator) -> np.ndarray:
    """Values of maps [u, y, x] at `count` places drawn with replacement, float32 [u, count]."""
    flat = maps.flatten(1)
    places = rng.integers(0, flat.shape[1], count)
    return np.ascontiguousarray(flat[:, places.tolist()].cpu().numpy(), dtype=np.float32)


def _halves(sampling: Sampling, seed: int) -> dict[str, int]:
    """The half of each sample; what tests count takes turns, in the order of a hash."""
    ranked = sorted(
        set(sampling.groups), key=lambda name: (sample_priority(seed, f"half/{name}"), name)
    )
    turn = {name: place % 2 for place, name in enumerate(ranked)}
    return {name: turn[group] for name, group in zip(sampling.ids, sampling.groups, strict=True)}
