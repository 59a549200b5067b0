"""Second sweep of L-CRP: conditional maps of chosen channels, and how much of them is context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from conceptseg.engine.contract import Carry, Context, State
from conceptseg.explain.lrp.parts import channel
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.report.thumbnails import overlay
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.engines import (
    Sweep,
    context_score,
    enlarged,
    object_mask,
    regions,
    start_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.lcrp.config import Lcrp


class Maps(Sweep):
    """Of each chosen image one pass, and a backward for each of its classes and channels."""

    name = "maps"
    cost = "1 forward + about 1 backward per class and channel, per reference image"
    labels = "optional"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        chosen: Chosen = carry["chosen"]
        wanted = {*chosen.jobs(self.study), *shown_active(self.study, chosen)}
        return self._only(context, wanted)

    def forwards(self, context: Context) -> float:
        study, n = self.study, len(context.manifest.samples)
        images = min(n, study.references + study.random_images)
        classes = len(study.class_ids(context))
        return classes * (4.0 * min(n, study.random_images) + 1.2 * study.concepts * images)

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        chosen: Chosen = carry["chosen"]
        jobs = chosen.jobs(self.study)
        shown = shown_active(self.study, chosen)
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            labels = None if batch.labels is None else batch.labels[i]
            one = self._image(context, image, labels, sample_id, jobs.get(sample_id, []), chosen)
            one |= self._active(context, image, one.pop("activation"), shown.get(sample_id, []))
            table = table.merge(SampleTable.of(sample_id, one))
        return {"maps": table}

    def _image(
        self,
        context: Context,
        image: Tensor,
        labels: Tensor | None,
        sample_id: str,
        jobs: list[tuple[int, int]],
        chosen: Chosen,
    ) -> dict[str, Any]:
        run = self._engines.of(context, image).run(image, [context.layer])
        size = (int(image.shape[2]), int(image.shape[3]))
        where = regions(run.logits.detach().argmax(1)[0], chosen.classes)
        tile = context.manifest.context(context.manifest.sample(sample_id))
        rows: list[dict[str, Any]] = []
        masks: dict[int, Tensor] = {}
        for class_id in sorted({c for c, _ in jobs}):
            if class_id not in where:
                continue
            mask = object_mask(labels, class_id, where[class_id])
            units = [k for c, k in jobs if c == class_id]
            (relevance,) = run.at_layers(
                start_of(self.study, run, where[class_id], class_id), [context.layer]
            )
            parts = (channel(relevance, k) for k in units)
            activation = run.activations[context.layer][0, units]
            latent = context_score(enlarged(relevance[0, units], size), mask).tolist()
            active = context_score(enlarged(activation, size), mask).tolist()
            made = run.each(context.layer, parts, self.study.at_once)
            for n, (k, found) in enumerate(zip(units, made, strict=True)):
                row = _scores(enlarged(found, size), mask, tile, labels, len(context.model.classes))
                row |= {"class": class_id, "unit": k}
                row["latent"], row["by_activation"] = latent[n], active[n]
                row["picture"] = self._picture(chosen, sample_id, image, mask, row.pop("map"), row)
                rows.append(row)
            if sample_id in chosen.drawn(class_id, self.study.random_images):
                masks[class_id] = mask
        fields = self._fields(context, image, where, masks)
        return {
            **_columns(rows, len(context.model.classes)),
            "field_class": np.array(list(fields), np.int64),
            "field": np.array(list(fields.values()), np.float64),
            "activation": run.activations[context.layer][0],
        }

    def _picture(
        self,
        chosen: Chosen,
        sample_id: str,
        image: Tensor,
        mask: Tensor,
        found: Tensor,
        row: Mapping[str, Any],
    ) -> bytes:
        """The conditional map over the image, if it is one of those that are shown."""
        best = [s for s, _ in chosen.relevant[row["class"], row["unit"]][: self.study.exemplars]]
        if sample_id not in best:
            return b""
        return _drawn(image, found, mask, self.study.picture_px)

    def _fields(
        self,
        context: Context,
        image: Tensor,
        where: Mapping[int, Tensor],
        masks: Mapping[int, Tensor],
    ) -> dict[int, float]:
        """By class, the context score of the receptive field: of relevance that spreads evenly.

        From the region's pixels to the layer and from the layer to the image every operation
        shares evenly among all that it reads, whatever it reads.
        """
        if not masks:
            return {}
        layer, found = context.layer, {}
        run = self._engines.of(context, image, "flat").run(image, [layer])
        size = (int(image.shape[2]), int(image.shape[3]))
        for class_id, mask in masks.items():
            start = relevance_of_logits(run.logits, where[class_id], class_id, "one")
            (relevance,) = run.at_layers(start, [layer])
            (one,) = run.conditional(layer, relevance[None])
            found[class_id] = float(context_score(enlarged(one, size), mask)[0])
        return found

    def _active(
        self, context: Context, image: Tensor, activation: Tensor, units: list[int]
    ) -> dict[str, Any]:
        """Pictures of where channels are active."""
        size = (int(image.shape[2]), int(image.shape[3]))
        drawn = [
            _drawn(image, enlarged(activation[k : k + 1], size)[0], None, self.study.picture_px)
            for k in units
        ]
        return {
            "active_unit": np.array(units, np.int64),
            "active_size": np.array([len(data) for data in drawn], np.int64),
            "active_data": np.frombuffer(b"".join(drawn), np.uint8).copy(),
        }

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get("maps", SampleTable.empty())
        assert isinstance(table, SampleTable)
        return {"maps": Found.of(table)}


@dataclass(frozen=True)
class Found:
    """Conditional maps in numbers: a row per image, class and channel.

    `sample`, `class_id`, `unit`, `context` (C), `latent` and `by_activation` (the same score of
    the channel's relevance and activation at the layer, enlarged), `mass` (sum H+), `tile` (part
    of the mass outside of the object that lies on the known context), `chance` (the same of the
    area), `labels` [rows, k] (mass by label; nan without labels). `field[sample, class]`: context
    score of the receptive field. `pictures[sample, class, unit]` and `active[sample, unit]`.
    """

    columns: dict[str, np.ndarray]
    labels: np.ndarray
    field: dict[tuple[str, int], float]
    pictures: dict[tuple[str, int, int], bytes]
    active: dict[tuple[str, int], bytes]

    @classmethod
    def of(cls, table: SampleTable) -> Found:
        samples, parts, labels = [], [], []
        field, pictures, active = {}, {}, {}
        for sample_id in table.ids:
            one = table.tables[sample_id]
            samples += [sample_id] * len(one["class"])
            parts.append({name: one[name] for name in (*_NUMBERS, "class", "unit")})
            labels.append(one["labels"])
            for class_id, value in zip(one["field_class"], one["field"], strict=True):
                field[sample_id, int(class_id)] = float(value)
            pairs = zip(one["class"].tolist(), one["unit"].tolist(), strict=True)
            for (class_id, k), data in zip(pairs, _cut(one["data"], one["size"]), strict=True):
                if data:
                    pictures[sample_id, class_id, k] = data
            data_of = _cut(one["active_data"], one["active_size"])
            for k, data in zip(one["active_unit"].tolist(), data_of, strict=True):
                active[sample_id, k] = data
        columns = {
            name: np.concatenate([part[name] for part in parts]) if parts else np.zeros(0)
            for name in (*_NUMBERS, "class", "unit")
        }
        columns["sample"] = np.array(samples, dtype=object)
        stacked = np.concatenate(labels) if labels else np.zeros((0, 0))
        return cls(columns, stacked, field, pictures, active)

    def rows(self, class_id: int, unit: int, samples: Sequence[str]) -> np.ndarray:
        """Rows of a class and channel, in the order of the samples, those missing left out."""
        mine = np.flatnonzero((self.columns["class"] == class_id) & (self.columns["unit"] == unit))
        at = {self.columns["sample"][row]: int(row) for row in mine}
        return np.array([at[s] for s in samples if s in at], dtype=np.int64)


BLUR = 0.01
_NUMBERS = ("context", "latent", "by_activation", "mass", "tile", "chance")


def _scores(
    found: Tensor, mask: Tensor, tile: np.ndarray | None, labels: Tensor | None, classes: int
) -> dict[str, Any]:
    """Context score of a map [1, h, w], its mass, where it lies by label, and on a known tile."""
    positive = found[0].clamp(min=0).double()
    outside = positive * ~mask
    row: dict[str, Any] = {
        "map": found[0],
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


def _columns(rows: list[dict[str, Any]], classes: int) -> dict[str, np.ndarray]:
    pictures = [row["picture"] for row in rows]
    found: dict[str, np.ndarray] = {
        name: np.array([row[name] for row in rows], np.float64) for name in _NUMBERS
    }
    for name in ("class", "unit"):
        found[name] = np.array([row[name] for row in rows], np.int64)
    found["labels"] = np.array([row["labels"] for row in rows]).reshape(len(rows), classes)
    found["size"] = np.array([len(data) for data in pictures], np.int64)
    found["data"] = np.frombuffer(b"".join(pictures), np.uint8).copy()
    return found


def _cut(data: np.ndarray, sizes: np.ndarray) -> list[bytes]:
    ends = np.cumsum(sizes)
    return [data[end - size : end].tobytes() for end, size in zip(ends, sizes, strict=True)]


def _drawn(image: Tensor, found: Tensor, mask: Tensor | None, side: int) -> bytes:
    """A map's positive and negative part in colour, on its own scale, over the image in grey.

    Blurred by 1 % of the longer side: relevance of single pixels is too fine for the eye.
    """
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(found.float().cpu().numpy(), BLUR * max(found.shape))
    limit = float(np.quantile(np.abs(values), 0.998)) or float(np.abs(values).max()) or 1.0
    border = None if mask is None else mask.cpu().numpy()
    picture = image[0].float().cpu().numpy()
    return overlay(picture, values, -limit, limit, mask=border, side=side)


def shown_active(study: Lcrp, chosen: Chosen) -> dict[str, list[int]]:
    """By image, the channels for which it is shown as one of the most active."""
    wanted: dict[str, list[int]] = {}
    for unit, best in sorted(chosen.active.items()):
        for sample_id, _ in best[: study.exemplars]:
            wanted.setdefault(sample_id, []).append(unit)
    return wanted
