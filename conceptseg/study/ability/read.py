"""Second sweep: each layer read as a map of classes, and how well that map fits the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ability.gather import PREPARED, READINGS, Reading, labelled, recorded
from conceptseg.study.ability.layers import POSITION
from conceptseg.study.shared.overlap import class_iou, without_small

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.ability.config import Ability

VARIANTS = ("global", "per_image", "probe", "noise", "shuffled", "shuffled_probe")
"""Ways to read a layer, in the order of the tables."""


ANSWERING = ("global", "shuffled")
"""Readings of which it is also kept where they see a class that is not there."""


@dataclass(frozen=True)
class Abilities:
    """Dice of every reading, in the order of the ids.

    `dice` [n, v, l, k]: variant, layer (the last is position alone), class; nan where the image
    lacks the class or the reading was not made. `output` [n, k] the network's own Dice;
    `agreement` [n, l] mean Dice of the global reading with the network's own prediction;
    `confidence` [n] its mean largest probability; `areas` [n, 2, l, k] the share of an image's
    labelled pixels that a reading of `ANSWERING` gives to each class, nan where it was not made;
    `output_areas` and `true_areas` [n, k] the same of the output and of the labels; `units` the
    counts [m, u, k, 3] of single units by layer, on the images `unit_rows` [m].
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


ABILITIES = Key("abilities", Abilities)
READ = Key("read", SampleTable)


def dice_of(abilities: Abilities, variant: str, layer: str, class_id: int) -> np.ndarray:
    """Dice [n] of one reading of one class."""
    place = abilities.layers.index(layer)
    return np.asarray(abilities.dice[:, VARIANTS.index(variant), place, class_id])


def area_of(abilities: Abilities, variant: str, layer: str, class_id: int) -> np.ndarray:
    """Share [n] of each image that a reading of `ANSWERING` gives to a class."""
    place = abilities.layers.index(layer)
    return np.asarray(abilities.areas[:, ANSWERING.index(variant), place, class_id])


@dataclass(frozen=True)
class Read(Pass):
    """One forward per image and one of the shuffled network, on the same images."""

    study: Ability

    name = "read"
    cost = "1 forward per image, 1 more of the shuffled network unless control_images is 0"
    labels = "required"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return labelled(context)

    def forwards(self, context: Context) -> float:
        return float(len(context.manifest.samples) * (2 if self.study.control_images else 1))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        import torch

        ready, readings = known[PREPARED], known[READINGS]
        assert batch.labels is not None
        names = (*ready.layers, POSITION)
        logits, features = recorded(context.model, batch.images, ready.layers)
        p = logits.float().softmax(1)
        prediction = logits.argmax(1)
        n, k = logits.shape[:2]
        other = torch.tensor([1 - ready.half[name] for name in batch.ids])
        found = np.full((n, len(VARIANTS), len(names), k), np.nan)
        areas = np.full((n, len(ANSWERING), len(names), k), np.nan)
        agreement = np.full((n, len(names)), np.nan)
        truth = without_small(batch.labels, k, self.study.min_share)
        for place, name in enumerate(names):
            maps = self._maps(features[name], readings[("trained", name)], other, p)
            for variant, labels in maps.items():
                found[:, VARIANTS.index(variant), place] = scored(labels, truth, k)
            areas[:, 0, place] = area(maps["global"], truth, k)
            agreement[:, place] = _mean(scored(maps["global"], prediction, k))
        self._shuffled(batch, known, p, truth, found, areas)
        self._noise(context, batch, known, p, truth, features, found)
        output = scored(prediction, truth, k)
        shares = area(prediction, truth, k), area(truth, truth, k)
        sure = p.amax(1).mean((1, 2)).double().cpu().numpy()
        units = self._units(context, batch, known, features)
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            one = {
                "dice": found[i : i + 1],
                "output": output[i : i + 1],
                "agreement": agreement[i : i + 1],
                "confidence": sure[i : i + 1],
                "areas": areas[i : i + 1],
                "output_areas": shares[0][i : i + 1],
                "true_areas": shares[1][i : i + 1],
                **{key: value[i] for key, value in units.items()},
            }
            table = table.merge(SampleTable.of(sample_id, one))
        return READ(table)

    def _maps(self, x: Tensor, reading: Reading, other: Tensor, p: Tensor) -> dict[str, Tensor]:
        """The label maps [n, h, w] of one layer, by all readings of the network's own features."""
        from conceptseg.study.ability.linear import means, nearest, weighted_sums

        size = (p.shape[2], p.shape[3])
        maps = self._crossed(x, reading, other, size)
        return {**maps, "per_image": nearest(x, means(*weighted_sums(x, p)), None, size)}

    def _crossed(
        self, x: Tensor, reading: Reading, other: Tensor, size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """The label maps [n, h, w] of one layer, each image read by what the other half taught."""
        from conceptseg.study.ability.linear import assigned, nearest

        mu, scale = _of(reading.prototypes, other, x), _of(reading.scale, other, x)
        maps = {"global": nearest(x, mu, scale, size)}
        if reading.direction is not None and reading.offset is not None:
            direction, offset = _of(reading.direction, other, x), _of(reading.offset, other, x)
            maps["probe"] = assigned(x, direction, offset, size)
        return maps

    def _shuffled(
        self,
        batch: Batch,
        known: Known,
        p: Tensor,
        truth: Tensor,
        found: np.ndarray,
        areas: np.ndarray,
    ) -> None:
        """Fills in the readings of the shuffled network, by what it learnt on as many images."""
        import torch

        ready = known[PREPARED]
        if ready.shuffled is None:
            return
        _, features = recorded(ready.shuffled, batch.images, ready.layers)
        other = torch.tensor([1 - ready.half[name] for name in batch.ids])
        for place, name in enumerate(ready.layers):
            reading = known[READINGS]["shuffled", name]
            maps = self._crossed(features[name], reading, other, (p.shape[2], p.shape[3]))
            areas[:, 1, place] = area(maps["global"], truth, p.shape[1])
            for variant, own in (("global", "shuffled"), ("probe", "shuffled_probe")):
                if variant in maps:
                    dice = scored(maps[variant], truth, p.shape[1])
                    found[:, VARIANTS.index(own), place] = dice

    def _noise(
        self,
        context: Context,
        batch: Batch,
        known: Known,
        p: Tensor,
        truth: Tensor,
        features: Mapping[str, Tensor],
        found: np.ndarray,
    ) -> None:
        """Fills in the readings of noise, on the control's images."""
        from conceptseg.study.ability.linear import means, nearest, weighted_sums

        ready = known[PREPARED]
        rows = [i for i, name in enumerate(batch.ids) if name in ready.control]
        if not rows:
            return
        ids = [batch.ids[i] for i in rows]
        for place, name in enumerate((*ready.layers, POSITION)):
            x = noise(features[name][rows], ids, place, context.seed)
            mu = means(*weighted_sums(x, p[rows]))
            labels = nearest(x, mu, None, (p.shape[2], p.shape[3]))
            dice = scored(labels, truth[rows], p.shape[1])
            found[rows, VARIANTS.index("noise"), place] = dice

    def _units(
        self, context: Context, batch: Batch, known: Known, features: Mapping[str, Tensor]
    ) -> dict[str, list[np.ndarray]]:
        """Counts of single units [1, u, k, 3] by layer, of no row for images that are not drawn."""
        from conceptseg.study.ability.units import unit_counts

        ready = known[PREPARED]
        drawn = unit_ids(self.study, context)
        found: dict[str, list[np.ndarray]] = {}
        assert batch.labels is not None
        for place, name in enumerate(ready.layers):
            reading = known[READINGS]["trained", name]
            k, u = reading.prototypes.shape[1:]
            for i, sample_id in enumerate(batch.ids):
                one = np.zeros((0, u, k, 3), dtype=np.float32)
                if sample_id in drawn:
                    half = 1 - ready.half[sample_id]
                    one = unit_counts(
                        features[name][i],
                        batch.labels[i],
                        reading.prototypes[half],
                        reading.background[half],
                        self.study.unit_px,
                    )[None]
                found.setdefault(f"units-{place}", []).append(one)
        return found

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state[READ]
        ready = known[PREPARED]
        drawn = unit_ids(self.study, context)
        abilities = Abilities(
            tuple(table.ids),
            (*ready.layers, POSITION),
            table.column("dice"),
            table.column("output"),
            table.column("agreement"),
            table.column("confidence"),
            table.column("areas"),
            table.column("output_areas"),
            table.column("true_areas"),
            {name: table.column(f"units-{p}") for p, name in enumerate(ready.layers)},
            np.flatnonzero([name in drawn for name in table.ids]),
        )
        return ABILITIES(abilities)


def unit_ids(study: Ability, context: Context) -> frozenset[str]:
    """Images on which single units are read: the first labelled ones by hash."""
    ids = [sample.id for sample in labelled(context)]
    ranked = sorted(ids, key=lambda one: (sample_priority(study.seed, one), one))
    return frozenset(ranked[: study.unit_images])


def scored(labels: Tensor, truth: Tensor, k: int) -> np.ndarray:
    """Dice of each class in each image, float64 [n, k]; nan for a class that the truth lacks."""
    from conceptseg.study.ability.linear import dice

    found: np.ndarray = dice(class_iou(labels, truth, k).double()).cpu().numpy()
    return found


def area(labels: Tensor, truth: Tensor, k: int) -> np.ndarray:
    """Share of an image's labelled pixels that a map gives to each class.

    Maps and truth [n, h, w] -> float64 [n, k]; pixels where the truth is negative count nowhere.
    """
    import torch

    known = (truth >= 0).flatten(1).double()
    pixels = torch.zeros((len(labels), k), dtype=torch.float64, device=labels.device)
    pixels.scatter_add_(1, labels.clamp(0).flatten(1), known)
    found: np.ndarray = (pixels / known.sum(1, keepdim=True).clamp(1)).cpu().numpy()
    return found


def noise(x: Tensor, ids: Sequence[str], place: int, seed: int) -> Tensor:
    """Standard normal features of the shape of x, that depend on sample, layer and seed alone."""
    import torch

    drawn = [
        np.random.default_rng([sample_priority(seed, one), place]).standard_normal(
            x.shape[1:], dtype=np.float32
        )
        for one in ids
    ]
    return torch.from_numpy(np.stack(drawn)).to(x.device)


def _of(values: np.ndarray, rows: Tensor, like: Tensor) -> Tensor:
    """Each image's own of values [2, ...], as a float32 tensor on the features' device."""
    return _tensor(values, like)[rows.to(like.device)]


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    import torch

    return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(like.device)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of each row without its nans; nan where all are."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(1)
    return np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)
