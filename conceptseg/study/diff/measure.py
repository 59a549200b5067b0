"""Each concept is erased from each network; what either predicts, and where, is counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Tail
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.diff.config import Diff
from conceptseg.study.diff.learn import SHARED, Shared, passes
from conceptseg.study.diff.networks import MEMBERS
from conceptseg.study.shared.atoms import changed, concept_slots
from conceptseg.study.shared.overlap import class_iou, referred
from conceptseg.study.shared.studied import first

MEASURED, PIXELS = Key("measured", SampleTable), Key("pixels", SampleTable)


@dataclass(frozen=True)
class Predict(Pass):
    """Pixels that the other network gains and loses, and the IoU of all networks.

    The reference is the labels, or the network's own prediction for images without any.
    """

    study: Diff

    name = "predict"
    cost = "1 forward per image and network"
    labels = "optional"
    keeps = True

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, self.study.images)

    def forwards(self, context: Context) -> float:
        return passes(self.study, context, self.study.images)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        k = len(context.model.classes)
        with torch.no_grad():
            logits = [one.model(batch.images) for one in known[MEMBERS]]
        for one, returned in zip(known[MEMBERS], logits, strict=True):
            one.model.check_finite(returned, batch.ids)
        seen = [label_map(one) for one in logits]
        reference, labelled = referred(batch.labels, seen[0])
        old, new = (F.one_hot(one, k).bool() for one in seen[:2])
        arrays = {
            "iou": torch.stack([class_iou(one, reference, k) for one in seen], 1),
            "gained": (new & ~old).float().mean((1, 2)),
            "lost": (old & ~new).float().mean((1, 2)),
            "labelled": labelled,
        }
        numbers = {name: one.cpu().numpy() for name, one in arrays.items()}
        return PIXELS(SampleTable.batch(batch.ids, numbers))


def _held(regions: torch.Tensor, k: int) -> torch.Tensor:
    """Masks [n, k, h, w] of regions [n, h, w], in which -1 is of no class."""
    known = regions >= 0
    return F.one_hot(regions.clamp(min=0), k).permute(0, 3, 1, 2) * known[:, None].float()


def _concepts(context: Context, batch: Batch, reference: torch.Tensor, k: int) -> torch.Tensor:
    """Masks [n, k + 1, h, w] of what a concept may lie on: the classes, and the known context."""
    seen = concept_slots(context.manifest, batch.ids, reference, k)[1] == k
    return torch.cat([_held(reference, k), seen[:, None].float()], 1)


def _pooled(masks: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Masks on the codes' grid, over the number of its cells: [n, m, y, x]."""
    grid = int(codes.shape[2]), int(codes.shape[3])
    return F.adaptive_avg_pool2d(masks, grid).to(codes) / (grid[0] * grid[1])


@dataclass(frozen=True)
class Erase(Pass):
    """The tail of every network runs once per image for each concept that it has."""

    study: Diff

    name = "erase"
    cost = "1 forward + 1 tail per concept, per image and network"
    labels = "optional"
    keeps = True

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return first(context, min(self.study.erase_images, self.study.images))

    def forwards(self, context: Context) -> float:
        study = self.study
        images = min(len(context.manifest.samples), study.erase_images, study.images)
        return images * (2 + len(study.seeds)) * (1 + 0.25 * max(study.finder.counts))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        parts = dict[str, list[torch.Tensor]]()
        reference = held = batch.images.new_zeros(0)
        with torch.no_grad():
            for number, member in enumerate(known[MEMBERS]):
                tail = member.tail(batch.images)
                if not parts:
                    reference = referred(batch.labels, label_map(tail.logits))[0]
                    held = _concepts(context, batch, reference, len(context.model.classes))
                made = _erased(known[SHARED], number, tail, reference, held)
                for name, one in made.items():
                    parts.setdefault(name, []).append(one)
        arrays = {name: torch.stack(each, 1) for name, each in parts.items()}
        arrays["area"] = held.mean((2, 3))
        numbers = {name: one.cpu().numpy() for name, one in arrays.items()}
        return MEASURED(SampleTable.batch(batch.ids, numbers))


def _erased(
    shared: Shared, number: int, tail: Tail, reference: torch.Tensor, held: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Of one network, for n images, q concepts and k classes: `effect` [n, q, k] of erasing each,
    mean codes outside of each class as predicted and on what is `held`, and `mean` codes [n, q]."""
    clean, activation = label_map(tail.logits), tail.activation
    codes, k = shared.codes(number, activation), tail.logits.shape[1]
    before, rows = class_iou(clean, reference, k), []
    for q in range(shared.count):
        if not shared.present[number, q]:
            rows.append(torch.where(before.isnan(), before, 0.0))
            continue
        edited = changed(activation, -codes[:, q], shared.atoms[number][q])
        rows.append(class_iou(label_map(tail.resume(edited)), reference, k) - before)
    mean, inside = codes.mean((2, 3)), _pooled(_held(clean, k), codes)
    return {
        "effect": torch.stack(rows, 1),
        "outside": mean[..., None] - torch.einsum("nqyx,nkyx->nqk", codes, inside),
        "on": torch.einsum("nqyx,nkyx->nqk", codes, _pooled(held, codes)),
        "mean": mean,
    }
