"""Second sweep: each layer read as a map of classes, and how well that map fits the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.listed import first_of
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ability.config import POSITION, Ability
from conceptseg.study.ability.gather import BLOCKS, PREPARED, READINGS, Reading, Sweep, recorded
from conceptseg.study.ability.linear import (
    assigned,
    dice,
    means,
    nearest,
    nearest_of_each,
    weighted_sums,
)
from conceptseg.study.ability.units import unit_counts
from conceptseg.study.shared.overlap import class_iou, class_mean, pixel_counts, without_small
from conceptseg.study.shared.studied import labelled

VARIANTS = ("global", "per_image", "probe", "noise", "shuffled", "shuffled_probe")
"""Ways to read a layer, in the order of the tables."""
CONTROLS = {"global": "shuffled", "probe": "shuffled_probe"}
"""The readings that have a control, and those of the shuffled network beside them."""
ANSWERING = ("global", "shuffled")
"""Readings of which it is also kept where they see a class that is not there."""


@dataclass(frozen=True)
class LeftOut:
    """Readings, on a grid of `unit_px`, by what all of the other half taught (first) and with each
    of its blocks left out: `dice` and `areas` [n, 2, 1 + b, l, k]; `half` and `block` [n] of the
    images themselves."""

    dice: np.ndarray
    areas: np.ndarray
    half: np.ndarray
    block: np.ndarray


@dataclass(frozen=True)
class Abilities:
    """Dice of every reading, in the order of the ids.

    `dice` [n, v, l, k]: variant, layer (the last is position alone), class; nan where the image
    lacks the class or the reading was not made. `output` [n, k] the network's own Dice;
    `agreement` [n, l] mean Dice of the global reading with the network's own prediction;
    `confidence` [n] its mean largest probability; `areas` [n, 2, l, k] the share of an image's
    labelled pixels that a reading of `ANSWERING` gives to each class, nan where it was not made;
    `output_areas` and `true_areas` [n, k] the same of the output and of the labels; `units` the
    counts [m, u, k, 3] of single units by layer, on the images `unit_rows` [m]; `left_out` what the
    readings of `ANSWERING` would be had a block of the other half not taught them, None where that
    was not asked.
    """

    ids: tuple[str, ...]
    layers: tuple[str, ...]
    dice: np.ndarray
    output: np.ndarray
    agreement: np.ndarray
    confidence: np.ndarray
    areas: np.ndarray
    output_areas: np.ndarray
    true_areas: np.ndarray
    units: Mapping[str, np.ndarray]
    unit_rows: np.ndarray
    left_out: LeftOut | None = None


ABILITIES = Key("abilities", Abilities)
READ, UNITS = Key("read", SampleTable), Key("units", SampleTable)
UNIT_IMAGES: Key[frozenset[str]] = Key("images of units", frozenset)


def dice_of(abilities: Abilities, variant: str, layer: str, class_id: int) -> np.ndarray:
    """Dice [n] of one reading of one class."""
    place = abilities.layers.index(layer)
    return np.asarray(abilities.dice[:, VARIANTS.index(variant), place, class_id])


def area_of(abilities: Abilities, variant: str, layer: str, class_id: int) -> np.ndarray:
    """Share [n] of each image that a reading of `ANSWERING` gives to a class."""
    place = abilities.layers.index(layer)
    return np.asarray(abilities.areas[:, ANSWERING.index(variant), place, class_id])


@dataclass(frozen=True)
class Read(Sweep):
    """Every reading of every layer; where there is a shuffled network, on the same images."""

    name = "read"

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        ready, readings = known[PREPARED], known[READINGS]
        assert batch.labels is not None
        logits, features = recorded(context.model, batch.images, ready.layers)
        shuffled: dict[str, Tensor] = {}
        if ready.shuffled is not None:
            _, shuffled = recorded(ready.shuffled, batch.images, ready.layers)
        p, prediction = logits.float().softmax(1), label_map(logits)
        n, k, *size = logits.shape
        truth = without_small(batch.labels, k, self.study.min_share)
        other = torch.tensor([1 - ready.half[name] for name in batch.ids])
        noisy = [i for i, name in enumerate(batch.ids) if name in ready.control]
        found = np.full((n, len(VARIANTS), len(features), k), np.nan)
        areas = np.full((n, len(ANSWERING), len(features), k), np.nan)
        agreement = np.full((n, len(features)), np.nan)
        partly = np.full((2, n, len(ANSWERING), 1 + BLOCKS, len(features), k), np.nan)
        small = _small(truth, self.study.unit_px)
        for place, (name, x) in enumerate(features.items()):
            maps = by_other_half(x, readings["trained", name], other, size)
            agreement[:, place] = class_mean(scored(maps["global"], prediction, k))
            maps["per_image"] = by_itself(x, p)
            if ("shuffled", name) in readings:
                control = by_other_half(shuffled[name], readings["shuffled", name], other, size)
                maps |= {CONTROLS[variant]: labels for variant, labels in control.items()}
                seen = left_out(shuffled[name], readings["shuffled", name], other, small, k)
                partly[:, :, 1, :, place] = seen
            partly[:, :, 0, :, place] = left_out(x, readings["trained", name], other, small, k)
            for variant, labels in maps.items():
                found[:, VARIANTS.index(variant), place] = scored(labels, truth, k)
                if variant in ANSWERING:
                    areas[:, ANSWERING.index(variant), place] = area(labels, truth, k)
            if noisy:
                drawn_x = noise(x[noisy], [batch.ids[i] for i in noisy], place, context.seed)
                labels = by_itself(drawn_x, p[noisy])
                found[noisy, VARIANTS.index("noise"), place] = scored(labels, truth[noisy], k)
        arrays = {
            "dice": found,
            "output": scored(prediction, truth, k),
            "agreement": agreement,
            "confidence": p.amax(1).mean((1, 2)).double().cpu().numpy(),
            "areas": areas,
            "output_areas": area(prediction, truth, k),
            "true_areas": area(truth, truth, k),
            "partly_dice": partly[0],
            "partly_areas": partly[1],
        }
        units = self._units(context, batch, known, features)
        return READ(SampleTable.batch(batch.ids, arrays)) | UNITS(units)

    def _units(
        self, context: Context, batch: Batch, known: Known, features: Mapping[str, Tensor]
    ) -> SampleTable:
        """Counts of single units [1, u, k, 3] by layer, of no row for images that are not drawn."""
        ready, drawn_ids = known[PREPARED], known[UNIT_IMAGES]
        assert batch.labels is not None
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            counts, half = {}, 1 - ready.half[sample_id]
            for name in ready.layers:
                reading = known[READINGS]["trained", name]
                ends = reading.prototypes[half], reading.background[half]
                counts[name] = np.zeros((0, *ends[0].T.shape, 3), np.float32)
                if sample_id in drawn_ids:
                    seen = features[name][i], batch.labels[i]
                    counts[name] = unit_counts(*seen, *ends, self.study.unit_px)[None]
            table = table.merge(SampleTable.of(sample_id, counts))
        return table

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table, layers = state[READ], known[PREPARED].layers
        ready = known[PREPARED]
        columns = {name: table.column(name) for name in table.tables[table.ids[0]]}
        dealt = (np.array([which[i] for i in table.ids]) for which in (ready.half, ready.block))
        partly = columns.pop("partly_dice"), columns.pop("partly_areas")
        abilities = Abilities(
            ids=tuple(table.ids),
            layers=(*layers, POSITION),
            units={name: state[UNITS].column(name) for name in layers},
            unit_rows=state[UNITS].owner(layers[0]),
            left_out=LeftOut(*partly, *dealt),
            **columns,
        )
        return ABILITIES(abilities)


def by_other_half(
    x: Tensor, reading: Reading, other: Tensor, size: Sequence[int]
) -> dict[str, Tensor]:
    """The label maps [n, h, w] of a layer, each image read by what its `other` half [n] taught."""

    def own(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(x.device)[other.to(x.device)]

    maps = {"global": nearest(x, own(reading.prototypes), own(reading.scale), size)}
    if reading.direction is not None and reading.offset is not None:
        maps["probe"] = assigned(x, own(reading.direction), own(reading.offset), size)
    return maps


def left_out(
    x: Tensor, reading: Reading, other: Tensor, truth: Tensor, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Dice and areas [n, 1 + b, k] on the grid of the truth [n, h, w], each image read by what its
    `other` half [n] taught, and by that without each block."""
    of_all = reading.prototypes[:, None], reading.scale[:, None]
    rows, scale = (
        torch.from_numpy(np.concatenate([whole, parts], 1)[other.numpy()].astype(np.float32))
        for whole, parts in zip(of_all, (reading.partly, reading.partly_scale), strict=True)
    )
    size = truth.shape[1:]
    labels = nearest_of_each(x, rows.to(x.device), scale.to(x.device), size).flatten(0, 1)
    many = truth.repeat_interleave(rows.shape[1], 0)
    shape = (len(x), rows.shape[1], k)
    return scored(labels, many, k).reshape(shape), area(labels, many, k).reshape(shape)


def _small(truth: Tensor, side: int) -> Tensor:
    """Labels [n, h, w] on a grid whose longer side is `side` px, by the nearest pixel."""
    height, width = truth.shape[1:]
    scale = min(1.0, side / max(height, width))
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    return F.interpolate(truth[:, None].float(), size, mode="nearest-exact")[:, 0].long()


def by_itself(x: Tensor, p: Tensor) -> Tensor:
    """The label maps [n, h, w] by prototypes that each image's own prediction makes."""
    return nearest(x, means(*weighted_sums(x, p)), None, p.shape[2:])


def draw_images(study: Ability, context: Context, known: Known) -> Known:
    """Images on which single units are read: the first labelled ones by hash."""
    some = first_of(labelled(context), study.seed, study.unit_images)
    return UNIT_IMAGES(frozenset(one.id for one in some))


def scored(labels: Tensor, truth: Tensor, k: int) -> np.ndarray:
    """Dice of each class in each image, float64 [n, k]; nan for a class that the truth lacks."""
    return np.asarray(dice(class_iou(labels, truth, k).double()).cpu())


def area(labels: Tensor, truth: Tensor, k: int) -> np.ndarray:
    """Share of an image's labelled pixels that a map gives to each class.

    Maps and truth [n, h, w] -> float64 [n, k]; pixels where the truth is negative count nowhere.
    """
    _, given, held = pixel_counts(labels, truth, k).double()
    return np.asarray(given / held.sum(1, keepdim=True).clamp(1))


def noise(x: Tensor, ids: Sequence[str], place: int, seed: int) -> Tensor:
    """Standard normal features of the shape of x, that depend on sample, layer and seed alone."""
    keys = [[sample_priority(seed, one), place] for one in ids]
    rows = [np.random.default_rng(key).standard_normal(x.shape[1:], np.float32) for key in keys]
    return torch.from_numpy(np.stack(rows)).to(x.device)
