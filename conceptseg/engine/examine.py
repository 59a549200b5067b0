"""The examination: what a network puts out, and whether it is read as it is meant to be.

Made once before the first pass, on a few images. What is certain to be wrong is refused by
InputError; what is doubtful becomes a verdict with its number and the key that settles it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.agreement import agreement, confusion
from conceptseg.engine.contract import Context
from conceptseg.engine.crossing import crossed_names
from conceptseg.engine.independence import CURE, by_masks, is_told, look_independent
from conceptseg.engine.prepared import CLEARLY, Prepared
from conceptseg.engine.reading import outputs_of_labels, read, some
from conceptseg.engine.renaming import IMAGES as MORE
from conceptseg.engine.start import precision
from conceptseg.engine.verdicts import Examination, Verdict
from conceptseg.engine.weighing import about_layer, about_worth
from conceptseg.errors import InputError
from conceptseg.network.independent import every, pair
from conceptseg.network.label_map import label_map
from conceptseg.network.place import Placed
from conceptseg.network.values import saturated

if TYPE_CHECKING:
    from conceptseg.data.batch import Batch
    from conceptseg.network.model import SegmentationModel

IMAGES = 4
LEFT_OUT = "left out"
CHANGED = 1e-3
"""Share of pixels that may change their class by rounding alone."""
ALIKE = 0.05
"""Relative difference up to which sizes of pixels are the same."""
FITS = 0.95
"""Mean IoU with the masks from which a reading has nothing to mend."""


def examine(context: Context, others: Sequence[Context] = ()) -> Examination:
    """Look at the network's output for a few images, alone, again and otherwise read.

    `others` are further independent classes of the same network, which is asked once for all.

    Raises :class:`~conceptseg.errors.InputError` for a network that answers differently when asked
    again, or that answers for an image by what else is in the batch, for numbers that are not
    finite, and for classes that look independent where nothing says that they are not.
    """
    known: dict[str, Tensor] = {}
    examiners = []
    with torch.no_grad(), precision(context.run):
        for one in (context, *others):
            batch = max(read(one, some(one, IMAGES), "optional"), key=len)
            examiners.append(_Examiner(one, batch, known if others else None))
        first, *_ = examiners
        verdicts = first.of_network([one.model.classes[1] for one in (context, *others)])
        for each in examiners:
            own = f", {each.model.classes[1]}" if others else ""
            verdicts += [
                replace(found, what=found.what + own) for found in each.of_class(each is first)
            ]
        verdicts += crossed_names(examiners)
        tables = zip(*(each.classes() for each in examiners), strict=True)
        rows = [next((row for row in each if row["class"] != LEFT_OUT), each[0]) for each in tables]
    passed = sum(each.passed for each in examiners)
    return Examination(tuple(verdicts), tuple(rows), len(first.batch.ids), passed)


class _Examiner:
    """One examination; counts the images that it sends through the network.

    `known` holds what a network of independent classes has put out for the images, by how they
    were prepared; None where it is asked for one class alone.
    """

    def __init__(self, context: Context, batch: Batch, known: dict[str, Tensor] | None = None):
        self.context, self.batch = context, batch
        self.model = context.model
        self.labels = batch.labels
        self.passed: float = 0
        self.known = known
        self.logits = self.put_out(self.model)
        self.model.check_finite(self.logits, batch.ids)
        self.prediction = label_map(self.logits)

    def put_out(self, model: SegmentationModel) -> Tensor:
        """Logits for the images of the batch."""
        if self.known is None:
            return self.forward(model, self.batch.images)
        key = model.preprocessing.facts()
        if key not in self.known:
            model.settle(self.batch.images)
            self.known[key] = self.forward(every(model), self.batch.images)
        return pair(model, self.known[key])

    def forward(self, model: SegmentationModel, images: Tensor) -> Tensor:
        self.passed += images.shape[0]
        logits: Tensor = model(images)
        return logits

    def of_network(self, classes: Sequence[str]) -> list[Verdict]:
        """What is asked once; `classes` are those that are studied, if they are independent."""
        return [
            self.output(),
            self.numbers(),
            self.place(),
            self.independence(classes),
            self.steadiness(),
            self.other_size(),
            *self.spacing(),
        ]

    def of_class(self, first: bool) -> list[Verdict]:
        """What is asked of each independent class; of classes that are one of many once, too.

        What batch norms tell is asked for the `first` alone.
        """
        prepared = Prepared(self.context, self.batch, self.logits, self.put_out)
        verdicts = [self.layer(), self.worth(), *prepared.all(norms=first)]
        self.passed += prepared.passed
        return verdicts

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

    def independence(self, classes: Sequence[str]) -> Verdict:
        """One class at each pixel, or several yes or no; refused where nothing says which."""
        if self.model.interpretation.independent:
            names = ", ".join(classes)
            return Verdict("classes", f"independent, each a yes or no of its own; studied: {names}")
        why = look_independent(self.model, self.logits)
        plain = "one at each pixel, that of the largest logit"
        if why is None:
            return Verdict("classes", plain)
        if self.labels is not None:
            # Of few images either may fit better by chance.
            for parts in ([(self.logits, self.labels)], self._more()):
                largest, signs = by_masks(parts)
                # Where it fits as well as can be, the other reading has nothing to mend.
                if largest > signs + CLEARLY or largest >= max(signs, FITS):
                    return Verdict(
                        "classes",
                        f"{plain}: the masks agree with it (mean IoU {largest:.2f}), and not "
                        f"better with each class where its own logit is positive ({signs:.2f})",
                    )
        if not is_told(self.model, self.context.manifest):
            raise InputError(f"model {self.model.name!r}: {why}: {CURE}")
        return Verdict("classes", f"{plain}; but {why}: {CURE}", doubt=True)

    def _more(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits for more images, and their masks, by batches."""
        for batch in read(self.context, some(self.context, MORE), "optional"):
            if batch.labels is not None:
                yield self.forward(self.model, batch.images), batch.labels

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
        changed = float((label_map(one) != label_map(other)).float().mean())
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
        """Whether the layer has influence on the output."""
        self.passed += 4
        found, doubt = about_layer(self.context, self.batch.images[:1])
        return Verdict("layer", found, doubt)

    def worth(self) -> Verdict:
        """What the layer is worth to the decision, weighed when it was chosen."""
        return Verdict("layer's worth", *about_worth(self.context))

    def spacing(self) -> Iterator[Verdict]:
        """Whether pixels are of the size in mm that the network was trained on."""
        wanted = self.model.spacing
        if wanted is None:
            return
        trained = f"trained on pixels of {wanted[0]:.3g} x {wanted[1]:.3g} mm"
        manifest = self.context.manifest
        told = {name: manifest.source.spacing(manifest.sample(name)) for name in self.batch.ids}
        for name, found in told.items():
            if found is not None and not np.allclose(found, wanted, rtol=ALIKE):
                yield Verdict(
                    "spacing",
                    f"{trained}, but those of {name!r} are {found[0]:.3g} x {found[1]:.3g} mm: "
                    "images are not resampled; do so before",
                    doubt=True,
                )
                return
        known = all(found is not None for found in told.values())
        yield Verdict(
            "spacing",
            f"{trained}, as the images are"
            if known
            else f"{trained}; the images do not tell theirs, and are not resampled",
        )

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
            row: dict[str, Any] = {"output": output, "class": LEFT_OUT, "masks": "", "iou": None}
            if name in self.model.classes:
                c = self.model.classes.index(name)
                shown = None if np.isnan(iou[c]) else float(iou[c])
                row |= {"class": name, "masks": ", ".join(masks.get(c, [])), "iou": shown}
            rows.append(row)
        return tuple(rows)
