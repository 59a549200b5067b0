"""Third sweep of ACE: which uses act from context, by erasing away from the class alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.concepts.segments import grown, ring
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
from conceptseg.study.ace.pool import MOSTLY
from conceptseg.study.shared.edits import Editable, lost

OUTSIDE = Key("outside", SampleTable)


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
            layer = Editable.of(context, batch.images, batch.labels)
            rows = _outside(pairs, discovery, batch.ids, layer, known[ERASURES].reach)
        return OUTSIDE(SampleTable.batch(batch.ids, rows))


def _outside(
    pairs: Sequence[Pair],
    discovery: Discovery,
    ids: Sequence[str],
    layer: Editable,
    reach: float,
) -> dict[str, np.ndarray]:
    """Of each pair [n, p], with its concept erased away from the class alone: `iou` of the class,
    `right`, the part of the change that is of its own pixels, and the share of its region that was
    `reached`.

    Images do not influence each other, so one pass serves another pair in each image.
    """
    shape = len(ids), len(pairs)
    result = {name: np.full(shape, np.nan, np.float32) for name in ("iou", "right", "reached")}
    place, images = discovery.position, discovery.class_images
    held = [[p for p, q in enumerate(pairs) if place[name] in images[q.class_id]] for name in ids]
    activation = layer.tail.activation
    for turn in range(max(map(len, held), default=0)):
        edited = activation.clone()
        mine = [(i, own[turn]) for i, own in enumerate(held) if turn < len(own)]
        for i, p in mine:
            one, prediction = activation[i : i + 1], layer.clean[i]
            region = prediction == pairs[p].class_id
            kept = spared(region)
            result["reached"][i, p] = reached(region, kept, reach)
            near = on_grid(kept[None], one.shape[-2:])
            gone = erased(one, discovery.concepts[pairs[p].concept].direction)
            edited[i : i + 1] = torch.lerp(gone, one, near.to(one))
        values = [each.cpu().numpy() for each in layer.iou_and_right(edited)]
        for i, p in mine:
            for name, of in zip(("iou", "right"), values, strict=True):
                result[name][i, p] = of[i, pairs[p].class_id]
    return result


def spared(region: Tensor) -> Tensor:
    """A class's region [h, w] with the ring around it: where nothing is erased."""
    own = region.cpu().numpy()
    return torch.from_numpy(own | ring(own)).to(region.device)


def reached(region: Tensor, kept: Tensor, reach: float) -> float:
    """The share of a region [h, w] that anything out of `kept` acts on, from `reach` pixels away
    at most; nan of no region."""
    own, away = region.cpu().numpy(), ~kept.cpu().numpy()
    if not own.any():
        return float("nan")
    if np.isinf(reach):
        return float(away.any())
    return float((grown(away, round(reach)) & own).sum() / own.sum())


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
            change, share = table.column("iou")[:, column] - clean, table.column("reached")
            sampling, own = known[DISCOVERY].sampling.named(table.ids), np.isfinite(change)
            pair = replace(
                pair,
                outside=lost(sampling, change, clean),
                outside_missed=lost(sampling, table.column("right")[:, column], clean),
                reached=float(share[own, column].mean()) if own.any() else np.nan,
            )
            pair = _placed(study, pair)
        placed.append(pair)
    return PAIRS(tuple(placed))


def _placed(study: Ace, pair: Pair) -> Pair:
    """A use with what its erasure away from the class says.

    It acts from context if the concept lies mostly away, and half of the loss is still there with
    an interval below zero; it does not if the interval is above that half, and what lies away
    reaches most of the class at all; else it stays open. Of a class that is found by the concept
    its own pixels count; what only keeps it off other places is no context that it is found by.
    """
    found = pair.how.how == "found"
    away = pair.outside_missed if found else pair.outside
    half = (pair.how.missed if found else pair.loss).value / 2
    assert away is not None
    remains = away.below(0.0) and away.value <= min(-study.smallest_effect, half)
    if found and remains and pair.where["elsewhere"] >= MOSTLY:
        return replace(pair, from_context=True)
    could = pair.reached >= MOSTLY
    return replace(pair, from_context=False if could and away.above(half) else None)
