"""Pass 1: every object of an image, described by four blocks of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.concepts.segments import ring
from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Recorder
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.examples.config import Examples
from conceptseg.study.shared.outcomes import right_part
from conceptseg.study.shared.parts import Part, boxes, middles, parts, pooled, shape

OBJECTS = Key("objects", SampleTable)
"""Of each image, a row for each object: `class`, `box` [4] (top, left, bottom, right), `area` in
px, `confidence` (mean largest probability), `right` (part of its labelled pixels, nan where fewer
than half are labelled), and the blocks `embedding`, `shape`, `place` and `surroundings`."""


@dataclass(frozen=True)
class Describe(Pass):
    """One forward pass per image: what every object is like, and whether it is right."""

    study: Examples

    name = "describe"
    labels = "optional"
    keeps = True

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, classes = self.study, self.study.class_ids(context)
        with torch.no_grad(), Recorder(context.model, context.levels.names) as recorder:
            logits = recorder(batch.images)
        assert logits is not None
        activation = context.levels.joined(recorder.activations)
        sure = logits.float().softmax(1).amax(1).cpu().numpy()
        predicted = label_map(logits).cpu().numpy()
        truth = np.full_like(predicted, -1) if batch.labels is None else batch.labels.cpu().numpy()
        table = SampleTable.empty(study.images)
        for i, name in enumerate(batch.ids):
            given = predicted[i] if study.regions == "predicted" else truth[i]
            found = parts(given, classes, study.per_image, study.min_share * given.size)
            if not found:
                continue
            rows = described(found, activation[i], predicted[i], truth[i], sure[i])
            one = SampleTable.of(
                name,
                rows,
                priority=sample_priority(context.seed, name),
                classes={part.class_id for part in found},
                capacity=study.images,
            )
            table = table.merge(one)
        return OBJECTS(table)


def described(
    found: Sequence[Part],
    activation: torch.Tensor,
    predicted: np.ndarray,
    truth: np.ndarray,
    sure: np.ndarray,
) -> dict[str, np.ndarray]:
    """The rows of an image's objects, from the layer's activation [u, y, x] and maps [h, w]."""
    masks = [one.mask for one in found]
    rings = [ring(mask) for mask in masks]
    inside, around = (pooled(each, activation) for each in (masks, rings))
    right = [right_part(mask, predicted, truth) for mask in masks]
    return {
        "class": np.array([one.class_id for one in found], np.int64),
        "box": boxes(masks),
        "area": np.array([mask.sum() for mask in masks], np.int64),
        "confidence": np.array([sure[mask].mean() for mask in masks], np.float32),
        "right": np.array(right, np.float32),
        "embedding": inside,
        "shape": np.array([shape(mask) for mask in masks], np.float32),
        "place": middles(masks).astype(np.float32),
        "surroundings": around,
    }
