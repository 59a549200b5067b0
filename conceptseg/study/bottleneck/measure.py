"""The sweep of a bottleneck study: pooled activations, confidence, and overlap with the labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import drawn
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.record import Recorder
from conceptseg.report.panels import Palette, panels
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.bottleneck.confidence import NAMES, agreement, summaries
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.shared.overlap import pixel_counts

COUNTS = ("shared", "predicted", "labelled")
TABLE, PICTURES = Key("measured", SampleTable), Key("pictures", SampleTable)
PICTURED: Key[frozenset[str]] = Key("pictured images", frozenset)


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
        counts = dict(zip(COUNTS, class_counts(logits, batch.labels), strict=True))
        shown = known[PICTURED]
        palette = Palette.of(context.manifest, context.model.classes)
        pictures = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            if sample_id in shown:
                truth = None if batch.labels is None else batch.labels[i]
                data = drawn_as(batch.images[i], truth, logits[i], palette, self.study.picture_px)
                picture = {"picture": np.frombuffer(data, dtype=np.uint8)}
                pictures = pictures.merge(SampleTable.of(sample_id, picture))
        return TABLE(SampleTable.batch(batch.ids, numbers | counts)) | PICTURES(pictures)

    def finish(self, context: Context, state: Known, known: Known) -> Known:
        table, pictures = state[TABLE], state[PICTURES].tables
        columns = {name: table.column(name) for name in table.tables[table.ids[0]]}
        shown = {key: one["picture"].tobytes() for key, one in pictures.items()}
        return MEASURED(Measured(tuple(table.ids), pictures=shown, **columns))


def look(
    study: Bottleneck, context: Context, images: Tensor
) -> tuple[Tensor, dict[str, np.ndarray]]:
    """Logits [n, k, h, w] of images, and what is read of each: `pooled` means, standard deviations
    and maxima of the layer's units [n, 3 u], `confidence` [n, b], with that of the mirror images if
    wanted, and each class's `peak` [n, k]."""
    studied = study.class_ids(context)
    with torch.no_grad():
        with Recorder(context.model, [context.layer]) as recorder:
            logits = recorder(images)
        assert logits is not None
        confidence, peak = summaries(logits, studied)
        if study.flip:
            mirrored = label_map(context.model(images.flip(3))).flip(2)
            agreed = agreement(label_map(logits), mirrored, studied)
            confidence = torch.cat([confidence, agreed], 1)
    flat = recorder.activations[context.layer].detach().flatten(2).float()
    pooled = torch.cat([flat.mean(2), flat.std(2, correction=0), flat.amax(2)], 1)
    numbers = {"pooled": pooled, "confidence": confidence, "peak": peak}
    return logits, {name: each.cpu().numpy() for name, each in numbers.items()}


def drawn_as(
    image: Tensor, labels: Tensor | None, logits: Tensor, palette: Palette, side: int
) -> bytes:
    """An image [c, h, w] beside its labels [h, w], if it has some, and what logits [k, h, w]
    predict."""
    truth = None if labels is None else labels.cpu().numpy()
    prediction = label_map(logits).cpu().numpy()
    return panels(image.float().cpu().numpy(), truth, prediction, palette, side)


def class_counts(logits: Tensor, labels: Tensor | None) -> np.ndarray:
    """Pixels of each class as :func:`pixel_counts`, int64 [3, n, k]; none without labels."""
    n, k = logits.shape[:2]
    if labels is None:
        return np.zeros((3, n, k), np.int64)
    return np.asarray(pixel_counts(label_map(logits), labels, k))


def draw_pictured(study: Bottleneck, context: Context, known: Known) -> Known:
    """Images whose pictures are kept: the first by hash, known before any is read."""
    ids = context.manifest.ids
    return PICTURED(frozenset(drawn(context.seed, ids, study.map_images)))
