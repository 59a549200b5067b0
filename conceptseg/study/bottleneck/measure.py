"""The sweep of a quality study: pooled activations, confidence, and overlap with the labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.beside import Beside
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.engine.known import Key, Known
from conceptseg.report.panels import Palette, panels
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.bottleneck.confidence import MIRRORED, NAMES, agreement, summaries
from conceptseg.study.bottleneck.maps import LEAST

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.study.bottleneck.config import Bottleneck

MAPS = Key("maps", Beside)
POOLED = ("mean", "spread", "largest")
"""How a unit's map becomes numbers: mean, standard deviation and maximum over its positions."""


@dataclass(frozen=True)
class Measured:
    """What the sweep found of each image, in the order of the ids.

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
        found: np.ndarray = self.confidence[:, NAMES.index("foreground")]
        return found


def confidence_names(flip: bool) -> tuple[str, ...]:
    return (*NAMES, *MIRRORED) if flip else NAMES


@dataclass(frozen=True)
class Measure(Pass):
    """One forward per image that also records the layer, and one of the mirrored image."""

    study: Bottleneck

    name = "measure"
    cost = "1 forward per image, and 1 of its mirror image"
    labels = "optional"

    def forwards(self, context: Context) -> float:
        return len(context.manifest.samples) * (2.0 if self.study.flip else 1.0)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        seeds = [str(self.study.seed + number) for number in range(self.study.map_seeds)]
        enough = len(context.manifest.samples) >= LEAST
        # `finish` hands it over, so that it outlives the pass.
        yield MAPS(Beside("conceptseg.study.bottleneck.maps", *seeds, warm=enough))

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        logits, pooled = forward(context, batch.images)
        context.model.check_finite(logits, batch.ids)
        found, peak = describe(self.study, context, batch.images, logits)
        counts = class_counts(logits.argmax(1), batch.labels, logits.shape[1])
        drawn = shown_ids(self.study, context)
        palette = Palette.of(context.manifest, context.model.classes)
        table, pictures = SampleTable.empty(), SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            one = {
                "pooled": pooled[i : i + 1].cpu().numpy(),
                "confidence": found[i : i + 1].cpu().numpy(),
                "peak": peak[i : i + 1].cpu().numpy(),
                **{key: value[i : i + 1] for key, value in counts.items()},
            }
            table = table.merge(SampleTable.of(sample_id, one))
            if sample_id in drawn:
                truth = None if batch.labels is None else batch.labels[i].cpu().numpy()
                prediction = logits[i].argmax(0).cpu().numpy()
                image = batch.images[i].float().cpu().numpy()
                data = panels(image, truth, prediction, palette, self.study.picture_px)
                picture = {"picture": np.frombuffer(data, dtype=np.uint8)}
                pictures = pictures.merge(SampleTable.of(sample_id, picture))
        return {"measured": table, "pictures": pictures}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state["measured"]
        pictures = state.get("pictures", SampleTable.empty())
        assert isinstance(table, SampleTable) and isinstance(pictures, SampleTable)
        from threadpoolctl import threadpool_limits

        from conceptseg.study.bottleneck.judge import judge

        with threadpool_limits(1):  # on so small tables threads wait for each other, and no more
            judged = judge(self.study, context, gathered(table, pictures))
        drawn = shown_ids(self.study, context)
        shown = np.array([i for i, name in enumerate(judged.ids) if name in drawn], dtype=np.int64)
        maps = carry["maps"].give(judged.features["layer"].rows[shown])
        return {"judged": judged, "shown": shown, "maps": maps}


def forward(context: Context, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [n, k, h, w] and the layer's pooled units [n, 3 u] of images, from one pass."""
    import torch

    from conceptseg.network.record import Recorder

    with torch.no_grad(), Recorder(context.model, [context.layer]) as recorder:
        logits = recorder(images)
    assert logits is not None
    return logits, pooled(recorder.activations[context.layer])


def pooled(activation: Tensor) -> Tensor:
    """Mean, standard deviation and maximum over the positions of each unit, float32 [n, 3 u]."""
    import torch

    flat = activation.detach().flatten(2).float()
    spread = flat.std(2, correction=0)
    return torch.cat([flat.mean(2), spread, flat.amax(2)], 1)


def describe(
    study: Bottleneck, context: Context, images: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor]:
    """The confidence numbers of images [n, b], with those of their mirror images if wanted.

    And the largest probability of each class in each image [n, k].
    """
    import torch

    studied = study.class_ids(context)
    found, peak = summaries(logits, studied)
    if not study.flip:
        return found, peak
    with torch.no_grad():
        mirrored = context.model(images.flip(3)).argmax(1).flip(2)
    return torch.cat([found, agreement(logits.argmax(1), mirrored, studied)], 1), peak


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
        found: np.ndarray = cells.reshape(n, k).cpu().numpy()
        return found

    return {
        "shared": count(prediction, known & (prediction == labels)),
        "predicted": count(prediction, known),
        "labelled": count(labels, known),
    }


def shown_ids(study: Bottleneck, context: Context) -> frozenset[str]:
    """Images whose pictures are kept: the first by hash, known before any is read."""
    samples: Sequence[str] = [sample.id for sample in context.manifest.samples]
    ranked = sorted(samples, key=lambda one: (sample_priority(context.seed, one), one))
    return frozenset(ranked[: study.map_images])


def gathered(table: SampleTable, pictures: SampleTable) -> Measured:
    names = ("pooled", "confidence", "shared", "predicted", "labelled", "peak")
    shown = {key: pictures.tables[key]["picture"].tobytes() for key in pictures.ids}
    columns = {name: table.column(name) for name in names}
    return Measured(tuple(table.ids), pictures=shown, **columns)
