"""The gate put to the test: the same images, spoilt, as a network may meet them in the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Carry, Context, Pass, State
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.bottleneck.confidence import NAMES
from conceptseg.study.bottleneck.measure import class_counts, describe, forward
from conceptseg.study.bottleneck.predictor import Scored

if TYPE_CHECKING:
    from torch import Tensor

    from conceptseg.data.batch import Batch
    from conceptseg.data.manifest import Sample
    from conceptseg.study.bottleneck.config import Bottleneck
    from conceptseg.study.bottleneck.judge import Judged

KINDS = ("as it is", "noise", "blur", "dark", "inverted")


@dataclass(frozen=True)
class Shifted:
    """Per kind of damage: images, share turned away, and of those let in the share covered.

    `quality` is the mean true quality of the spoilt images, `predicted` what is said of them: of
    images as they are by the folds that saw nothing of them, of others by the saved predictor.
    """

    kind: str
    images: int
    outside: float
    quality: float
    predicted: float
    covered: float


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

    def samples(self, context: Context, carry: Carry) -> Sequence[Sample]:
        """The first by hash among those with a quality."""
        judged = carry["judged"]
        ranked = sorted(judged.ids, key=lambda one: (sample_priority(context.seed, one), one))
        wanted = set(ranked[: self.study.shift_images])
        return [sample for sample in context.manifest.samples if sample.id in wanted]

    def map(self, context: Context, batch: Batch, carry: Carry) -> State:
        parts: dict[str, list[np.ndarray]] = {"pooled": [], "confidence": [], "counts": []}
        for kind in KINDS:
            images = spoilt(batch.images, kind, batch.ids, context.seed)
            logits, pooled = forward(context, images)
            found, _ = describe(self.study, context, images, logits)
            counts = class_counts(logits.argmax(1), batch.labels, logits.shape[1])
            parts["pooled"].append(pooled.cpu().numpy())
            parts["confidence"].append(found.cpu().numpy())
            parts["counts"].append(np.stack([*counts.values()], 1))
        arrays = {name: np.stack(each, 1) for name, each in parts.items()}
        table = SampleTable.empty()
        for i, sample_id in enumerate(batch.ids):
            one = {name: array[i : i + 1] for name, array in arrays.items()}
            table = table.merge(SampleTable.of(sample_id, one))
        return {"shift": table}

    def finish(self, context: Context, state: State, carry: Carry) -> Carry:
        table = state.get("shift", SampleTable.empty())
        assert isinstance(table, SampleTable)
        return {"shifted": tested(self.study, context, table, carry) if table.ids else []}


def tested(study: Bottleneck, context: Context, table: SampleTable, carry: Carry) -> list[Shifted]:
    judged: Judged = carry["judged"]
    ids = list(judged.class_ids)
    pooled, confidence = table.column("pooled"), table.column("confidence")
    counts = table.column("counts")
    size = confidence[..., NAMES.index("foreground")]
    true_of = dict(zip(judged.ids, range(len(judged.ids)), strict=True))
    counted = np.isfinite(judged.classes[[true_of[name] for name in table.ids]])
    found = []
    for place, kind in enumerate(KINDS):
        shared, predicted, held = (counts[:, place, which][:, ids] for which in range(3))
        overlap = np.where(counted, study.overlap(shared, predicted, held), np.nan)
        quality = np.nanmean(overlap, axis=1)
        if kind == KINDS[0]:
            scored = unseen(study, judged, [true_of[name] for name in table.ids])
        else:
            scored = judged.predictor.score(pooled[:, place], confidence[:, place], size[:, place])
        inside = scored.inside
        held_in = (quality >= scored.low - 1e-9) & (quality <= scored.high + 1e-9)
        found.append(
            Shifted(
                kind,
                len(quality),
                float(1 - inside.mean()),
                float(quality.mean()),
                float(scored.quality.mean()),
                float(held_in[inside].mean()) if inside.any() else float("nan"),
            )
        )
    return found


def unseen(study: Bottleneck, judged: Judged, rows: Sequence[int]) -> Scored:
    """What folds that did not see them say of some of the judged rows; no end is given outside."""
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
            np.random.default_rng(sample_priority(seed, one)).normal(0, 0.1, images.shape[1:])
            for one in ids
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
