"""The examination: what a network puts out, and whether it is read as it is meant to be.

Made once before the first pass, on a few images. What is certain to be wrong is refused by
InputError; what is doubtful becomes a verdict with its number and the key that settles it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.agreement import agreement, confusion, displaced, renamed
from conceptseg.engine.contract import Context
from conceptseg.engine.otherwise import as_yaml, readings
from conceptseg.engine.reading import outputs_of_labels, read, some
from conceptseg.engine.start import precision
from conceptseg.errors import InputError
from conceptseg.network.influence import acting_channels, acts
from conceptseg.network.outputs import FOLDED
from conceptseg.network.place import Placed
from conceptseg.network.preprocess import prepare
from conceptseg.network.record import encode
from conceptseg.network.values import saturated

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.network.model import SegmentationModel

IMAGES = 4
CLEARLY = 0.05
"""Mean IoU by which another reading must agree better to be named."""
SURER = 0.1
"""Mean largest probability by which another reading must be surer, where there are no masks."""
ALIKE = 1.25
"""Ratio up to which two inputs' standard deviations are of one scale."""
CHANGED = 1e-3
"""Share of pixels that may change their class by rounding alone."""
UNSURE = 0.25
"""Share of pixels without any positive logit from which classes may be independent."""

NO_CLASS = ("background", "void", "other", "unlabelled", "unlabeled", "none", "rest")


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at, what was found, and for a doubt the key that settles it."""

    what: str
    found: str
    doubt: bool = False


@dataclass(frozen=True)
class Examination:
    """All verdicts, and how many images went through the network for them.

    `classes` has a row for each of the network's outputs: the class that it counts as, the masks'
    names of it, and its IoU on the images that were looked at.
    """

    verdicts: tuple[Verdict, ...]
    classes: tuple[dict[str, Any], ...]
    images: int
    passed: int

    @property
    def doubts(self) -> tuple[Verdict, ...]:
        return tuple(one for one in self.verdicts if one.doubt)

    def recorded(self) -> dict[str, Any]:
        """As it is kept with a result."""
        return {
            "verdicts": {one.what: one.found for one in self.verdicts},
            "doubts": [asdict(one) for one in self.doubts],
            "classes": list(self.classes),
            "images": self.images,
        }


def examine(context: Context) -> Examination:
    """Look at the network's output for a few images, alone, again and otherwise read.

    Raises :class:`~conceptseg.errors.InputError` for a network that answers differently when asked
    again, or that answers for an image by what else is in the batch, and for numbers that are not
    finite.
    """
    batch = max(read(context, some(context, IMAGES), "optional"), key=len)
    with torch.no_grad(), precision(context.run):
        return _Examiner(context, batch).all()


class _Examiner:
    """One examination; counts the images that it sends through the network."""

    def __init__(self, context: Context, batch: Batch):
        self.context, self.batch = context, batch
        self.model = context.model
        self.labels = batch.labels
        self.passed = 0
        self.logits = self.forward(self.model, batch.images)
        self.model.check_finite(self.logits, batch.ids)
        self.prediction = self.logits.argmax(1)

    def forward(self, model: SegmentationModel, images: Tensor) -> Tensor:
        self.passed += images.shape[0]
        logits: Tensor = model(images)
        return logits

    def all(self) -> Examination:
        verdicts = [
            self.output(),
            self.numbers(),
            self.place(),
            *self.independence(),
            self.steadiness(),
            self.other_size(),
            self.layer(),
        ]
        rows = self.classes()
        if self.labels is not None and bool((self.labels >= 0).any()):
            verdicts += self.masks()
        else:
            verdicts += self.sureness()
        return Examination(tuple(verdicts), rows, len(self.batch.ids), self.passed)

    def output(self) -> Verdict:
        taken = self.model.interpretation.taken
        assert taken is not None, "a pass has been made"
        where = f"{taken.where} is taken" if taken.path else "the output itself"
        why = f" ({taken.rule})" if taken.path else ""
        return Verdict("output", f"{where}{why}: {len(self.model.interpretation.outputs)} classes")

    def numbers(self) -> Verdict:
        numbers = self.model.interpretation.numbers
        assert numbers is not None, "a pass has been made"
        words = f"{numbers.values.replace('_', ' ')}: {numbers.evidence}"
        if not numbers.values.endswith("probabilities"):
            return Verdict("numbers", words)
        lost = saturated(self.logits.softmax(1))
        return Verdict("numbers", f"{words}; {lost:.1%} within 1e-6 of 0 or 1", lost > 0.9)

    def place(self) -> Verdict:
        grid, size = self.model.placement.grid, self.batch.images.shape[2:]
        placed = self._placed()
        on = f"on {size[0]} x {size[1]}"
        if placed.margin != (0, 0):
            return Verdict(
                "place",
                f"a map of the image's middle, {on}: the image is mirrored at its edges by "
                f"{placed.margin[0]} x {placed.margin[1]} px in all, so that it is covered",
            )
        wanted = self.model.placement.wanted
        kind = "all over the image" if wanted is None else "as model.place says"
        return Verdict("place", f"a map of {grid[0]} x {grid[1]} {on}, {kind}" if grid else kind)

    def _placed(self) -> Placed:
        """How inputs of the images' size are run."""
        size = self.model.input_size(self.batch.images.shape[2:])
        return self.model.placement.known(size) or Placed()

    def independence(self) -> Iterator[Verdict]:
        """Whether at many pixels no class has a positive logit, as independent classes have it."""
        interpretation = self.model.interpretation
        if interpretation.independent:
            yield Verdict("classes", f"independent; {self.model.classes[1]} is studied")
            return
        none = float((self.logits.amax(1) <= 0).float().mean())
        many = len(interpretation.outputs) > 2
        named = any(name.lower().strip("_ ") in NO_CLASS for name in interpretation.outputs)
        logits = interpretation.numbers is not None and interpretation.numbers.values == "logits"
        folded = interpretation.taken is not None and interpretation.taken.rule in FOLDED
        doubt = many and not named and logits and not folded and none > UNSURE
        said = interpretation.reading.values is not None
        yield Verdict(
            "classes",
            "one at each pixel, that of the largest logit"
            + (
                f"; but at {none:.0%} of pixels no logit is positive: if each class is a yes or "
                "no of its own, give model.values: independent; if not, model.values: logits"
                if doubt
                else ""
            ),
            doubt and not said,
        )

    def steadiness(self) -> Verdict:
        """The same numbers when asked again, and for an image alone."""
        again = self.forward(self.model, self.batch.images)
        self._compare(
            self.logits,
            again,
            "puts out other numbers when it is asked again",
            "switch off what is random in evaluation (dropout by functional.dropout needs "
            "training=self.training)",
        )
        first = self.batch.images[:1]
        if len(self.batch.ids) > 1:
            self._compare(
                self.logits[:1],
                self.forward(self.model, first),
                "puts out other numbers for an image when others are beside it",
                "let each image be normalised by itself or by stored statistics (batch "
                "statistics, sums over the batch)",
            )
        mended = "; " + self.model.mended if self.model.mended else ""
        return Verdict("passes", "equal again, and for an image alone as beside others" + mended)

    def _compare(self, one: Tensor, other: Tensor, what: str, cure: str) -> None:
        changed = float((one.argmax(1) != other.argmax(1)).float().mean())
        largest = float((one - other).abs().max())
        spread = float(one.std())
        if changed > CHANGED or largest > 0.05 * max(spread, 1e-6):
            raise InputError(
                f"model {self.model.name!r} {what}: logits differ by up to {largest:.3g} (their "
                f"standard deviation is {spread:.3g}), and {changed:.1%} of pixels change their "
                f"class; {cure}"
            )

    def other_size(self) -> Verdict:
        images = self.batch.images[:1]
        if self._placed().margin != (0, 0):  # that was found out by trying other sizes
            return Verdict("other sizes", "taken")
        wider = torch.nn.functional.pad(images, (0, 32, 0, 32), mode="replicate")
        try:
            self.forward(self.model, wider)
        except InputError as error:
            return Verdict("other sizes", f"not taken: {error}")
        return Verdict("other sizes", "taken")

    def layer(self) -> Verdict:
        """Whether the layer has influence on the output: by its gradient, else by erasing it."""
        name, images = self.context.layer, self.batch.images[:1]
        try:
            u, y, x = encode(self.model, images, name).shape[1:]
        except InputError as error:
            return Verdict("layer", str(error), doubt=True)
        self.passed += 4
        size = f"{name}: {u} channels on {y} x {x}"
        if not acts(self.model, images, name):
            return Verdict(
                "layer",
                f"{size}; it has no influence on the logits, so that nothing can be shown to be "
                "used there: choose another (conceptseg layers shows them)",
                doubt=True,
            )
        try:
            acting = acting_channels(self.model, images, name)
        except InputError as error:
            return Verdict("layer", f"{size}; erasing it acts, but its gradient fails: {error}")
        if acting == 0:
            return Verdict("layer", f"{size}; it acts by steps, without a gradient")
        return Verdict("layer", f"{size}, {acting:.0%} of them act on the logits")

    def classes(self) -> tuple[dict[str, Any], ...]:
        """Each output, the class it counts as, the masks' names of it, and its IoU."""
        interpretation, manifest = self.model.interpretation, self.context.manifest
        iou = np.full(len(self.model.classes), np.nan)
        masks: dict[int, list[str]] = {}
        if self.labels is not None:
            counts = confusion(self.prediction, self.labels, len(self.model.classes))
            iou = agreement(counts).iou
            for name, place in zip(
                manifest.classes, outputs_of_labels(manifest, self.model), strict=True
            ):
                masks.setdefault(place, []).append(name)
        owner = {k: name for name, places in interpretation.groups.items() for k in places}
        rows = []
        for place, output in enumerate(interpretation.outputs):
            name = output if interpretation.independent else owner.get(place, "")
            row: dict[str, Any] = {"output": output, "class": "left out", "masks": "", "iou": None}
            if name in self.model.classes:
                c = self.model.classes.index(name)
                shown = None if np.isnan(iou[c]) else float(iou[c])
                row |= {"class": name, "masks": ", ".join(masks.get(c, [])), "iou": shown}
            rows.append(row)
        return tuple(rows)

    def masks(self) -> Iterator[Verdict]:
        """Agreement with the masks, and the readings that agree clearly better, the best ones."""
        assert self.labels is not None
        k, names = len(self.model.classes), self.model.classes
        counts = confusion(self.prediction, self.labels, k)
        own = agreement(counts).mean
        yield Verdict("masks", f"mean IoU {own:.2f} on {len(self.batch.ids)} images")
        best, order = renamed(counts)
        moved = [f"{names[c]} by {names[o]}" for c, o in enumerate(order) if c != o]
        steps = {(o - c) % k for c, o in enumerate(order) if counts[c].sum()}
        step = steps.pop() if len(steps) == 1 else 0
        shifted = f"all are shifted by {step - k * (step > k // 2):+d}: " if step else ""
        others = [
            (
                "class names",
                f"masks fit other classes better: {shifted}{', '.join(moved[:4])}",
                "check the order of model.classes and of labels.names (and labels.ignore)",
                best.mean,
            )
        ]
        for one in displaced(self.prediction, self.labels, k):
            what = f"masks {one.words}", "they agree better"
            others.append((*what, "check how images and masks are stored", one.mean))
        for words, key, logits in self._otherwise():
            mean = agreement(confusion(logits.argmax(1), self.labels, k)).mean
            others.append((words, "with them the masks agree better", key, mean))
        bar = max(own + CLEARLY, max(mean for *_, mean in others) - CLEARLY)
        for words, found, cure, mean in others:
            if mean > bar:
                text = f"{found}: mean IoU {mean:.2f} against {own:.2f}; {cure}"
                yield Verdict(words, text, doubt=True)

    def sureness(self) -> Iterator[Verdict]:
        """Without masks: how sure the network is, and with which input it is clearly surer.

        Inputs of another scale are not asked: larger numbers make any network surer.
        """
        own = _sureness(self.logits)
        yield Verdict("masks", f"none; mean largest probability {own:.2f}")
        for words, key, logits in self._otherwise(of_like_scale=True):
            other = _sureness(logits)
            if other > own + SURER:
                yield Verdict(
                    words,
                    f"make the network surer: mean largest probability {other:.2f} against "
                    f"{own:.2f}; {key}",
                    doubt=True,
                )

    def _otherwise(self, of_like_scale: bool = False) -> Iterator[tuple[str, str, Tensor]]:
        """Logits for the images prepared in other ways: what they are called, and the keys."""
        own, images = self.model.preprocessing, self.batch.images
        spread = float(prepare(images, own).std())
        for words, changes in readings(own, images):
            other = own.model_copy(update=changes)
            scale = float(prepare(images, other).std()) / max(spread, 1e-12)
            if of_like_scale and not 1 / ALIKE <= scale <= ALIKE:
                continue
            listed = ", ".join(f"{key}: {as_yaml(value)}" for key, value in changes.items())
            logits = self.forward(self.model.under(other), images)
            yield words, f"try model.preprocessing {listed}", logits


def _sureness(logits: Tensor) -> float:
    return float(logits.float().softmax(1).amax(1).mean())
