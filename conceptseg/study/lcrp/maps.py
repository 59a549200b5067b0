"""Second sweep of L-CRP: conditional maps of chosen channels, and how much of them is context."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.lrp.parts import channel
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.network.label_map import label_map
from conceptseg.report.thumbnails import outline, overlay, shared_limit
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, Chosen
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.engines import (
    ENGINES,
    Engines,
    context_score,
    enlarged,
    object_mask,
    regions,
    start_of,
)
from conceptseg.study.shared.sweep import One, Sweep
from conceptseg.study.shared.user_masks import MASKS, shown

BLUR = 0.01
ACTIVE = -1
_NUMBERS = ("context", "latent", "by_activation", "mass", "tile", "chance")


@dataclass(frozen=True)
class ContextScores:
    """Conditional maps in numbers: a row per image, class and channel.

    `columns`: `sample`, `class`, `unit`, `context` (C), `latent` and `by_activation` (the same
    score of the channel's relevance and activation at the layer, enlarged), `mass` (sum H+), `tile`
    (part of the mass outside of the object that lies on the known context), `chance` (the same of
    the area). `labels` [rows, k]: mass by label; nan without labels. `field[sample, class]`:
    context score of the receptive field. `pictures[sample, class, unit]`: encoded maps, and of the
    class `ACTIVE` the activation; `outlines[sample, class]`: the class's region in these. `on`,
    `active_on` [rows, q]: share of the map's positive mass on each of the user's masks, and of the
    channel's activation; `whole[sample, class]` [3, q]: that of the whole decision's map, of an
    even spread over the receptive field, and of the area. nan where the image has none of the mask.
    """

    columns: dict[str, np.ndarray]
    labels: np.ndarray
    field: dict[tuple[str, int], float]
    pictures: dict[tuple[str, int, int], bytes]
    outlines: dict[tuple[str, int], str]
    on: np.ndarray
    active_on: np.ndarray
    whole: dict[tuple[str, int], np.ndarray]

    @classmethod
    def of(cls, table: SampleTable) -> "ContextScores":
        names = ("sample", "class", "unit", *_NUMBERS)
        if not table.ids:
            none = np.zeros((0, 0))
            return cls({name: np.zeros(0) for name in names}, none, {}, {}, {}, none, none, {})
        columns = {name: table.column(name) for name in names[1:]}
        columns["sample"] = np.array(table.ids)[table.owner("class")]
        field, pictures, outlines, whole = {}, {}, {}, {}
        for sample_id, one in table.tables.items():
            for class_id, value in zip(one["field_class"].tolist(), one["field"], strict=True):
                field[sample_id, class_id] = float(value)
            for class_id, shares in zip(one["field_class"].tolist(), one["whole"], strict=True):
                whole[sample_id, class_id] = shares
            end = 0
            for class_id, k, size in one["drawn"].tolist():
                pictures[sample_id, class_id, k] = one["data"][end : end + size].tobytes()
                end += size
            for class_id, path in zip(one["outlined"].tolist(), one["outline"], strict=True):
                outlines[sample_id, class_id] = str(path)
        labels, on, active = (table.column(name) for name in ("labels", "on", "active_on"))
        return cls(columns, labels, field, pictures, outlines, on, active, whole)

    def rows(self, class_id: int, unit: int, samples: Sequence[str]) -> np.ndarray:
        """Rows of a class and channel whose maps have a positive part, in the samples' order."""
        mine = (self.columns["class"] == class_id) & (self.columns["unit"] == unit)
        mine &= self.columns["mass"] > 0
        at = {self.columns["sample"][row]: int(row) for row in np.flatnonzero(mine)}
        return np.array([at[s] for s in samples if s in at], dtype=np.int64)

    def fields(self, class_id: int, samples: Sequence[str]) -> np.ndarray:
        """The receptive field's context scores in images [n], nan where not known."""
        known = [self.field.get((s, class_id), np.nan) for s in samples]
        return np.array(known, np.float64)


MAPS = Key("maps", ContextScores)


@dataclass(frozen=True)
class Maps(Sweep):
    """Of each chosen image one pass, and a backward for each of its classes and channels."""

    study: Lcrp

    name = "maps"
    cost = "1 forward + about 1 backward per class and channel, per reference image"
    labels = "optional"
    rows = Key("map rows", SampleTable)

    def wanted(self, known: Known) -> Collection[str]:
        chosen = known[CHOSEN_PAIRS]
        return {*chosen.jobs(self.study), *shown_active(self.study, chosen)}

    def forwards(self, context: Context) -> float:
        study, n = self.study, len(context.manifest.samples)
        images = min(n, study.references + study.random_images)
        classes = len(study.class_ids(context))
        return classes * (4.0 * min(n, study.random_images) + 1.2 * study.concepts * images)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        study, layer, chosen = self.study, context.layer, known[CHOSEN_PAIRS]
        classes = len(context.model.classes)
        run = known[ENGINES].of().run(one.image, [layer])
        where = regions(label_map(run.logits)[0], chosen.classes)
        tile = context.manifest.context(context.manifest.sample(one.id))
        jobs = chosen.jobs(study).get(one.id, [])
        rows: list[dict[str, Any]] = []
        drawn: dict[tuple[int, int], bytes] = {}
        outlines: dict[int, str] = {}
        masks: dict[int, Tensor] = {}
        whole: dict[int, Tensor] = {}
        concepts = torch.from_numpy(shown(known[MASKS], one.id, one.size)).to(one.image.device)
        for class_id in sorted({c for c, _ in jobs} & set(where)):
            mask = object_mask(one.labels, class_id, where[class_id])
            units = [k for c, k in jobs if c == class_id]
            start = start_of(study, run, where[class_id], class_id)
            (relevance,) = run.at_layers(start, [layer])
            held = (relevance[0, units], run.activations[layer][0, units])
            large = [enlarged(each, one.size) for each in held]
            latent, by_activation = (context_score(each, mask).tolist() for each in large)
            made = run.each(layer, (channel(relevance, k) for k in units), study.at_once)
            for n, (k, small) in enumerate(zip(units, made, strict=True)):
                found = enlarged(small, one.size)
                row = _scores(found, mask, tile, one.labels, classes)
                row |= {"class": class_id, "unit": k, "latent": latent[n]}
                row |= {"by_activation": by_activation[n], "on": on_masks(found[0], concepts)}
                row |= {"active_on": on_masks(large[1][n], concepts)}
                if one.id in [s for s, _ in chosen.relevant[class_id, k][: study.exemplars]]:
                    drawn[class_id, k] = _drawn(one.image, found[0], study.picture_px)
                    outlines.setdefault(class_id, outline(mask.cpu().numpy()))
                rows.append(row)
            if one.id in chosen.drawn(class_id, study.random_images):
                masks[class_id] = mask
                if len(concepts):
                    whole[class_id] = enlarged(run.at_input(start), one.size)[0]
        even = _even(known[ENGINES], layer, one, where, masks)
        for k in shown_active(study, chosen).get(one.id, []):
            active = enlarged(run.activations[layer][0, k : k + 1], one.size)[0]
            drawn[ACTIVE, k] = _drawn(one.image, active, study.picture_px)
        sizes = [(*pair, len(data)) for pair, data in drawn.items()]
        return {
            **_columns(rows, classes, len(concepts)),
            "field_class": np.array(list(even), np.int64),
            "field": np.array(
                [float(context_score(even[c], masks[c])[0]) for c in even], np.float64
            ),
            "whole": np.array(
                [shares_on(whole.get(c), even[c][0], concepts) for c in even], np.float64
            ).reshape(len(even), 3, len(concepts)),
            "drawn": np.array(sizes, np.int64).reshape(-1, 3),
            "outlined": np.array(list(outlines), np.int64),
            "outline": np.array(list(outlines.values()), np.str_),
            "data": np.frombuffer(b"".join(drawn.values()), np.uint8).copy(),
        }

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return MAPS(ContextScores.of(table))


def _even(
    engines: Engines,
    layer: str,
    one: One,
    where: Mapping[int, Tensor],
    masks: Mapping[int, Tensor],
) -> dict[int, Tensor]:
    """By class, the map [1, h, w] of relevance that spreads evenly over the receptive field.

    From the region's pixels to the layer and from the layer to the image every operation
    shares evenly among all that it reads, whatever it reads.
    """
    if not masks:
        return {}
    maps = {}
    run = engines.of("flat").run(one.image, [layer])
    for class_id in masks:
        start = relevance_of_logits(run.logits, where[class_id], class_id, "one")
        (relevance,) = run.at_layers(start, [layer])
        (even,) = run.conditional(layer, relevance[None])
        maps[class_id] = enlarged(even, one.size)
    return maps


def _scores(
    found: Tensor, mask: Tensor, tile: np.ndarray | None, labels: Tensor | None, classes: int
) -> dict[str, Any]:
    """Context score of a map [1, h, w], its mass, where it lies by label, and on a known tile."""
    positive = found[0].clamp(min=0).double()
    outside = positive * ~mask
    row: dict[str, Any] = {
        "context": float(context_score(found, mask)[0]),
        "mass": float(positive.sum()),
        "tile": float("nan"),
        "chance": float("nan"),
    }
    if tile is not None:
        known = torch.from_numpy(np.asarray(tile)).to(mask.device) & ~mask
        total = float(outside.sum())
        row["tile"] = float((outside * known).sum()) / total if total > 0 else float("nan")
        row["chance"] = float(known.sum()) / max(1, int((~mask).sum()))
    row["labels"] = np.full(classes, np.nan)
    if labels is not None and bool((labels >= 0).any()):
        counted = torch.bincount(
            labels[labels >= 0].flatten(), positive[labels >= 0].flatten(), minlength=classes
        )
        row["labels"] = counted.cpu().numpy()
    return row


def _columns(rows: list[dict[str, Any]], classes: int, concepts: int) -> dict[str, np.ndarray]:
    return {
        **{name: np.array([row[name] for row in rows], np.float64) for name in _NUMBERS},
        **{name: np.array([row[name] for row in rows], np.int64) for name in ("class", "unit")},
        "labels": np.array([row["labels"] for row in rows]).reshape(len(rows), classes),
        **{
            name: np.array([row[name] for row in rows], np.float64).reshape(len(rows), concepts)
            for name in ("on", "active_on")
        },
    }


def on_masks(found: Tensor, masks: Tensor) -> np.ndarray:
    """The share of a map's positive mass [h, w] on each mask, bool [q, h, w]: [q].

    nan where a mask is empty or nothing is positive.
    """
    positive = found.clamp(min=0).double()
    total = positive.sum()
    held = (masks.flatten(1).any(1) & (total > 0)).cpu()
    shares = ((positive * masks).sum((1, 2)) / total.clamp(min=1e-300)).cpu()
    return torch.where(held, shares, torch.nan).numpy()


def shares_on(whole: Tensor | None, even: Tensor, masks: Tensor) -> np.ndarray:
    """Of each mask the share of a decision's map [h, w], of an even spread, and of the area."""
    if whole is None:
        return np.full((3, len(masks)), np.nan)
    maps = (whole, even, torch.ones_like(even))
    return np.stack([on_masks(one, masks) for one in maps])


def _drawn(image: Tensor, found: Tensor, side: int) -> bytes:
    """A map's positive and negative part in colour, on its own scale, over the image in grey.

    Blurred by 1 % of the longer side: relevance of single pixels is too fine for the eye.
    """
    values = gaussian_filter(found.float().cpu().numpy(), BLUR * max(found.shape))
    limit = shared_limit([values], 0.998)
    return overlay(image[0].float().cpu().numpy(), values, -limit, limit, side=side)


def shown_active(study: Lcrp, chosen: Chosen) -> dict[str, list[int]]:
    """By image, the channels for which it is shown as one of the most active."""
    wanted: dict[str, list[int]] = {}
    for unit, best in sorted(chosen.active.items()):
        for sample_id, _ in best[: study.exemplars]:
            wanted.setdefault(sample_id, []).append(unit)
    return wanted
