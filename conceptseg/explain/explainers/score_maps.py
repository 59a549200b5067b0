"""Score maps: the network's own class score, painted on regions of the image."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional

from conceptseg.catalogue import technique
from conceptseg.errors import InputError
from conceptseg.explain.contract import Explainer
from conceptseg.explain.scene import Scene
from conceptseg.explain.target import Target
from conceptseg.network.label_map import label_map


@technique(family="score", source="Schorr et al. 2021, 10.3390/app11052199")
class ScoreMaps(Explainer):
    """The class's own score, averaged over segments of the image that are ranked by it.

    R is the target class's score at each pixel: its probability or logit, or its channel of a
    layer that has one for each class. Five views of it:

    - `segmented`: Felzenszwalb segments at several scales overlap; again and again the one with
      the highest mean of R over its pixels not yet covered is added, and those pixels are painted
      with that mean, until all are covered (XRAI's ranking, with R in the place of gradients);
    - `guided`: the same with the predicted regions of all classes among the segments;
    - `similarity`: the predicted regions alone, each painted with its mean of R;
    - `fusion`: the highest score of any class, at each pixel; the same for all targets;
    - `scores`: R itself.

    In units of R; the first three keep its sum over the image. One forward pass.

    Nothing is asked of the network but its answer: the views show where a class scores, not why,
    and cannot show context that matters to a score elsewhere. The ranking can turn over at near
    ties, so a small change of R may repaint a region.

    Departures: of the target the class counts, region and score do not (an empty region still
    gives zeros). R is resized bilinearly, not bicubically, so it keeps its range. The published
    code drops XRAI's rule that a segment adds at least 50 new pixels; `least_new_pixels` has it
    back, and what is then left is painted with its own mean. Its fusion leaves the last class
    out, here all take part. Segments are those of the channels that the network is given.

    Source: Schorr et al., "Neuroscope: An Explainable AI Toolbox for Semantic Segmentation and
    Image Classification of Convolutional Neural Nets", Applied Sciences 11(5), 2021; ranking:
    Kapishnikov et al., "XRAI", arXiv:1906.02825, algorithm 1.
    """

    view: Literal["segmented", "guided", "similarity", "fusion", "scores"] = Field(
        "segmented", description="How the score is shown; see above."
    )
    score_layer: str = Field(
        "auto", description="Layer with one channel for each class; auto: the network's output."
    )
    score: Literal["probability", "logit"] = Field(
        "probability", description="What is read of the network's output; not used with a layer."
    )
    classes: tuple[int, ...] | None = Field(
        None, min_length=1, description="Classes that take part in fusion and similarity; else all."
    )
    scales: tuple[float, ...] = Field(
        (50.0, 100.0, 150.0, 250.0, 500.0, 1200.0),
        min_length=1,
        description="Felzenszwalb's scales: larger ones make larger segments.",
    )
    sigma: float = Field(
        0.8, ge=0, le=100, description="Smoothing before segmentation, in its pixels."
    )
    min_size: int = Field(150, ge=1, description="Least size of a segment, in those pixels.")
    size_px: int | None = Field(
        224, ge=8, description="Images are made square, of this side, for segmentation; none: kept."
    )
    dilation_px: int = Field(5, ge=0, description="How far segments grow, to hold their edges.")
    least_new_pixels: int = Field(
        1, ge=1, description="A segment must add as many pixels to be taken; XRAI has 50."
    )

    @property
    def classes_only(self) -> bool:
        return True

    def check(self, scene: Scene) -> None:
        count = scene.logits.shape[1]
        for class_id in self.classes or ():
            if not 0 <= class_id < count:
                raise InputError(f"class {class_id} is not among the {count} of the network")
        named = self.score_layer != "auto"
        channels = scene.tail(self.score_layer).activation.shape[1] if named else count
        if channels != count:
            raise InputError(
                f"layer {self.score_layer!r} has {channels} channels, not one for each of the "
                f"{count} classes; take score_layer: auto"
            )

    def attribute(self, scene: Scene, targets: Sequence[Target]) -> Tensor:
        ids = [scene.fix(target).class_id for target in targets]
        scores = self.scores(scene)
        if self.view == "fusion":
            chosen = slice(None) if self.classes is None else list(self.classes)
            best = scores[:, chosen].amax(1)
            return best.expand(len(ids), *best.shape)
        if self.view == "scores":
            return scores[:, ids].transpose(0, 1)
        if not scores.isfinite().all():
            raise InputError("the scores are not finite; does the network return NaN?")
        prediction = label_map(scene.logits).cpu().numpy()
        values = scores.cpu().double().numpy()
        found = np.empty((len(ids), *prediction.shape))
        seen = scene.model.preprocessing.channels
        for i, image in enumerate(scene.images if seen is None else scene.images[:, list(seen)]):
            segments = list(self.segments(image)) if self.view != "similarity" else []
            for t, class_id in enumerate(ids):
                regions = self._regions(prediction[i], values.shape[1], class_id)
                members = stacked([*segments, *regions])
                found[t, i] = ranked(values[i, class_id], members, self.least_new_pixels)
        return torch.from_numpy(found).float().to(scene.images.device)

    def scores(self, scene: Scene) -> Tensor:
        """The score of each class at each pixel, [n, k, h, w]."""
        if self.score_layer == "auto":
            return scene.logits.softmax(1) if self.score == "probability" else scene.logits
        found = scene.tail(self.score_layer).activation.detach()
        return functional.interpolate(found, size=scene.size, mode="bilinear")

    def segments(self, image: Tensor) -> Iterator[np.ndarray]:
        """Booleans [h, w] of each segment of an image [c, h, w], scale by scale."""
        size = (image.shape[1], image.shape[2])
        pixels = self._prepared(image)
        for scale in self.scales:
            labels = _felzenszwalb(pixels, scale, self.sigma, self.min_size)
            rows, columns = (
                ((np.arange(full) + 0.5) * part / full).astype(int)
                for full, part in zip(size, labels.shape, strict=True)
            )
            yield from _grown(labels[rows][:, columns], self.dilation_px)

    def _prepared(self, image: Tensor) -> np.ndarray:
        """Pixels [y, x, c] from -1 to 1, the range that the scales are made for."""
        from skimage.transform import resize

        pixels = np.moveaxis(image.cpu().double().numpy(), 0, -1)
        low, high = pixels.min(), pixels.max()
        pixels = 2 * (pixels - low) / (high - low) - 1 if high > low else np.zeros_like(pixels)
        if self.size_px is None:
            return np.ascontiguousarray(pixels)
        return np.asarray(resize(pixels, (self.size_px, self.size_px), order=3, anti_aliasing=True))

    def _regions(self, prediction: np.ndarray, count: int, class_id: int) -> list[np.ndarray]:
        """Where classes are predicted, in those views that look at it."""
        if self.view == "segmented":
            return []
        chosen: Sequence[int] = range(count)
        if self.view == "similarity" and self.classes is not None:
            chosen = sorted({*self.classes, class_id})
        return [prediction == other for other in chosen]


def stacked(masks: Sequence[np.ndarray]) -> csr_matrix:
    """Booleans [h, w] of m segments as a sparse matrix [m, h w]."""
    from scipy.sparse import csr_matrix

    pixels = [np.flatnonzero(mask) for mask in masks]
    ends = np.cumsum([0, *(len(found) for found in pixels)])
    return csr_matrix(
        (np.ones(ends[-1]), np.concatenate(pixels), ends), shape=(len(masks), masks[0].size)
    )


def ranked(values: np.ndarray, members: csr_matrix, least: int = 1) -> np.ndarray:
    """Values [h, w] averaged over segments [m, h w], the highest mean of new pixels first.

    Each pixel is painted once, by the first segment taken that holds it, with the mean of the
    values that this segment newly covers. Of equal means the earliest segment is taken. Segments
    with fewer than `least` new pixels are passed over; pixels left at the end share their mean.
    """
    flat = values.ravel()
    # Sums and counts of what is not covered yet are kept up to date: each pixel leaves them once.
    sums, counts = members @ flat, np.diff(members.indptr).astype(np.int64)
    holders: Any = members.T.tocsr()
    # Sums that were updated differ in their last digits though they be equal.
    near = 1e-9 * float(np.abs(flat).max())
    painted, left = np.zeros_like(flat), np.ones(flat.size, dtype=bool)
    while True:
        gains = np.where(counts >= least, sums / np.maximum(counts, 1), -np.inf)
        best = gains.max()
        if best == -np.inf:
            break
        taken = int(np.argmax(gains >= best - near))
        held = members.indices[members.indptr[taken] : members.indptr[taken + 1]]
        new = held[left[held]]
        painted[new] = flat[new].mean()
        left[new] = False
        leaving = holders[new]
        sums -= flat[new] @ leaving
        counts -= np.bincount(leaving.indices, minlength=counts.size)
    if left.any():
        painted[left] = flat[left].mean()
    return painted.reshape(values.shape)


def _felzenszwalb(pixels: np.ndarray, scale: float, sigma: float, min_size: int) -> np.ndarray:
    from skimage.segmentation import felzenszwalb

    with warnings.catch_warnings():
        # It warns of images with more than three channels, and takes them rightly.
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        found = felzenszwalb(pixels, scale=scale, sigma=sigma, min_size=min_size)
    return np.asarray(found)


def _grown(labels: np.ndarray, radius: int) -> Iterator[np.ndarray]:
    """Each label's pixels, dilated by a disk; the work is done in the box that they fill.

    A pixel is in it that lies at most `radius` from one of them, which takes the same time for any
    radius.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    for label, box in enumerate(find_objects(labels + 1)):
        if box is None:
            continue
        wide = tuple(slice(max(side.start - radius, 0), side.stop + radius) for side in box)
        mask = np.zeros(labels.shape, dtype=bool)
        mask[wide] = distance_transform_edt(labels[wide] != label) <= radius
        yield mask
