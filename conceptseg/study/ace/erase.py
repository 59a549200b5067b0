"""Second sweep of ACE: what each class loses when a concept is erased from the layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.intervals import ALPHA
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Direction, Discovery
from conceptseg.study.ace.gradients import on_grid
from conceptseg.study.shared.edits import Editable


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
    pairs: tuple[tuple[int, int], ...]
    labelled: np.ndarray
    clean: np.ndarray
    concept: np.ndarray
    null: np.ndarray
    layer: np.ndarray
    outside: np.ndarray

    def change(self, kind: str, class_id: int) -> np.ndarray:
        """Change of the class's IoU by each edit of a kind, [n, edits], nan where undefined."""
        edited: np.ndarray = getattr(self, kind)[:, :, class_id]
        return edited - self.clean[:, class_id, None]


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
        """The `erase_images` images of each class that hashing draws."""
        discovery = known[DISCOVERY]
        chosen: set[str] = set()
        for images in discovery.class_images.values():
            chosen |= discovery.first_by_hash(images, context.seed, self.study.erase_images)
        return [sample for sample in context.manifest.samples if sample.id in chosen]

    def forwards(self, context: Context) -> float:
        """With as many concepts as are tried at most, and a tail taken for half a pass."""
        study, classes = self.study, len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), study.erase_images * classes)
        concepts = max(getattr(study.concepts, "counts", (25,)))
        edits = 1 + concepts + study.null_erasures + study.outside_pairs * classes
        return images * (1 + 0.5 * edits)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        discovery = known[DISCOVERY]
        with torch.no_grad():
            layer = Editable.of(context, batch)
            rows: dict[str, list[Tensor]] = {"clean": [layer.iou()]}
            for kind, activation in _edits(discovery, layer.tail.activation):
                rows.setdefault(kind, []).append(layer.iou(activation))
            outside = self._outside(discovery, batch.ids, layer)
        tables = {kind: torch.stack(each, 1).cpu().numpy() for kind, each in rows.items()}
        tables |= {"outside": outside, "labelled": layer.labelled[:, None].cpu().numpy()}
        each = {name: {k: v[i] for k, v in tables.items()} for i, name in enumerate(batch.ids)}
        return IOU(SampleTable.each(each))

    def _outside(self, discovery: Discovery, ids: Sequence[str], layer: Editable) -> np.ndarray:
        """IoU [n, p, k] with the concept of each pair erased outside the class's region alone.

        Images do not influence each other, so one pass serves another pair in each image.
        """
        pairs = candidates(self.study, discovery)
        result = np.full((len(ids), len(pairs), layer.classes), np.nan, dtype=np.float32)
        place, images = discovery.position, discovery.class_images
        held = [[p for p, (c, _) in enumerate(pairs) if place[name] in images[c]] for name in ids]
        for turn in range(max(map(len, held), default=0)):
            edited = layer.tail.activation.clone()
            mine = [(i, own[turn]) for i, own in enumerate(held) if turn < len(own)]
            for i, p in mine:
                class_id, q = pairs[p]
                one = layer.tail.activation[i : i + 1]
                region = on_grid(layer.clean[i : i + 1] == class_id, one.shape[-2:])
                gone = erased(one, discovery.concepts[q].direction)
                edited[i : i + 1] = torch.lerp(gone, one, region)
            values = layer.iou(edited).cpu().numpy()
            for i, p in mine:
                result[i, p] = values[i]
        return result

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state[IOU]
        empty = np.zeros((0, len(context.model.classes)), dtype=np.float32)
        stacked = {
            kind: np.stack([table.tables[name].get(kind, empty) for name in table.ids])
            for kind in ("labelled", "clean", "concept", "null", "layer", "outside")
        }
        stacked |= {kind: stacked[kind][:, 0] for kind in ("labelled", "clean")}
        pairs = candidates(self.study, known[DISCOVERY])
        return ERASURES(Erasures(tuple(table.ids), pairs, **stacked))


def _edits(discovery: Discovery, activation: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Each edited activation [n, u, y, x] and what kind of edit it is."""
    mean = torch.as_tensor(discovery.mean).to(activation)[:, None, None]
    yield "layer", mean.expand_as(activation)
    for concept in discovery.concepts:
        yield "concept", erased(activation, concept.direction)
    for direction in discovery.null_directions:
        yield "null", erased(activation, direction)


def erased(activation: Tensor, direction: Direction) -> Tensor:
    """The activation [n, u, y, x] without a concept.

    A' = A - max(0, A . v - absent) v at every position: what exceeds the component along v where
    the concept is absent is taken away, and positions that do not show the concept stay as they
    are. Setting the component to the data set's mean instead would leave a part of a frequent
    concept everywhere, and bring it to images that lack it.
    """
    v = torch.as_tensor(direction.vector).to(activation)
    along = torch.einsum("nuyx,u->nyx", activation, v) - direction.absent
    return activation - along.clamp(min=0)[:, None] * v[:, None, None]


def candidates(study: Ace, discovery: Discovery) -> tuple[tuple[int, int], ...]:
    """The concepts outside each class's region that raise its score most, significantly so.

    They are the pairs (class, concept) for which the erasure outside the region is worth a pass.
    """
    pairs = []
    for class_id in sorted(discovery.class_images):
        able = [
            (-influence.effect, q)
            for (c, q), influence in discovery.influence.items()
            if c == class_id
            and influence.effect > 0
            and influence.p_effect <= ALPHA
            and not discovery.where(discovery.concepts[q], class_id)["inside"] >= 0.5
        ]
        pairs += [(class_id, q) for _, q in sorted(able)[: study.outside_pairs]]
    return tuple(pairs)
