"""Fifth sweep of L-CRP: how each channel's relevance changes when the background is replaced.

The published validation of the context score. What lies outside of the object is replaced by grey
noise, colour noise, black or a random colour, wholly or by half; per channel

    d = mean over the eight of |clip((r0 - r) / max(|r0|, |r|), -1, 1)|

with r0 and r its relevance before and after; the sensitivity of a channel is the mean of d over
images, weighed by |r0|.

Source: the experiments published with Dreyer et al. 2023, arXiv:2211.11426, section 4.3.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.lrp.start import relevance_of_logits
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.stats.intervals import PORTIONS
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS, Chosen
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.engines import ENGINES, object_mask, predict, regions
from conceptseg.study.shared.sweep import One, Sweep

BLENDS = (0.5, 1.0)
AT_ONCE = 3
"""Variants in one pass: fixed, so that the run's batch size changes nothing, not even rounding."""


Changes = list[tuple[str, float, float]]
"""By image, a channel's change of relevance d in [0, 1] with its weight |r0|."""
SENSITIVITY: Key[dict[tuple[int, int], Changes]] = Key("sensitivity", dict)


@dataclass(frozen=True)
class Background(Sweep):
    """Per image and class nine passes, whose relevance stops at the layer."""

    study: Lcrp

    name = "background"
    cost = "9 forwards + 9 backwards of the part after the layer, per class and image"
    labels = "optional"
    rows = Key("changes of relevance", SampleTable)

    def wanted(self, known: Known) -> Collection[str]:
        chosen = known[CHOSEN_PAIRS]
        return {s for c in chosen.classes for s in large(self.study, chosen, c)}

    def forwards(self, context: Context) -> float:
        images = min(len(context.manifest.samples), self.study.sensitivity_images)
        return len(self.study.class_ids(context)) * images * 9 * 1.5

    def look(self, context: Context, one: One, known: Known) -> Tables:
        chosen = known[CHOSEN_PAIRS]
        mine = tuple(c for c in chosen.classes if one.id in large(self.study, chosen, c))
        hidden = fills(one.image[0], context.seed, one.id)
        rows = []
        for class_id, region in regions(predict(context, one.image)[0], mine).items():
            mask = object_mask(one.labels, class_id, region)
            variants = torch.cat([one.image, blended(one.image[0], hidden, mask)])
            relevance = self._relevance(context, variants, region, class_id, known)
            units = list(chosen.concepts[class_id])
            pairs = zip(units, changes(relevance[:, units]).T, strict=True)
            rows += [(class_id, k, *pair) for k, pair in pairs]
        return {"rows": np.array(rows, np.float64).reshape(len(rows), 4)}

    def _relevance(
        self, context: Context, variants: Tensor, region: Tensor, class_id: int, known: Known
    ) -> np.ndarray:
        """Relevance [v, u] of the channels for the class in its clean region, of variants of an
        image, the clean one first; not normalised, so that a fall of the score is a fall here."""
        engine, sums = known[ENGINES].of(), []
        # What changes are counted from must not change with the background.
        references = engine.references(variants[:1])
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
            sums.append(relevance.double().sum((2, 3)).cpu())
        return torch.cat(sums).numpy()

    def gathered(self, table: SampleTable, known: Known) -> Known:
        rows: dict[tuple[int, int], Changes] = {}
        for sample_id in table.ids:
            for class_id, k, change, weight in table.tables[sample_id]["rows"].tolist():
                rows.setdefault((int(class_id), int(k)), []).append((sample_id, change, weight))
        return SENSITIVITY(rows)


def sensitivity(rows: Changes, sampling: Sampling) -> Estimate:
    """The weighted mean change, nan where there is no relevance in any image."""
    samples, change, weight = zip(*rows, strict=True) if rows else ((), (), ())
    return sampling.named(samples).mean(change, weight, PORTIONS)


def large(study: Lcrp, chosen: Chosen, class_id: int) -> tuple[str, ...]:
    """The class's images whose region is large enough, the first of their fixed order."""
    able = [
        s for s in chosen.images[class_id] if chosen.pixels[s, class_id] > study.instance_pixels
    ]
    return tuple(able[: study.sensitivity_images])


def fills(image: Tensor, seed: int, sample_id: str) -> Tensor:
    """Grey noise, colour noise, black and a random colour, [4, c, h, w], drawn by the id."""
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
