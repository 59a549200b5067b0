"""Second sweep of ACE: what each class loses when a concept is erased from the layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.record import Tail
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.discovery import DISCOVERY, Direction, Discovery
from conceptseg.study.ace.gradients import on_grid
from conceptseg.study.shared.overlap import class_iou

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.ace.config import Ace


@dataclass(frozen=True)
class Erasures:
    """IoU of each class in each image, as the network is and with something erased.

    `ids` [n]; `clean` [n, k]; `concept` [n, q, k]; `null` [n, z, k] for random directions; `layer`
    [n, 1, k] with every position at the layer's mean; `outside` [n, p, k] for the p pairs (class,
    concept) of `pairs`, the concept erased outside the class's region alone. nan where the
    reference lacks the class. The reference is the label map, or the network's
    clean prediction for images without one; `labelled` [n] says which.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    labelled: np.ndarray
    clean: np.ndarray
    concept: np.ndarray
    null: np.ndarray
    layer: np.ndarray
    outside: np.ndarray

    def loss(self, class_id: int, concept: int) -> np.ndarray:
        """Change of the class's IoU when a concept is erased, [n], nan where undefined."""
        return self.concept[:, concept, class_id] - self.clean[:, class_id]

    def null_loss(self, class_id: int) -> np.ndarray:
        """The same for each random direction, [n, z]."""
        return self.null[:, :, class_id] - self.clean[:, None, class_id]

    def layer_loss(self, class_id: int) -> np.ndarray:
        """The same for the whole layer set to its mean, [n]: the layer's share of the decision."""
        return self.layer[:, 0, class_id] - self.clean[:, class_id]

    def outside_loss(self, class_id: int, concept: int) -> np.ndarray | None:
        """The same for the concept erased outside the class's region alone, if that was tried."""
        if (class_id, concept) not in self.pairs:
            return None
        pair = self.pairs.index((class_id, concept))
        return self.outside[:, pair, class_id] - self.clean[:, class_id]


IOU = Key("iou", SampleTable)
ERASURES = Key("erasures", Erasures)


@dataclass(frozen=True)
class Erase(Pass):
    """The tail of the network runs once per image for each concept, random direction and pair."""

    study: Ace

    name = "erase"
    cost = "1 forward + 1 tail per concept, random direction and pair, per image"
    labels = "optional"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        """Of each class, the `erase_images` images of lowest hash priority."""
        found = known[DISCOVERY]
        chosen: set[str] = set()
        for images in found.class_images.values():
            ids = sorted(
                (found.ids[i] for i in images),
                key=lambda sample_id: sample_priority(context.seed, sample_id),
            )
            chosen.update(ids[: self.study.erase_images])
        return [sample for sample in context.manifest.samples if sample.id in chosen]

    def forwards(self, context: Context) -> float:
        """With as many concepts as are tried at most, and a tail taken for half a pass."""
        study, classes = self.study, len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), study.erase_images * classes)
        concepts = max(getattr(study.concepts, "counts", (25,)))
        edits = 1 + concepts + study.null_erasures + study.outside_pairs * classes
        return images * (1 + 0.5 * edits)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        import torch

        found = known[DISCOVERY]
        k = len(context.model.classes)
        with torch.no_grad():
            tail = Tail.of(context.model, batch.images, context.layer)
            clean = tail.logits.argmax(1)
            labelled = torch.zeros(len(batch), dtype=torch.bool, device=clean.device)
            reference = clean
            if batch.labels is not None:
                labelled = (batch.labels >= 0).flatten(1).any(1)
                reference = torch.where(labelled[:, None, None], batch.labels, clean)

            def iou(activation: Tensor) -> Tensor:
                return class_iou(tail.resume(activation).argmax(1), reference, k)

            rows: dict[str, list[Tensor]] = {"clean": [class_iou(clean, reference, k)]}
            for kind, activation in _edits(found, tail.activation):
                rows.setdefault(kind, []).append(iou(activation))
            outside = self._outside(found, batch, tail.activation, clean, iou)
        tables = {kind: torch.stack(found_iou, 1).cpu().numpy() for kind, found_iou in rows.items()}
        tables["outside"] = outside
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            one = {kind: values[i] for kind, values in tables.items()}
            one["labelled"] = np.array([bool(labelled[i])])
            table = table.merge(SampleTable.of(sample_id, one))
        return IOU(table)

    def _outside(
        self,
        found: Discovery,
        batch: Batch,
        activation: Tensor,
        clean: Tensor,
        iou: Callable[[Tensor], Tensor],
    ) -> np.ndarray:
        """IoU [n, p, k] with the concept of each pair erased outside the class's region alone.

        Images do not influence each other, so one pass serves another pair in each image.
        """
        import torch

        pairs = candidates(self.study, found)
        result = np.full((len(batch), len(pairs), found.share.shape[1]), np.nan, dtype=np.float32)
        position = {sample_id: i for i, sample_id in enumerate(found.ids)}
        held = [
            [p for p, (c, _) in enumerate(pairs) if position[sample_id] in found.class_images[c]]
            for sample_id in batch.ids
        ]
        for turn in range(max(map(len, held), default=0)):
            edited = activation.clone()
            mine = [(i, own[turn]) for i, own in enumerate(held) if turn < len(own)]
            for i, p in mine:
                class_id, q = pairs[p]
                one = activation[i : i + 1]
                region = on_grid(clean[i : i + 1] == class_id, one.shape[-2:])
                gone = erased(one, found.concepts[q].direction)
                edited[i : i + 1] = torch.lerp(gone, one, region)
            values = iou(edited).cpu().numpy()
            for i, p in mine:
                result[i, p] = values[i]
        return result

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        found = known[DISCOVERY]
        table = state[IOU]
        ids = table.ids
        group = dict(zip(found.ids, found.groups, strict=True))
        k = len(context.model.classes)

        def stacked(kind: str) -> np.ndarray:
            empty = np.zeros((0, k), dtype=np.float32)
            return np.stack([table.tables[sample_id].get(kind, empty) for sample_id in ids])

        erasures = Erasures(
            tuple(ids),
            tuple(group[sample_id] for sample_id in ids),
            candidates(self.study, found),
            stacked("labelled")[:, 0],
            stacked("clean")[:, 0],
            *(stacked(kind) for kind in ("concept", "null", "layer", "outside")),
        )
        return ERASURES(erasures)


def _edits(found: Discovery, activation: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Each edited activation [n, u, y, x] and what kind of edit it is."""
    import torch

    mean = torch.as_tensor(found.mean).to(activation)[:, None, None]
    yield "layer", mean.expand_as(activation)
    for concept in found.concepts:
        yield "concept", erased(activation, concept.direction)
    for direction in found.null_directions:
        yield "null", erased(activation, direction)


def erased(activation: Tensor, direction: Direction) -> Tensor:
    """The activation [n, u, y, x] without a concept.

    A' = A - max(0, A . v - absent) v at every position: what exceeds the component along v where
    the concept is absent is taken away, and positions that do not show the concept stay as they
    are. Setting the component to the data set's mean instead would leave a part of a frequent
    concept everywhere, and bring it to images that lack it.
    """
    import torch

    v = torch.as_tensor(direction.vector).to(activation)
    along = torch.einsum("nuyx,u->nyx", activation, v) - direction.absent
    return activation - along.clamp(min=0)[:, None] * v[:, None, None]


def candidates(study: Ace, found: Discovery) -> tuple[tuple[int, int], ...]:
    """Of each class, the concepts outside its region that raise its score most, significantly so.

    They are the pairs (class, concept) for which the erasure outside the region is worth a pass.
    """
    pairs = []
    for class_id in sorted(found.class_images):
        able = [
            (-influence.effect, q)
            for (c, q), influence in found.influence.items()
            if c == class_id
            and influence.effect > 0
            and influence.p_effect <= 0.05
            and not found.where(found.concepts[q], class_id)["inside"] >= 0.5
        ]
        pairs += [(class_id, q) for _, q in sorted(able)[: study.outside_pairs]]
    return tuple(pairs)
