"""Second sweep of ACE: what each class loses when a concept is erased from the layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.concepts.segments import ring_px
from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.reach import reach
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import DISCOVERY, Direction, Discovery
from conceptseg.study.shared.edits import Editable


@dataclass(frozen=True)
class Erasures:
    """IoU of each class in each image, as the network is and with something erased.

    `ids` [n]; `clean` [n, k]; `concept` [n, q, k]; `null` [n, z, k] for random directions; `layer`
    [n, 1, k] with every position at the layer's mean. `right` [n, q, k] is the part of each
    concept's change that is of the class's own pixels. nan where the reference lacks the class. The
    reference is the label map, or the network's clean prediction for images without one; `labelled`
    [n] says which. `reach` is how many pixels away a position of the layer acts on the logits, the
    most of all images (:func:`~conceptseg.network.reach.reach`); `spared` how wide the ring around
    a class is where nothing is erased when what lies away from it is, the least of all.
    """

    ids: tuple[str, ...]
    labelled: np.ndarray
    clean: np.ndarray
    concept: np.ndarray
    null: np.ndarray
    layer: np.ndarray
    right: np.ndarray
    reach: float = np.inf
    spared: int = 0

    def change(self, kind: str, class_id: int) -> np.ndarray:
        """Change of the class's IoU by each edit of a kind, [n, edits], nan where undefined."""
        edited: np.ndarray = getattr(self, kind)[:, :, class_id]
        return edited - self.clean[:, class_id, None]


IOU = Key("iou", SampleTable)
ERASURES = Key("erasures", Erasures)


@dataclass(frozen=True)
class Erase(Pass):
    """The tail of the network runs once per image for each concept and random direction."""

    study: Ace

    name = "erase"
    cost = "1 forward + 1 tail per concept and random direction, and 3 of the layer, per image"
    labels = "optional"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        """The `erase_images` images of each class that hashing draws."""
        discovery = known[DISCOVERY]
        chosen: set[str] = set()
        for images in discovery.class_images.values():
            chosen |= discovery.first_by_hash(images, context.seed, self.study.erase_images)
        return context.manifest.named(chosen)

    def forwards(self, context: Context) -> float:
        """With as many concepts as are tried at most, and a tail taken for half a pass."""
        study, classes = self.study, len(self.study.class_ids(context))
        images = min(len(context.manifest.samples), study.erase_images * classes)
        concepts = max(getattr(study.concepts, "counts", (25,)))
        edits = 3 + concepts + study.null_erasures
        return images * (1 + 0.5 * edits)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        discovery = known[DISCOVERY]
        with torch.no_grad():
            layer = Editable.of(context, batch.images, batch.labels)
            rows: dict[str, list[Tensor]] = {"clean": [layer.iou()]}
            far = reach(layer.tail, _mean(discovery, layer.tail.activation))
            for kind, activation in _edits(discovery, layer.tail.activation):
                if kind == "concept":
                    iou, right = layer.iou_and_right(activation)
                    rows.setdefault("right", []).append(right)
                else:
                    iou = layer.iou(activation)
                rows.setdefault(kind, []).append(iou)
        tables = {kind: torch.stack(each, 1).cpu().numpy() for kind, each in rows.items()}
        tables["reach"] = far[:, None].cpu().numpy()
        tables["spared"] = np.full((len(batch), 1), ring_px(batch.images.shape[2:]))
        tables["labelled"] = layer.labelled[:, None].cpu().numpy()
        each = {name: {k: v[i] for k, v in tables.items()} for i, name in enumerate(batch.ids)}
        return IOU(SampleTable.each(each))

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state[IOU]
        empty = np.zeros((0, len(context.model.classes)), dtype=np.float32)
        stacked = {
            kind: np.stack([table.tables[name].get(kind, empty) for name in table.ids])
            for kind in ("labelled", "clean", "concept", "null", "layer", "right")
        }
        stacked |= {kind: stacked[kind][:, 0] for kind in ("labelled", "clean")}
        far = max((float(table.tables[name]["reach"][0]) for name in table.ids), default=np.inf)
        near = min((int(table.tables[name]["spared"][0]) for name in table.ids), default=0)
        return ERASURES(Erasures(tuple(table.ids), **stacked, reach=far, spared=near))


def _edits(discovery: Discovery, activation: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Each edited activation [n, u, y, x] and what kind of edit it is."""
    yield "layer", _mean(discovery, activation).expand_as(activation)
    for concept in discovery.concepts:
        yield "concept", erased(activation, concept.direction)
    for direction in discovery.null_directions:
        yield "null", erased(activation, direction)


def _mean(discovery: Discovery, activation: Tensor) -> Tensor:
    """The layer's mean [u, 1, 1], as an activation has its numbers."""
    return torch.as_tensor(discovery.mean).to(activation)[:, None, None]


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
