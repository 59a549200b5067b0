"""The gate put to the test: the same images, spoilt, as a network may meet them in the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.bottleneck.confidence import NAMES
from conceptseg.study.bottleneck.judge import JUDGED, Judged
from conceptseg.study.bottleneck.measure import by_sample, class_counts, look
from conceptseg.study.bottleneck.predictor import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.bottleneck.config import Bottleneck

SPOILT = Key("shift", SampleTable)
KINDS = ("as it is", "noise", "blur", "dark", "inverted")


@dataclass(frozen=True)
class Shifted:
    """Per kind of damage: images, share rejected, and of those accepted the share covered.

    `quality` is the mean true quality of the spoilt images, `predicted` the mean prediction:
    of images as they are by the folds that did not see them, of others by the saved predictor.
    """

    kind: str
    images: int
    outside: float
    quality: float
    predicted: float
    covered: float


SHIFTED: Key[list[Shifted]] = Key("shifted", list)


@dataclass(frozen=True)
class Shift(Pass):
    """A few images, spoilt in four ways, put to the saved predictor; and each as it is.

    The predictor has seen them as they are, and would flatter itself there: for that row each is
    taken by the models and the gate of the other folds.

    Noise of standard deviation 0.1, a Gaussian blur of 2 % of the shorter side, a third of the
    brightness, and 1 - x. All lie outside of what the predictor was fitted on; the gate should say
    so wherever the network's quality no longer follows the prediction.
    """

    study: Bottleneck

    name = "shift"
    cost = "10 forwards per image, on a few images"
    labels = "optional"

    def forwards(self, context: Context) -> float:
        count = min(self.study.shift_images, len(context.manifest.samples))
        return count * len(KINDS) * (2.0 if self.study.flip else 1.0)

    def samples(self, context: Context, known: Known) -> Sequence[Sample]:
        """The first by hash among those with a quality."""
        ids = known[JUDGED].ids
        ranked = sorted(ids, key=lambda name: (sample_priority(context.seed, name), name))
        wanted = set(ranked[: self.study.shift_images])
        return [sample for sample in context.manifest.samples if sample.id in wanted]

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        every = []
        for kind in KINDS:
            images = spoilt(batch.images, kind, batch.ids, context.seed)
            logits, numbers = look(self.study, context, images)
            counts = class_counts(logits.argmax(1), batch.labels, logits.shape[1])
            every.append(numbers | {"counts": np.stack([*counts.values()], 1)})
        names = ("pooled", "confidence", "counts")
        arrays = {name: np.stack([each[name] for each in every], 1) for name in names}
        return SPOILT(by_sample(batch.ids, arrays))


def try_gate(study: Bottleneck, context: Context, known: Known) -> Known:
    """What gate and intervals make of each kind of damage; nothing if no image was spoilt."""
    table = known.get(SPOILT, SampleTable.empty())
    return SHIFTED(shifted(study, known[JUDGED], table) if table.ids else [])


def shifted(study: Bottleneck, judged: Judged, table: SampleTable) -> list[Shifted]:
    """A row for each kind of damage, from the spoilt images that the table holds."""
    ids = list(judged.class_ids)
    pooled, confidence = table.column("pooled"), table.column("confidence")
    counts = table.column("counts")
    size = confidence[..., NAMES.index("foreground")]
    place_of = {name: place for place, name in enumerate(judged.ids)}
    own = [place_of[name] for name in table.ids]
    counted = np.isfinite(judged.classes[own])
    rows = []
    for place, kind in enumerate(KINDS):
        shared, predicted, held = (counts[:, place, which][:, ids] for which in range(3))
        overlap = np.where(counted, study.overlap(shared, predicted, held), np.nan)
        quality = np.nanmean(overlap, axis=1)
        if kind == KINDS[0]:
            scored = unseen(study, judged, own)
        else:
            scored = judged.predictor.score(pooled[:, place], confidence[:, place], size[:, place])
        inside = scored.inside
        held_in = (quality >= scored.low - 1e-9) & (quality <= scored.high + 1e-9)
        rows.append(
            Shifted(
                kind,
                len(quality),
                float(1 - inside.mean()),
                float(quality.mean()),
                float(scored.quality.mean()),
                float(held_in[inside].mean()) if inside.any() else float("nan"),
            )
        )
    return rows


def unseen(study: Bottleneck, judged: Judged, rows: Sequence[int]) -> Scored:
    """Some of the judged rows as folds score them that did not see them; no ends outside."""
    outside = judged.outside[rows]
    return Scored(
        judged.fitted[study.deploy].predicted[0, rows],
        np.where(outside, np.nan, judged.low[rows]),
        np.where(outside, np.nan, judged.high[rows]),
        np.where(outside, np.inf, 0.0),
        ~outside,
    )


def spoilt(images: Tensor, kind: str, ids: Sequence[str], seed: int) -> Tensor:
    """Images [n, c, h, w] in [0, 1], damaged; noise depends on seed and sample alone."""
    import torch

    if kind == "as it is":
        return images
    if kind == "dark":
        return images / 3
    if kind == "inverted":
        return 1 - images
    if kind == "blur":
        return _blurred(images, max(0.5, 0.02 * min(images.shape[2:])))
    noise = np.stack(
        [
            np.random.default_rng(sample_priority(seed, name)).normal(0, 0.1, images.shape[1:])
            for name in ids
        ]
    )
    added = torch.from_numpy(noise).to(images)
    return (images + added).clamp(0, 1)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian of standard deviation sigma px along both axes; edges are repeated."""
    import torch
    import torch.nn.functional as F

    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1)
    channels = images.shape[1]
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, kernel[:, :, None, :], groups=channels)
    return F.conv2d(across, kernel[:, :, :, None], groups=channels)
