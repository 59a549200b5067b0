"""First sweep of ACE: segments, their embeddings, and each class's gradient at the layer."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from conceptseg.concepts.segments import SCALES as BASE
from conceptseg.concepts.segments import Segments, fitting_scales, ring, widths
from conceptseg.data.batch import Batch
from conceptseg.data.draw import sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.engine.reading import read, some
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Tail
from conceptseg.stats.mergeable.moments import Moments
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.embed import embedded
from conceptseg.study.ace.gradients import ClassGradients, References, class_gradients, needs_labels
from conceptseg.study.shared.user_masks import MASKS, user_masks

SEGMENTS = Key("segments", SampleTable)
ACTIVATION = Key("activation", Moments)
REFERENCES = Key("references", References)
SCALES: Key[tuple[int, ...]] = Key("scales", tuple)


@dataclass(frozen=True)
class Survey(Pass):
    """One forward per image, and tail passes for the gradients of the classes that it holds."""

    study: Ace

    name = "survey"
    cost = (
        "1 forward + (1 + references) x classes tail backwards per image; with embedding: crops "
        "also 1 encoder pass per segment"
    )
    labels = "optional"

    def forwards(self, context: Context) -> float:
        """A tail forth and back is taken for a pass, the encoder too; half of the classes held."""
        study, classes = self.study, len(self.study.class_ids(context))
        passes = 1 + 0.5 * classes * (1 + study.references)
        if study.embedding == "crops":
            passes += study.expected_segments
        return len(context.manifest.samples) * passes

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        return usable_samples(self.study, context)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        given = self.study.scales
        scales = cut_scales(self.study, context)[0] if given == "auto" else given
        masks = tuple(user_masks(self.study.masks, context.manifest))
        references = References(context, self.study.references)
        yield REFERENCES(references) | SCALES(scales) | MASKS(masks)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        return SCALES(known[SCALES])

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        study, tables = self.study, SampleTable.empty(self.study.images_per_class)
        images = list(batch.images.float().cpu().numpy())
        # Superpixels are cut beside the network's passes; both leave the interpreter to others.
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            cut = threads.map(partial(study.segments, scales=known[SCALES]), images)
            tail = Tail.of(context.model, batch.images, context.levels, graph=True)
            starts = known[REFERENCES].of(batch.ids, tail.activation.shape[-2:])
            classes = study.class_ids(context)
            gradients = class_gradients(tail, classes, study.target, starts, batch.labels)
            segments = [
                one.with_regions([mask.read(name, one.maps.shape[1:]) for mask in known[MASKS]])
                for name, one in zip(batch.ids, cut, strict=True)
            ]
        moments = Moments.empty(tail.activation.shape[1])
        for i, sample_id in enumerate(batch.ids):
            activation = tail.activation[i].detach()
            moments = moments.merge(Moments.of(activation.flatten(1).T.float().cpu().numpy()))
            if gradients[i].classes:
                one = SampleTable.of(
                    sample_id,
                    self._tables(context, batch, i, tail, gradients[i], segments[i]),
                    priority=sample_priority(context.seed, sample_id),
                    classes=gradients[i].classes,
                    capacity=study.images_per_class,
                )
                tables = tables.merge(one)
        return SEGMENTS(tables) | ACTIVATION(moments)

    def _tables(
        self,
        context: Context,
        batch: Batch,
        i: int,
        tail: Tail,
        gradients: ClassGradients,
        segments: Segments,
    ) -> dict[str, np.ndarray]:
        """The tables of the i-th image: a row per segment, a row per class that is present."""
        predicted = label_map(tail.logits[i]).cpu().numpy()
        labels = None if batch.labels is None else batch.labels[i].cpu().numpy()
        n_classes = tail.logits.shape[1]
        shares = segments.shares(predicted, n_classes)
        around = np.zeros_like(shares)
        for c in gradients.classes:
            around[:, c] = segments.shares(ring(predicted == c).astype(np.int64), 2)[:, 1]
        # Where there is no label at all the network's own prediction has to serve.
        truth = predicted if labels is None or not (labels >= 0).any() else labels
        activation = tail.activation[i].detach()
        return {
            **embedded(self.study, context, context.model, batch.images[i], segments, activation),
            "segments": segments.packed(),
            "level": segments.level,
            "given": segments.level - (len(segments.maps) - len(self.study.masks)),
            "number": np.arange(len(segments), dtype=np.int32),
            "box": segments.box,
            "area": (segments.area / predicted.size).astype(np.float32),
            "share": shares.astype(np.float32),
            "ring": around.astype(np.float32),
            "truth": segments.shares(truth, n_classes).astype(np.float32),
            "class": np.array(gradients.classes, dtype=np.int32),
            "local": gradients.local.cpu().numpy(),
            "path": gradients.path.cpu().numpy(),
        }


MEASURED = 8
"""Images on which the classes' widths are measured."""


def cut_scales(study: Ace, context: Context) -> tuple[tuple[int, ...], str, float]:
    """The scales at which images are cut, and the class that is narrowest, with its width.

    A class's width is the median over images in which the network predicts it. The class is "" and
    the width nan where none is predicted.
    """
    found: list[np.ndarray] = []
    size = (1, 1)
    for batch in read(context, some(context, MEASURED), "none"):
        with torch.no_grad():
            predicted = label_map(context.model(batch.images)).cpu().numpy()
        size = (int(predicted.shape[1]), int(predicted.shape[2]))
        found += [widths(one, len(context.model.classes)) for one in predicted]
    classes = list(study.class_ids(context))
    medians = np.array([_median(np.array(found)[:, c]) for c in classes])
    given = () if study.scales == "auto" else study.scales
    if not np.isfinite(medians).any():
        return given or BASE, "", float("nan")
    narrow = int(np.nanargmin(medians))
    name, least = context.model.classes[classes[narrow]], float(medians[narrow])
    return given or fitting_scales(least, size), name, least


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def usable_samples(study: Ace, context: Context) -> Sequence[Sample]:
    """All, or those with labels where these make up the region on which a class is scored."""
    manifest = context.manifest
    return manifest.labelled_samples() if needs_labels(study.target) else manifest.samples
