"""Whether images and masks are those that the network was trained on.

With masks, by how well its predictions agree with them, otherwise read; and by its batch norms,
which kept the mean and the variance that their inputs had in training: images that are prepared
otherwise give other ones. How sure a network is says little, for larger numbers make any surer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.agreement import agreement, confusion, confusions, displaced, renamed
from conceptseg.engine.contract import Context
from conceptseg.engine.otherwise import (
    MEAN_COLOUR,
    Changes,
    as_yaml,
    readings,
    reversed_channels,
    scalings,
)
from conceptseg.engine.reading import read, some
from conceptseg.engine.renaming import IMAGES, ORDER, followed, in_words
from conceptseg.engine.verdicts import Verdict
from conceptseg.network.label_map import label_map
from conceptseg.network.norms import Given, norms_with_statistics, watched
from conceptseg.network.preprocess import prepare

if TYPE_CHECKING:
    from conceptseg.config import Preprocessing
    from conceptseg.data.batch import Batch
    from conceptseg.network.model import SegmentationModel

CLEARLY = 0.05
"""Mean IoU by which another reading must agree better to be named."""
SURER = 0.1
"""Mean largest probability by which another reading must be surer, where nothing else tells."""
ALIKE = 1.25
"""Ratio up to which two inputs' standard deviations are of one scale."""
EARLY = 2
"""Norms, at most, that tell how numbers are scaled: the first ones, a quarter of all or less."""
LOOKED_AT = 4
"""Images that tell how numbers are scaled."""
COLOURED = 10
"""Images that tell the order of channels, which shows less."""
FITS = 0.1
"""Divergence below which norms are given what they were trained on: 0.004 to 0.06 was seen."""
CLOSE = 0.02
"""Divergence below which no other way to scale the numbers is tried."""
ADAPTED = 3.0
"""How many times closer a way that takes numbers from the images themselves must come than one that
does not, for it comes closer in any case."""
STRANGE = 0.4
"""Divergence above which nothing that was tried explains what they are given."""
BETTER = {"scale": 2.0, "colours": 1.25}
"""Ratio of divergences from which another reading fits clearly better."""


@dataclass(frozen=True)
class Fit:
    """Divergence of norms' inputs from training: of all images together, of each [n], and of all
    but each [n]."""

    pooled: float
    each: np.ndarray
    without: np.ndarray

    @classmethod
    def of(cls, given: list[Given]) -> Fit:
        return cls(
            float(np.mean([one.pooled() for one in given])),
            np.mean([one.divergence() for one in given], axis=0),
            np.mean([one.pooled_without() for one in given], axis=0),
        )

    def clearly_worse(self, other: Fit) -> bool:
        """Whether images are clearly not what was trained on, but would be with the other.

        By the pair of each image; or, where these differ much by what they show, by all together
        and by all but any one of them, if they do not fit by themselves.
        """
        if not self.pooled > BETTER["scale"] * other.pooled or other.pooled >= FITS:
            return False
        together = len(self.each) > 2 and bool((self.without > FITS).all())
        steady = bool((self.without > BETTER["scale"] * other.without).all())
        return self.over(other)[1] > 1 or (together and steady)

    def over(self, other: Fit) -> tuple[float, float, float]:
        """How many times the other's, of each image; geometric mean and its 95 % interval (t)."""
        from scipy.stats import t

        logs = np.log(np.maximum(self.each, 1e-9) / np.maximum(other.each, 1e-9))
        n = len(logs)
        if n < 3:
            return float(np.exp(logs.mean())), 0.0, float("inf")
        wide = t.ppf(0.975, n - 1) * logs.std(ddof=1) / np.sqrt(n)
        low, ratio, high = np.exp(logs.mean() + np.array([-1, 0, 1]) * wide).tolist()
        return ratio, low, high


class Prepared:
    """The look at how a batch is prepared, whose `logits` are known.

    `put_out` gives those of the network with other preprocessing. `passed` counts the images that
    go through it besides; a pass that ends early counts as the share of the norms that it reached.
    """

    def __init__(
        self,
        context: Context,
        batch: Batch,
        logits: Tensor,
        put_out: Callable[[SegmentationModel], Tensor],
    ):
        self.context, self.batch, self.logits = context, batch, logits
        self.put_out = put_out
        self.model, self.labels = context.model, batch.labels
        self.passed = 0.0

    def all(self, norms: bool = True) -> Iterator[Verdict]:
        """All that is found; without `norms` what they tell is left out."""
        kept = bool(norms_with_statistics(self.model.module))
        if self.labels is not None and bool((self.labels >= 0).any()):
            yield from self.masks(self.labels)
            if norms and kept:
                yield from self.norms(colours=False)  # masks tell the order of channels better
            return
        yield Verdict("masks", f"none; mean largest probability {_sureness(self.logits):.2f}")
        if not norms:
            return
        if kept:
            yield from self.norms(colours=True)
            return
        yield Verdict(
            "batch norms",
            "none that keep statistics of training: without masks it cannot be told whether images "
            "are prepared as in training",
        )
        yield from self.sureness()

    def masks(self, labels: Tensor) -> Iterator[Verdict]:
        """Agreement with the masks, and the readings that agree clearly better, the best ones."""
        k, names = len(self.model.classes), self.model.classes
        prediction = label_map(self.logits)
        counts = confusion(prediction, labels, k)
        own = agreement(counts).mean
        yield Verdict("masks", f"mean IoU {own:.2f} on {len(self.batch.ids)} images")
        others = list[tuple[str, str, str, float]]()
        best, order = renamed(counts)
        if best.mean > own + CLEARLY:  # classes that no other fits are of no account
            pairs = [(c, o) for c, o in enumerate(order) if best.iou[c] > 0]
            moved, more = in_words(names, pairs), followed(self._confused(k), pairs)
            if more.exchanged:
                text = f"masks fit other classes better: {moved}"
                others.append(("class names", text, f"{more.words}; {ORDER}", best.mean))
            else:
                yield Verdict("class names", more.refuted(moved, len(self.batch.ids)))
        for one in displaced(prediction, labels, k):
            what = f"masks {one.words}", "they agree better"
            others.append((*what, "check how images and masks are stored", one.mean))
        for words, key, logits in self._otherwise():
            mean = agreement(confusion(label_map(logits), labels, k)).mean
            others.append((words, "with them the masks agree better", key, mean))
        bar = max(own + CLEARLY, max(mean for *_, mean in others) - CLEARLY)
        for words, found, cure, mean in others:
            if mean > bar:
                text = f"{found}: mean IoU {mean:.2f} against {own:.2f}; {cure}"
                yield Verdict(words, text, doubt=True)

    def _confused(self, k: int) -> Iterator[Tensor]:
        """Pixels of more images by their mask's and predicted class, [n, k, k] of each batch."""
        for batch in read(self.context, some(self.context, IMAGES), "optional"):
            if batch.labels is not None:
                self.passed += len(batch.ids)
                yield confusions(label_map(self.model(batch.images)), batch.labels, k)

    def norms(self, colours: bool) -> Iterator[Verdict]:
        """What the norms say of range, mean and deviation, and of the order of channels."""
        own, images = self.model.preprocessing, self._images(LOOKED_AT)
        early = min(EARLY, max(1, len(norms_with_statistics(self.model.module)) // 4))
        here = self._given(own, images, early)
        if not here:
            yield Verdict("batch norms", "none is given a map, so that they tell nothing")
            return
        fit, tried = Fit.of(here), []
        told = _told(fit)
        if fit.pooled < CLOSE:
            yield Verdict("batch norms", told)
            if colours:
                yield from self.colours()
            return
        colours_of = torch.cat([part.float().mean((2, 3), keepdim=True) for part in images])
        for words, changes in scalings(own, colours_of):
            given = self._given(own.model_copy(update=changes), images, early)
            tried.append((Fit.of(given), words, changes))
        best, words, changes = _plainest(tried)
        if fit.clearly_worse(best):
            yield Verdict("batch norms", told)
            yield _doubt(words, changes, fit, best)
            return
        order = list(self.colours()) if colours else []  # it shows only at the right scale
        if fit.pooled > STRANGE and not any(one.doubt for one in order):
            told += (
                f"; nor do they fit any of {len(tried)} other ways to prepare them (the best is "
                f"{words}: {best.pooled:.3f}); check model.preprocessing"
            )
            yield Verdict("batch norms", told, doubt=True)
            return
        yield Verdict("batch norms", told)
        yield from order

    def colours(self) -> Iterator[Verdict]:
        """What the later half of the norms says of the order of channels, on more images."""
        own = self.model.preprocessing
        if self.batch.images.shape[1] != 3 or len(own.channels or (0, 1, 2)) != 3:
            return
        words, changes = reversed_channels(own)
        other = own.model_copy(update=changes)
        names = list(norms_with_statistics(self.model.module))
        later = names[len(names) // 2 :]
        images = self._images(COLOURED)
        here, there = (self._given(one, images, among=later) for one in (own, other))
        if not here:
            return
        fit, turned = Fit.of(here), Fit.of(there)
        ratio, low, high = fit.over(turned)
        if ratio > BETTER["colours"] and low > 1:
            yield _doubt(words, changes, fit, turned)
            return
        clear = 1 / ratio > BETTER["colours"] and high < 1
        yield Verdict(
            "channels",
            f"reversed, the batch norms are {turned.pooled:.3f} away from training against "
            f"{fit.pooled:.3f} as given, each image {1 / ratio:.2f} times as far"
            + ("" if clear else ": too little to tell without masks which order is right"),
        )

    def sureness(self) -> Iterator[Verdict]:
        """With which input the network is clearly surer, of those of its own scale."""
        own = _sureness(self.logits)
        for words, key, logits in self._otherwise(of_like_scale=True):
            other = _sureness(logits)
            if other > own + SURER:
                yield Verdict(
                    words,
                    f"make the network surer: mean largest probability {other:.2f} against "
                    f"{own:.2f}; {key}",
                    doubt=True,
                )

    def _images(self, count: int) -> list[Tensor]:
        """So many images of the data, of all their sizes, those of one size together."""
        return [batch.images for batch in read(self.context, some(self.context, count), "none")]

    def _given(
        self,
        preprocessing: Preprocessing,
        images: Sequence[Tensor],
        most: int | None = None,
        among: Collection[str] | None = None,
    ) -> list[Given]:
        """What the first norms, or those named, are given by images that are prepared so."""
        parts, norms = [], len(norms_with_statistics(self.model.module))
        for part in images:
            self.model.settle(part)
            with watched(self.model, most, among) as given:
                self.model.under(preprocessing)(part)
            share = len(given) / max(norms, 1)
            self.passed += part.shape[0] * (1 if most is None else share)
            parts.append(given)
        return _joined(parts)

    def _otherwise(self, of_like_scale: bool = False) -> Iterator[tuple[str, str, Tensor]]:
        """Logits for the images prepared in other ways: what they are called, and the keys."""
        own, images = self.model.preprocessing, self.batch.images
        spread = float(prepare(images, own).std())
        for words, changes in readings(own, images):
            other = own.model_copy(update=changes)
            scale = float(prepare(images, other).std()) / max(spread, 1e-12)
            if of_like_scale and not 1 / ALIKE <= scale <= ALIKE:
                continue
            yield words, _keys(changes), self.put_out(self.model.under(other))


def _plainest(tried: list[tuple[Fit, str, Changes]]) -> tuple[Fit, str, Changes]:
    """What fits best; of what fits nearly as well what does not adapt to the images."""
    best = min(tried, key=lambda one: one[0].pooled)
    fixed = [one for one in tried if one[2].get("normalise") != "image" and one[1] != MEAN_COLOUR]
    plain = min(fixed, key=lambda one: one[0].pooled, default=best)
    bar = min(FITS, ADAPTED * best[0].pooled)
    return plain if plain[0].pooled < bar else best


def _keys(changes: Changes) -> str:
    listed = ", ".join(f"{key}: {as_yaml(value)}" for key, value in changes.items())
    return f"try model.preprocessing {listed}"


def _told(fit: Fit) -> str:
    return (
        f"the first ones are given numbers {fit.pooled:.3f} away from training's on "
        f"{len(fit.each)} images (0 to 1; below {FITS:g} where they are prepared as in training)"
    )


def _doubt(words: str, changes: Changes, own: Fit, other: Fit) -> Verdict:
    ratio, low, high = own.over(other)
    least = float((own.without / np.maximum(other.without, 1e-9)).min())
    closer = (
        f"each image {ratio:.1f} times closer ({low:.1f} to {high:.1f}, {len(own.each)} images)"
        if low > 1
        else f"{least:.1f} times closer or more without any one of {len(own.each)} images"
    )
    return Verdict(
        words,
        f"the batch norms fit them better: {other.pooled:.3f} away from training against "
        f"{own.pooled:.3f}, {closer}; {_keys(changes)}",
        doubt=True,
    )


def _joined(batches: Sequence[list[Given]]) -> list[Given]:
    """What the norms are given by all batches together; those that all batches reach."""
    reached = [{one.name: one for one in batch} for batch in batches]
    return [
        Given(
            one.name,
            np.concatenate([batch[one.name].mean for batch in reached]),
            np.concatenate([batch[one.name].variance for batch in reached]),
            one.kept_mean,
            one.kept_variance,
        )
        for one in batches[0]
        if all(one.name in batch for batch in reached)
    ]


def _sureness(logits: Tensor) -> float:
    return float(torch.softmax(logits.float(), 1).amax(1).mean())
