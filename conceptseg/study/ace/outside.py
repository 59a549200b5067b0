"""Third sweep of ACE: which uses act from context, by erasing away from the class alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.concepts.segments import ring
from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.assess import JUDGED, PAIRS, Pair
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Discovery
from conceptseg.study.ace.erase import ERASURES, erased
from conceptseg.study.ace.gradients import on_grid
from conceptseg.study.shared.edits import Editable, lost

OUTSIDE = Key("outside", SampleTable)
MOSTLY = 0.5


@dataclass(frozen=True)
class Outside(Pass):
    """Each used concept is erased where its class and the ring around it are not.

    The ring is spared as well: what a layer holds just beside an object is still made of its edge.
    """

    study: Ace

    name = "outside"
    cost = "1 forward + 1 tail per used concept of a class that the image holds"
    labels = "optional"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        pairs = known[JUDGED]
        held = {
            known[DISCOVERY].ids[i]
            for pair in tried(self.study, pairs)
            for i in known[DISCOVERY].class_images[pair.class_id]
        } & set(known[ERASURES].ids)
        return context.manifest.named(held)

    def forwards(self, context: Context) -> float:
        """With a used concept for every second of those that are tried at most."""
        images = len(context.manifest.samples)
        return min(images, self.study.erase_images) * (1 + 0.25 * self.study.outside_pairs)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        judged, discovery = known[JUDGED], known[DISCOVERY]
        pairs = tried(self.study, judged)
        with torch.no_grad():
            layer = Editable.of(context, batch)
            iou = _outside(pairs, discovery, batch.ids, layer)
        return OUTSIDE(SampleTable.batch(batch.ids, {"iou": iou}))


def _outside(
    pairs: Sequence[Pair], discovery: Discovery, ids: Sequence[str], layer: Editable
) -> np.ndarray:
    """IoU [n, p] of each pair's class with its concept erased away from the class alone.

    Images do not influence each other, so one pass serves another pair in each image.
    """
    result = np.full((len(ids), len(pairs)), np.nan, dtype=np.float32)
    place, images = discovery.position, discovery.class_images
    held = [[p for p, q in enumerate(pairs) if place[name] in images[q.class_id]] for name in ids]
    activation = layer.tail.activation
    for turn in range(max(map(len, held), default=0)):
        edited = activation.clone()
        mine = [(i, own[turn]) for i, own in enumerate(held) if turn < len(own)]
        for i, p in mine:
            one, prediction = activation[i : i + 1], layer.clean[i]
            near = on_grid(spared(prediction == pairs[p].class_id)[None], one.shape[-2:])
            gone = erased(one, discovery.concepts[pairs[p].concept].direction)
            edited[i : i + 1] = torch.lerp(gone, one, near.to(one))
        values = layer.iou(edited).cpu().numpy()
        for i, p in mine:
            result[i, p] = values[i, pairs[p].class_id]
    return result


def spared(region: Tensor) -> Tensor:
    """A class's region [h, w] with the ring around it: where nothing is erased."""
    own = region.cpu().numpy()
    return torch.from_numpy(own | ring(own)).to(region.device)


def tried(study: Ace, pairs: Sequence[Pair]) -> list[Pair]:
    """The uses whose concepts are erased away from the class alone, by class and loss."""
    result = []
    for class_id in sorted({pair.class_id for pair in pairs}):
        own = [pair for pair in pairs if pair.class_id == class_id and pair.used]
        own.sort(key=lambda pair: (pair.loss.value, pair.concept))
        result += own[: study.outside_pairs]
    return result


def place_uses(study: Ace, context: Context, known: Known) -> Known:
    """Every pair, with whether its use acts from context where that was tried."""
    table, erasures = known.get(OUTSIDE, SampleTable.empty()), known[ERASURES]
    pairs = known[JUDGED]
    columns = {(pair.class_id, pair.concept): p for p, pair in enumerate(tried(study, pairs))}
    rows = [erasures.ids.index(name) for name in table.ids]
    placed = []
    for pair in pairs:
        column = columns.get((pair.class_id, pair.concept))
        if column is not None and rows:
            clean = erasures.clean[rows, pair.class_id]
            change = table.column("iou")[:, column] - clean
            sampling = known[DISCOVERY].sampling.named(table.ids)
            pair = _placed(study, replace(pair, outside=lost(sampling, change, clean)))
        placed.append(pair)
    return PAIRS(tuple(placed))


def _placed(study: Ace, pair: Pair) -> Pair:
    """A use with what its erasure away from the class says.

    It acts from context if the concept lies mostly away, and half of the loss is still there with
    an interval below zero; it does not if the interval is above that half; else it stays open.
    """
    away, half = pair.outside, pair.loss.value / 2
    assert away is not None
    remains = away.below(0.0) and away.value <= min(-study.smallest_effect, half)
    if remains and pair.where["elsewhere"] >= MOSTLY:
        return replace(pair, from_context=True)
    return replace(pair, from_context=False if away.above(half) else None)
