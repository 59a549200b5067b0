"""Local saliency maps on chosen images, shown beside any study's own result."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from conceptseg.catalogue import Choice, choice_labels
from conceptseg.data.batch import Batch
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.explain.contract import Explainer
from conceptseg.explain.methods import explainers
from conceptseg.explain.regions import Predicted
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.report.thumbnails import outlined, overlay, shared_limit
from conceptseg.stats.mergeable.sample_table import SampleTable

Chosen = tuple[tuple[str, int], ...]
"""Which images and classes are explained, as (sample id, class id)."""

CHOSEN: Key[Chosen] = Key("chosen to compare", tuple)
METHODS: Key[dict[str, Explainer]] = Key("methods", dict)
MAPS = Key("compare", SampleTable)


@dataclass(frozen=True)
class Comparison:
    """Maps [h, w] by method, in the order of `chosen`, and their pictures.

    `plain` are the images with the class's region outlined; all pictures of a method share the
    scale -`limit`..`limit` of that method.
    """

    chosen: tuple[tuple[str, int], ...]
    methods: tuple[str, ...]
    maps: dict[str, list[np.ndarray]]
    limits: dict[str, float]
    plain: list[bytes]
    pictures: dict[str, list[bytes]]


COMPARISON = Key("comparison", Comparison)


@dataclass(frozen=True)
class Compare(Pass):
    """Each method on each image and class that `CHOSEN` names."""

    entries: tuple[Choice, ...]
    picture_px: int = 256

    name = "compare"
    cost = "each method's own passes, on a few images"
    labels = "none"

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        wanted = {sample_id for sample_id, _ in known[CHOSEN]}
        return [sample for sample in context.manifest.samples if sample.id in wanted]

    def forwards(self, context: Context) -> float:
        """A few images, each method taken for three passes; perturbation methods cost more."""
        return 4.0 * (1 + 3 * len(self.entries))

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield METHODS(explainers(self.entries, context.layer))

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            image = batch.images[i : i + 1]
            scene = Scene(context.model, image, batch_size=context.run.batch_size)
            classes = [c for s, c in known[CHOSEN] if s == sample_id]
            targets = [Target(c, Predicted(c)) for c in classes]
            one = {"image": image[0].float().cpu().numpy()}
            one["class"] = np.array(classes, dtype=np.int64)
            for number, method in enumerate(known[METHODS].values()):
                maps = method.on(scene, targets)
                one[f"map-{number}"] = maps[:, 0].cpu().numpy()
            one["prediction"] = scene.logits.argmax(1)[0].cpu().numpy().astype(np.int32)
            table = table.merge(SampleTable.of(sample_id, one))
        return MAPS(table)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table = state.get(MAPS, SampleTable.empty())
        chosen, methods = known[CHOSEN], choice_labels(self.entries)
        maps: dict[str, list[np.ndarray]] = {method: [] for method in methods}
        masks = []
        for sample_id, class_id in chosen:
            one = table.tables[sample_id]
            masks.append(one["prediction"] == class_id)
            row = int(np.flatnonzero(one["class"] == class_id)[0])
            for number, method in enumerate(methods):
                maps[method].append(one[f"map-{number}"][row])
        images = [table.tables[sample_id]["image"] for sample_id, _ in chosen]
        limits = {method: shared_limit(maps[method]) for method in methods}
        side = self.picture_px
        plain = [outlined(image, mask, side) for image, mask in zip(images, masks, strict=True)]
        pictures = {
            method: [
                overlay(image, one, -limits[method], limits[method], mask=mask, side=side)
                for image, one, mask in zip(images, maps[method], masks, strict=True)
            ]
            for method in methods
        }
        return COMPARISON(Comparison(chosen, methods, maps, limits, plain, pictures))
