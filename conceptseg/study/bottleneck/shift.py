"""The gate put to the test: the same images, spoilt, as a network may meet them in the field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptseg.data.batch import Batch
from conceptseg.data.draw import drawn, sample_priority
from conceptseg.data.manifest import Sample
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Key, Known
from conceptseg.report.panels import Palette
from conceptseg.result.columns import labels_of
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.bottleneck.confidence import NAMES
from conceptseg.study.bottleneck.config import Bottleneck
from conceptseg.study.bottleneck.judge import JUDGED, Judged
from conceptseg.study.bottleneck.measure import class_counts, drawn_as, look
from conceptseg.study.bottleneck.predictor import Scored
from conceptseg.study.bottleneck.tables import PREDICTED_MEAN, TRUE_MEAN
from conceptseg.study.shared.overlap import class_mean

SPOILT, SHIFTED = Key("shift", SampleTable), Key("shifted", Table)
SPOILT_PICTURES = Key("shift_pictures", SampleTable)
KEPT_PICTURES = Key("spoilt_pictures", SampleTable)
KINDS = ("as it is", "noise", "blur", "dark", "inverted")
PICTURED_MOST = 6
"""Spoilt images that are pictured."""
SPOILT_LIKE = {"noise": "noisy", "blur": "blurred", "dark": "dark", "inverted": "inverted"}
"""How images of a kind are called."""


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
        wanted = set(drawn(context.seed, known[JUDGED].ids, self.study.shift_images))
        return context.manifest.named(wanted)

    def map(self, context: Context, batch: Batch, known: Known) -> Known:
        every, pictures = [], dict[str, list[bytes]]()
        shown = drawn(context.seed, known[JUDGED].ids, PICTURED_MOST)
        palette = Palette.of(context.manifest, context.model.classes)
        for kind in KINDS:
            images = spoilt(batch.images, kind, batch.ids, context.seed)
            logits, numbers = look(self.study, context, images)
            for i, name in enumerate(batch.ids):
                if name in shown:
                    truth = None if batch.labels is None else batch.labels[i]
                    data = drawn_as(images[i], truth, logits[i], palette, self.study.picture_px)
                    pictures.setdefault(name, []).append(data)
            every.append(numbers | {"counts": class_counts(logits, batch.labels).swapaxes(0, 1)})
        names = ("pooled", "confidence", "counts")
        arrays = {name: np.stack([each[name] for each in every], 1) for name in names}
        drawings = SampleTable.empty()
        for name, each in pictures.items():
            row = {
                "length": np.array(list(map(len, each))),
                "bytes": np.frombuffer(b"".join(each), np.uint8),
            }
            drawings = drawings.merge(SampleTable.of(name, row))
        return SPOILT(SampleTable.batch(batch.ids, arrays)) | SPOILT_PICTURES(drawings)


def pictures_of(table: SampleTable) -> tuple[list[dict[str, str]], dict[str, bytes]]:
    """Of each pictured image and kind of damage a row, and the pictures by their keys."""
    rows, pictures = [], {}
    for sample_id in table.ids:
        own = table.tables[sample_id]
        parts = np.split(own["bytes"], np.cumsum(own["length"])[:-1])
        for kind, part in zip(KINDS, parts, strict=True):
            key = safe_key(f"spoilt-{kind}-{sample_id}")
            rows.append({"kind": kind, "sample": sample_id, "picture": key})
            pictures[key] = part.tobytes()
    return rows, pictures


def try_gate(study: Bottleneck, context: Context, known: Known) -> Known:
    """What gate and intervals make of each kind of damage; nothing if no image was spoilt."""
    nothing = SampleTable.empty()
    kept = KEPT_PICTURES(known.get(SPOILT_PICTURES, nothing))
    return SHIFTED(shifted(study, known[JUDGED], known.get(SPOILT, nothing))) | kept


def shifted(study: Bottleneck, judged: Judged, table: SampleTable) -> Table:
    """A row for each kind of damage, from the spoilt images that the table holds.

    `quality` is the mean true quality of the spoilt images, `predicted` the mean prediction: of
    images as they are by the folds that did not see them, of others by the saved predictor.
    `covered` is the share of the accepted ones whose interval holds.
    """
    rows, ids, known = [], list(judged.class_ids), judged.ids
    own = [known.index(name) for name in table.ids]
    for place, kind in enumerate(KINDS if own else ()):
        pooled, confidence, counts = (
            table.column(name)[:, place] for name in ("pooled", "confidence", "counts")
        )
        overlap = study.overlap(*counts[:, :, ids].swapaxes(0, 1))
        quality = class_mean(np.where(np.isfinite(judged.classes[own]), overlap, np.nan))
        if kind == KINDS[0]:
            scored = unseen(study, judged, own)
        else:
            size = confidence[:, NAMES.index("foreground")]
            scored = judged.predictor.score(pooled, confidence, size)
        inside = scored.inside
        held_in = (quality >= scored.low - 1e-9) & (quality <= scored.high + 1e-9)
        rows.append(
            {
                "kind": kind,
                "images": len(quality),
                "outside": 1 - inside.mean(),
                TRUE_MEAN.key: quality.mean(),
                PREDICTED_MEAN.key: scored.quality.mean(),
                "covered": held_in[inside].mean() if inside.any() else None,
            }
        )
    labels = {"outside": "rejected by the gate", "covered": "covered, of those accepted"}
    labels |= labels_of([TRUE_MEAN, PREDICTED_MEAN])
    return Table(rows, labels=labels, caption="The predictor on spoilt images")


def trusted_wrongly(row: Mapping[str, Any], coverage: float) -> bool:
    """Whether images of a kind pass the gate and are given a quality better than they have.

    Of the n images that pass, the intervals of fewer hold the truth than would of one in twenty
    data sets if each held it with probability `coverage`: binomial, over the four kinds
    (Bonferroni).
    """
    from scipy.stats import binom

    if row["kind"] == KINDS[0] or row["covered"] is None:
        return False
    passed = round((1 - row["outside"]) * row["images"])
    held = round(row["covered"] * passed)
    rare = binom.cdf(held, passed, coverage) <= ALPHA / len(SPOILT_LIKE)
    return bool(rare and row[PREDICTED_MEAN.key] > row[TRUE_MEAN.key])


def unseen(study: Bottleneck, judged: Judged, rows: Sequence[int]) -> Scored:
    """Some of the judged rows as folds score them that did not see them; no ends outside."""
    return Scored(
        judged.fitted[study.deploy].predicted[0, rows],
        judged.low[rows],
        judged.high[rows],
        np.where(judged.outside[rows], np.inf, 0.0),
    )


def spoilt(images: Tensor, kind: str, ids: Sequence[str], seed: int) -> Tensor:
    """Images [n, c, h, w] in [0, 1], damaged; noise depends on seed and sample alone."""
    if kind == "as it is":
        return images
    if kind == "dark":
        return images / 3
    if kind == "inverted":
        return 1 - images
    if kind == "blur":
        return _blurred(images, max(0.5, 0.02 * min(images.shape[2:])))
    draws = [np.random.default_rng(sample_priority(seed, name)) for name in ids]
    noise = np.stack([draw.normal(0, 0.1, images.shape[1:]) for draw in draws])
    return (images + torch.from_numpy(noise).to(images)).clamp(0, 1)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian of standard deviation sigma px along both axes; edges are repeated."""
    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel, channels = torch.exp(-0.5 * (at / sigma) ** 2), images.shape[1]
    kernel = (kernel / kernel.sum()).expand(channels, 1, -1)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, kernel[:, :, None, :], groups=channels)
    return F.conv2d(across, kernel[:, :, :, None], groups=channels)
