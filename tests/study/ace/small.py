"""A study, its context and its data, small and in memory; and a discovery made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conceptseg.config import DataConfig, ModelConfig, RunConfig
from conceptseg.data.batch import Batch
from conceptseg.data.labels import LabelBlock
from conceptseg.data.manifest import Manifest, Sample, Source
from conceptseg.engine.contract import Context, Pass
from conceptseg.engine.known import Known
from conceptseg.network.model import SegmentationModel
from conceptseg.stats.estimate import Sampling
from conceptseg.study.ace.config import Ace
from conceptseg.study.ace.discovery import Concept, Direction, Discovery

NOTHING = Known()


class Arrays(Source):
    """Images and labels that are held."""

    def __init__(self, images: Tensor, labels: Tensor | None):
        self.images, self.given = images.numpy(), None if labels is None else labels.numpy()

    def image(self, sample: Sample) -> np.ndarray:
        return self.images[int(sample.id[1:])]

    def labels(self, sample: Sample) -> np.ndarray | None:
        return None if self.given is None else self.given[int(sample.id[1:])]

    def labelled(self, sample: Sample) -> bool:
        return self.given is not None

    def size(self, sample: Sample) -> tuple[int, int]:
        return self.images.shape[2], self.images.shape[3]

    def stamp(self, sample: Sample) -> str:
        return sample.id

    def settings(self) -> dict[str, Any]:
        return {}


def study(**changes: Any) -> Ace:
    fields: dict[str, Any] = {
        "data": DataConfig(manifest="none.yaml"),
        "model": ModelConfig(source="factory", name="none"),
        "scales": (4, 10),
        "min_images": 2,
        "nulls": 99,
        "segments_per_concept": 5,
    }
    return Ace(**{**fields, **changes})


def context(
    model: SegmentationModel,
    images: Tensor,
    layer: str,
    *,
    labels: Tensor | None = None,
    groups: list[str] | None = None,
    metadata: list[dict[str, Any]] | None = None,
) -> Context:
    """Samples are called s00, s01, ... in the order of the images."""
    samples = tuple(
        Sample(
            id=f"s{i:02d}",
            group=groups[i] if groups else f"s{i:02d}",
            metadata=metadata[i] if metadata else {},
        )
        for i in range(len(images))
    )
    block = LabelBlock(names=model.classes)
    source = Arrays(images, labels)
    manifest = Manifest("held", block, images.shape[1], samples, source)
    return Context(model, manifest, RunConfig(device="cpu", batch_size=3), layer, 0)


def batch(images: Tensor, labels: Tensor | None = None, first: int = 0) -> Batch:
    ids = tuple(f"s{first + i:02d}" for i in range(len(images)))
    return Batch(ids, ids, images, labels)


def direction(vector: Any, absent: float = 0.0) -> Direction:
    vector = np.asarray(vector, np.float64)
    return Direction(vector / np.linalg.norm(vector), absent)


def concept(number: int, members: Any, along: Direction, **changes: Any) -> Concept:
    rows = np.asarray(members, np.int64)
    fields: dict[str, Any] = {
        "number": number,
        "members": rows,
        "core": rows,
        "images": len(rows),
        "stability": 1.0,
        "auc": 1.0,
        "agreement": 1.0,
        "direction": along,
    }
    return Concept(**{**fields, **changes})


def discovery(images: int, units: int, classes: int, **changes: Any) -> Discovery:
    """One segment per image, of no class, but for `changes`; these may name `groups`."""
    segments = len(changes.get("image", range(images)))
    ids = tuple(f"s{i:02d}" for i in range(images))
    nothing = np.zeros((segments, classes), np.float32)
    fields: dict[str, Any] = {
        "sampling": Sampling(ids, changes.pop("groups", ids), "groups", 0),
        "packed": (),
        "embedding": np.zeros((segments, units), np.float32),
        "image": np.arange(images),
        "level": np.zeros(segments, np.int16),
        "given": np.full(segments, -1),
        "number": np.zeros(segments, np.int32),
        "box": np.tile(np.array([0, 0, 4, 4], np.int32), (segments, 1)),
        "area": np.full(segments, 0.1, np.float32),
        "share": nothing,
        "ring": nothing,
        "truth": nothing,
        "mean": np.zeros(units),
        "concepts": (),
        "dropped": (),
        "choices": (),
        "class_images": {c: np.arange(images) for c in range(classes)},
    }
    fields |= changes
    return Discovery(**{"place": fields["embedding"], **fields})


def swept(step: Pass, here: Context, part: Batch, known: Known = NOTHING) -> Known:
    """The state of one batch, with what the pass opens for it."""
    with step.open(here, known) as opened:
        return step.map(here, part, known | opened)


def packed(one: Ace, images: Tensor) -> tuple[np.ndarray, ...]:
    """The segments of images as a discovery keeps them."""
    return tuple(one.segments(image.numpy(), one.scales).packed() for image in images)


class Edited:
    """Logits of a model with one module's output put through a function, by a plain hook."""

    def __init__(self, model: SegmentationModel, layer: str, edit: Any):
        self.model, self.edit = model, edit
        self.module: nn.Module = model.module.get_submodule(layer)

    def __call__(self, images: Tensor) -> Tensor:
        handle = self.module.register_forward_hook(lambda module, args, out: self.edit(out))
        try:
            with torch.no_grad():
                return self.model(images)
        finally:
            handle.remove()


def activations(model: SegmentationModel, layer: str, images: Tensor) -> Tensor:
    """A module's output, by a plain hook."""
    seen: list[Tensor] = []
    Edited(model, layer, lambda out: seen.append(out.clone()) or out)(images)
    return seen[0]


def alone(model: SegmentationModel, layer: str, image: Tensor, mask: np.ndarray) -> np.ndarray:
    """A segment by hand: grey around it, cut to its box, resized, the layer averaged."""
    picture = image.clone()
    picture[:, ~torch.from_numpy(mask)] = 117 / 255
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cut = picture[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    full = F.interpolate(cut[None], size=image.shape[1:], mode="bicubic", align_corners=False)
    return activations(model, layer, full.clamp(0, 1)).mean((2, 3))[0].numpy()
