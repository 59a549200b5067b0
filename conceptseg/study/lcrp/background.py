"""Fifth sweep of L-CRP: how each channel's relevance changes when the background is replaced.

The published validation of the context score. What lies outside of the object is replaced by grey
noise, colour noise, black or a random colour, wholly or by half; per channel

    d = mean over the eight of |clip((r0 - r) / max(|r0|, |r|), -1, 1)|

with r0 and r its relevance before and after; the sensitivity of a channel is the mean of d over
images, weighed by |r0|.

Source: the experiments published with Dreyer et al. 2023, arXiv:2211.11426, section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, State
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.stats.intervals import bootstrap_interval
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.engines import Sweep, object_mask, predict, regions

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.lcrp.config import Lcrp

BLENDS = (0.5, 1.0)
AT_ONCE = 3
"""Variants in one pass: fixed, so that the run's batch size changes nothing, not even rounding."""
FILLS = ("grey noise", "colour noise", "black", "random colour")


class Background(Sweep):
    """Per image and class nine passes, whose relevance stops at the layer."""

    name = "background"
    cost = "9 forwards + 9 backwards of the part after the layer, per class and image"
    labels = "optional"

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        chosen: Chosen = carry["chosen"]
        wanted = {s for c in chosen.classes for s in large(self.study, chosen, c)}
        return self._only(context, wanted)

    def forwards(self, context: Context) -> float:
        images = min(len(context.manifest.samples), self.study.sensitivity_images)
        return len(self.study.class_ids(context)) * images * 9 * 1.5

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        chosen: Chosen = carry["chosen"]
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            mine = [c for c in chosen.classes if sample_id in large(self.study, chosen, c)]
            where = regions(predict(context, image)[0], tuple(mine))
            labels = None if batch.labels is None else batch.labels[i]
            hidden = fills(image[0], context.seed, sample_id)
            rows = []
            for class_id, region in where.items():
                mask = object_mask(labels, class_id, region)
                units = list(chosen.concepts[class_id])
                r = self._relevance(context, image, hidden, mask, region, class_id)[:, units]
                rows += [(class_id, k, *pair) for k, pair in zip(units, changes(r).T, strict=True)]
            columns = np.array(rows, np.float64).reshape(len(rows), 4)
            table = table.merge(SampleTable.of(sample_id, {"rows": columns}))
        return {"background": table}

    def _relevance(
        self,
        context: Context,
        image: Tensor,
        hidden: Tensor,
        mask: Tensor,
        region: Tensor,
        class_id: int,
    ) -> np.ndarray:
        """Relevance [1 + 8, u] of the channels for the class in its clean region, first of the
        image, then of its variants; not normalised, so that a fall of the score is a fall here."""
        variants = torch.cat([image, blended(image[0], hidden, mask)])
        engine, found = self._engines.of(context, image), []
        # What changes are counted from must not change with the background.
        references = engine.references(image)
        for part in variants.split(AT_ONCE):
            run = engine.run(part, [context.layer], references)
            start = relevance_of_logits(
                run.evidence,
                region.expand(len(part), -1, -1),
                class_id,
                self.study.quantity,
                self.study.sign,
                normalise=False,
            )
            (relevance,) = run.at_layers(start, [context.layer])
            found.append(relevance.double().sum((2, 3)).cpu())
        return torch.cat(found).numpy()

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get("background", SampleTable.empty())
        assert isinstance(table, SampleTable)
        found: dict[tuple[int, int], list[tuple[str, float, float]]] = {}
        for sample_id in table.ids:
            for class_id, k, d, weight in table.tables[sample_id]["rows"].tolist():
                found.setdefault((int(class_id), int(k)), []).append((sample_id, d, weight))
        return {"sensitivity": {pair: Sensitivity.of(rows) for pair, rows in found.items()}}


@dataclass(frozen=True)
class Sensitivity:
    """A channel's change of relevance by image, d in [0, 1], with the weights |r0|."""

    samples: tuple[str, ...]
    change: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[str, float, float]]) -> Sensitivity:
        return cls(
            tuple(s for s, _, _ in rows),
            np.array([d for _, d, _ in rows]),
            np.array([w for _, _, w in rows]),
        )

    @property
    def value(self) -> float:
        """The weighted mean, nan where the channel has no relevance in any image."""
        total = float(self.weight.sum())
        return float((self.change * self.weight).sum() / total) if total > 0 else float("nan")

    def interval(self, groups: Mapping[str, str], seed: int) -> tuple[float, float]:
        """Of the value, by drawing the groups of its images anew."""
        mine = [groups[s] for s in self.samples]
        return bootstrap_interval(self.change, mine, seed=seed, weights=self.weight)

    @classmethod
    def joined(cls, parts: Iterable[Sensitivity]) -> Sensitivity:
        """Several channels as one: of each image all their rows."""
        return cls.of([row for one in parts for row in one.rows()])

    def rows(self) -> list[tuple[str, float, float]]:
        return list(zip(self.samples, self.change.tolist(), self.weight.tolist(), strict=True))


def large(study: Lcrp, chosen: Chosen, class_id: int) -> tuple[str, ...]:
    """The class's images whose region is large enough, the first of their fixed order."""
    able = [
        s for s in chosen.images[class_id] if chosen.pixels[s, class_id] > study.instance_pixels
    ]
    return tuple(able[: study.sensitivity_images])


def fills(image: Tensor, seed: int, sample_id: str) -> Tensor:
    """Four images [4, c, h, w] of nothing but fill, in the order of `FILLS`, drawn by the id."""
    key = sample_priority(seed, sample_id) % 2**63
    generator = torch.Generator().manual_seed(key)
    c, h, w = image.shape
    grey = torch.rand(1, h, w, generator=generator).expand(c, h, w)
    coloured = torch.rand(c, h, w, generator=generator)
    one = torch.rand(c, 1, 1, generator=generator).expand(c, h, w)
    return torch.stack([grey, coloured, torch.zeros(c, h, w), one]).to(image)


def blended(image: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
    """The image [c, h, w] with each fill [f, c, h, w] outside of the mask, at each blend."""
    outside = (~mask).to(image)
    return torch.cat([image + share * outside * (hidden - image) for share in BLENDS])


def changes(relevance: np.ndarray) -> np.ndarray:
    """Mean clipped relative change and |r0|, [2, u], of relevance [1 + v, u], the clean first."""
    first, rest = relevance[0], relevance[1:]
    scale = np.maximum(np.abs(first)[None], np.abs(rest))
    ratio = np.divide(first[None] - rest, scale, out=np.zeros_like(rest), where=scale > 0)
    return np.stack([np.abs(np.clip(ratio, -1, 1)).mean(0), np.abs(first)])
