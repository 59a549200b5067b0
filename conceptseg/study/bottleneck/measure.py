"""The sweep of a bottleneck study: pooled activations, confidence, and overlap with the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.report.panels import Palette, panels
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.bottleneck.confidence import NAMES, agreement, summaries

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.study.bottleneck.config import Bottleneck

TABLE, PICTURES = Key("measured", SampleTable), Key("pictures", SampleTable)


@dataclass(frozen=True)
class Measured:
    """What was measured in each image, in the order of the ids.

    `pooled` [n, 3 u] float32: means, then spreads, then maxima of the layer's units. `confidence`
    [n, b]. Pixel counts [n, k] int64 of each class: `shared` by prediction and labels, `predicted`
    where labels are known, `labelled`; all zero for an image without labels. `peak` [n, k]: the
    class's largest probability in the image. `size` [n]: share predicted as a studied class.
    """

    ids: tuple[str, ...]
    pooled: np.ndarray
    confidence: np.ndarray
    shared: np.ndarray
    predicted: np.ndarray
    labelled: np.ndarray
    peak: np.ndarray
    pictures: dict[str, bytes]

    @property
    def size(self) -> np.ndarray:
        return np.asarray(self.confidence[:, NAMES.index("foreground")])


MEASURED = Key("measured images", Measured)


@dataclass(frozen=True)
class Measure(Pass):
    """One forward per image that also records the layer, and one of the mirrored image."""

    study: Bottleneck

    name = "measure"
    cost = "1 forward per image, and 1 of its mirror image"
    labels = "optional"

    def forwards(self, context: Context) -> float:
        return len(context.manifest.samples) * (2.0 if self.study.flip else 1.0)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        logits, numbers = look(self.study, context, batch.images)
        context.model.check_finite(logits, batch.ids)
        counts = class_counts(logits.argmax(1), batch.labels, logits.shape[1])
        shown = shown_ids(self.study, context)
        palette = Palette.of(context.manifest, context.model.classes)
        pictures = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            if sample_id in shown:
                truth = None if batch.labels is None else batch.labels[i].cpu().numpy()
                prediction = logits[i].argmax(0).cpu().numpy()
                image = batch.images[i].float().cpu().numpy()
                data = panels(image, truth, prediction, palette, self.study.picture_px)
                picture = {"picture": np.frombuffer(data, dtype=np.uint8)}
                pictures = pictures.merge(SampleTable.of(sample_id, picture))
        return TABLE(by_sample(batch.ids, numbers | counts)) | PICTURES(pictures)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table, pictures = state[TABLE], state[PICTURES]
        names = ("pooled", "confidence", "shared", "predicted", "labelled", "peak")
        shown = {key: pictures.tables[key]["picture"].tobytes() for key in pictures.ids}
        columns = {name: table.column(name) for name in names}
        return MEASURED(Measured(tuple(table.ids), pictures=shown, **columns))


def look(
    study: Bottleneck, context: Context, images: Tensor
) -> tuple[Tensor, dict[str, np.ndarray]]:
    """Logits [n, k, h, w] of images, and what is read of each: pooled units [n, 3 u] of the layer,
    confidence [n, b], with that of the mirror images if wanted, and each class's peak [n, k]."""
    import torch

    from conceptseg.network.record import Recorder

    studied = study.class_ids(context)
    with torch.no_grad():
        with Recorder(context.model, [context.layer]) as recorder:
            logits = recorder(images)
        assert logits is not None
        confidence, peak = summaries(logits, studied)
        if study.flip:
            mirrored = context.model(images.flip(3)).argmax(1).flip(2)
            agreed = agreement(logits.argmax(1), mirrored, studied)
            confidence = torch.cat([confidence, agreed], 1)
    units = pooled(recorder.activations[context.layer])
    numbers = {"pooled": units, "confidence": confidence, "peak": peak}
    return logits, {name: each.cpu().numpy() for name, each in numbers.items()}


def pooled(activation: Tensor) -> Tensor:
    """Mean, standard deviation and maximum over the positions of each unit, float32 [n, 3 u]."""
    import torch

    flat = activation.detach().flatten(2).float()
    spread = flat.std(2, correction=0)
    return torch.cat([flat.mean(2), spread, flat.amax(2)], 1)


def by_sample(ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> SampleTable:
    """The rows of arrays [n, ...], each with its sample."""
    table = SampleTable.empty()
    for i, sample_id in enumerate(ids):
        row = {name: array[i : i + 1] for name, array in arrays.items()}
        table = table.merge(SampleTable.of(sample_id, row))
    return table


def class_counts(prediction: Tensor, labels: Tensor | None, k: int) -> dict[str, np.ndarray]:
    """Pixels of each class, int64 [n, k]: in both, predicted, labelled; ignored ones in none."""
    import torch

    n = len(prediction)
    if labels is None:
        return dict.fromkeys(("shared", "predicted", "labelled"), np.zeros((n, k), np.int64))
    known = (labels >= 0) & (labels < k)
    image = torch.arange(n, device=prediction.device)[:, None, None].expand_as(prediction) * k

    def count(classes: Tensor, where: Tensor) -> np.ndarray:
        cells = torch.bincount((image + classes)[where], minlength=n * k)
        return np.asarray(cells.reshape(n, k).cpu())

    return {
        "shared": count(prediction, known & (prediction == labels)),
        "predicted": count(prediction, known),
        "labelled": count(labels, known),
    }


def shown_ids(study: Bottleneck, context: Context) -> frozenset[str]:
    """Images whose pictures are kept: the first by hash, known before any is read."""
    ids = [sample.id for sample in context.manifest.samples]
    ranked = sorted(ids, key=lambda name: (sample_priority(context.seed, name), name))
    return frozenset(ranked[: study.map_images])
