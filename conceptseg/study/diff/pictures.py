"""Last pass: images that both networks predict otherwise, and concepts as either has them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.report.panels import Palette, panels
from conceptseg.report.thumbnails import outlined
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.diff.assess import MOVED, SHIFTS
from conceptseg.study.diff.config import Diff
from conceptseg.study.diff.learn import SHARED
from conceptseg.study.diff.measure import MEASURED, PIXELS
from conceptseg.study.diff.networks import MEMBERS
from conceptseg.study.shared.packed import packed_by_name, together_by_name
from conceptseg.study.shared.sweep import One, Sweep

EXEMPLARS, MOST = 3, 6
"""Images of each concept, and classes of which images are shown."""
SHOWS = 0.5
"""A concept is outlined where its code is beyond this share of the image's largest."""
SIDES = ("before", "after")

SHOWN_IMAGES: Key[tuple[tuple[int, str], ...]] = Key("shown images", tuple)
"""A class, and an image in which its IoU changed most."""
SHOWN_CONCEPTS: Key[tuple[tuple[int, tuple[str, ...]], ...]] = Key("shown concepts", tuple)
PICTURED = Key("pictured", SampleTable)
DRAWN: Key[dict[str, bytes]] = Key("drawn", dict)
"""Pictures by their key in the result."""


def image_key(image: str, side: str) -> str:
    return f"prediction {image} {side}"


def concept_key(concept: int, image: str, side: str) -> str:
    return f"concept {concept} {image} {side}"


def choose_shown(study: Diff, context: Context, known: Known) -> Known:
    """Of each class, those that changed most first, images in which it did; concepts that changed
    most, where they are strong."""
    pixels, measured = known[PIXELS], known[MEASURED]
    iou, images = pixels.column("iou").astype(np.float64), list[tuple[int, str]]()
    for moved in sorted(known[MOVED], key=lambda one: (not one.shown, -abs(one.change.value))):
        change = np.nan_to_num(np.abs(iou[:, 1, moved.class_id] - iou[:, 0, moved.class_id]))
        order = np.lexsort((np.array(pixels.ids), -change))[: study.gallery]
        images += [(moved.class_id, pixels.ids[i]) for i in order if change[i] > 0]
    images = images[: MOST * study.gallery]
    most: dict[int, tuple[bool, float]] = {}
    for one in known[SHIFTS]:
        here = (one.shown, abs(one.change.value))
        most[one.concept] = max(most.get(one.concept, here), here)
    ranked = sorted(most, key=lambda q: (*(-x for x in most[q]), q))[: study.cards]
    mean, shown = measured.column("mean"), []
    for q in ranked:
        best = np.argsort(-mean[:, :2, q].max(1), kind="stable")[:EXEMPLARS]
        shown.append((q, tuple(measured.ids[i] for i in best)))
    return SHOWN_IMAGES(tuple(images)) | SHOWN_CONCEPTS(tuple(shown))


@dataclass(frozen=True)
class Pictures(Sweep):
    """The chosen images once more, by both networks."""

    study: Diff

    name = "pictures"
    cost = "2 forwards per image that is shown"
    labels = "optional"
    rows = PICTURED

    def wanted(self, known: Known) -> Collection[str]:
        shown = {image for _, images in known[SHOWN_CONCEPTS] for image in images}
        return shown | {image for _, image in known[SHOWN_IMAGES]}

    def forwards(self, context: Context) -> float:
        shown = self.study.cards * EXEMPLARS + self.study.gallery
        return 2.0 * min(len(context.manifest.samples), shown)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        drawn = list[tuple[str, bytes]]()
        palette = Palette.of(context.manifest, context.model.classes)
        image, side = one.image[0].float().cpu().numpy(), self.study.picture_px
        truth = None if one.labels is None else one.labels.cpu().numpy()
        for number, which in enumerate(SIDES):
            with torch.no_grad():
                tail = known[MEMBERS][number].tail(one.image)
                codes = known[SHARED].codes(number, tail.activation)
            if one.id in {image for _, image in known[SHOWN_IMAGES]}:
                seen = label_map(tail.logits)[0].cpu().numpy()
                data = panels(image, truth, seen, palette, side)
                drawn.append((image_key(one.id, which), data))
            for q, images in known[SHOWN_CONCEPTS]:
                if one.id in images:
                    large = F.interpolate(codes[:, q : q + 1].float(), one.size, mode="bilinear")
                    mask = (large > SHOWS * large.max())[0, 0].cpu().numpy()
                    drawn.append((concept_key(q, one.id, which), outlined(image, mask, side)))
        return packed_by_name(drawn)

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return DRAWN(together_by_name(table))
