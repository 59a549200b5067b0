"""The same content elsewhere: an image is rolled so that a class's region comes to lie at each
border, and far from it.

Nothing is added or lost. What leaves the image at one side comes back at the other, in all
positions alike, and the region never crosses the seam. Shifts are whole strides of the layer, so
that the network samples the same pixels; of one whose convolutions pad all around nothing changes.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptseg.data.draw import drawn
from conceptseg.engine.contract import Context, left_out
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.network.padding import MODES, padded
from conceptseg.network.record import encode
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.kept import SCORES, Kept, background
from conceptseg.study.audit.reach import MARGIN
from conceptseg.study.audit.survey import HOLDINGS
from conceptseg.study.shared.sweep import One, Sweep

SIDE = 4
"""Positions along each axis, at most."""
BANDS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Upper ends of distances to the border, in parts of the shorter side."""
PLACED: Key[dict[int, tuple[str, ...]]] = Key("placed", dict)
"""The images of each class that are rolled."""
SHIFTED = Key("shifted", SampleTable)


def choose_placed(study: Audit, context: Context, known: Known) -> Known:
    """The images of each class that are rolled: those that hold enough of it, drawn by the seed."""
    if not study.place:
        return PLACED({})
    held, chosen, why = known[HOLDINGS], dict[int, tuple[str, ...]](), list[dict[str, str]]()
    for c in study.class_ids(context):
        rows = np.flatnonzero(held.pixels[:, c] > study.min_share * held.size)
        if len(rows) < study.min_images:
            reason = f"in {len(rows)} images, and min_images is {study.min_images}"
            why.append({"kind": "class", "class": context.model.classes[c], "reason": reason})
            continue
        names = [held.ids[row] for row in rows]
        chosen[c] = tuple(drawn(context.seed, names, study.images))
    return PLACED(chosen) | left_out("place")(tuple(why))


def shifts(low: int, high: int, size: int, step: int) -> list[int]:
    """Shifts, by whole steps, that keep pixels low to high (included) of `size` within the image:
    from the nearest to one border to the nearest to the other, `SIDE` of them at most. [0] where
    there is no room for two that lie a quarter of the image apart."""
    least, most = -(low // step), (size - 1 - high) // step
    if (most - least) * step < size / 4:
        return [0]
    count = min(SIDE, most - least + 1)
    return [int(round(one)) * step for one in np.linspace(least, most, count)]


@dataclass(frozen=True)
class Shift(Sweep):
    """Every class of its images, at up to 16 positions.

    `class` [r], `shift` [r, 2] in pixels down and right, `low` and `high` [r, 2]: of each axis
    whether it lies as near to the border where pixels count from 0, or to the other, as it may;
    `far` [r, 2, 2] whether it lies in the half that is away from either; `scores` [r, 4]; and of
    some images `padded` [r, 2], the IoU with each of other paddings. The first row of a class is
    the image as it is, in no half. `changed` [1, 2, 4] is the share of pixels that other paddings
    change, by the distance to the border.
    """

    study: Audit

    name = "shift"
    cost = f"{SIDE**2 + 1} forwards per image and class, if place is asked for"
    labels = "required"
    rows = SHIFTED

    def forwards(self, context: Context) -> float:
        if not self.study.place:
            return 0.0
        images = min(self.study.images, len(context.manifest.samples))
        extra = len(MODES) * min(self.study.look_images, images)
        return float(len(self.study.class_ids(context)) * (images + extra) * (1 + SIDE**2))

    def wanted(self, known: Known) -> Collection[str]:
        return {name for ids in known[PLACED].values() for name in ids}

    def look(self, context: Context, one: One, known: Known) -> Tables:
        of = [c for c, ids in known[PLACED].items() if one.id in ids]
        looked = [c for c in of if one.id in known[PLACED][c][: self.study.look_images]]
        grid = encode(context.model, one.image, context.levels).shape[2:]
        steps = [size // g if size % g == 0 else 1 for size, g in zip(one.size, grid, strict=True)]
        parts = [self._rolled(context, one, c, known[MARGIN], steps, c in looked) for c in of]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {**found, "changed": self._changed(context, one, bool(looked))}

    def _rolled(
        self, context: Context, one: One, c: int, margin: float, steps: list[int], looked: bool
    ) -> Tables:
        assert one.labels is not None
        kept = Kept.of(one.labels, c, margin, self.study.feather_px)
        every = [(0, 0)]
        places = np.zeros((1, 2, 2), bool)
        ends = np.zeros((1, 2, 2), bool)
        along = [
            shifts(int(low), int(high), size, step)
            for (low, high), size, step in zip(_box(kept.region), one.size, steps, strict=True)
        ]
        if max(map(len, along)) > 1:
            grid = [(i, j) for i in range(len(along[0])) for j in range(len(along[1]))]
            every += [(along[0][i], along[1][j]) for i, j in grid]
            at = [[_ends(i, len(along[0])), _ends(j, len(along[1]))] for i, j in grid]
            off = [[_far(i, len(along[0])), _far(j, len(along[1]))] for i, j in grid]
            ends, places = np.concatenate([ends, at]), np.concatenate([places, off])
        scores = self._scores(context, one, kept, every)
        other = np.full((len(every), len(MODES)), np.nan)
        for column, mode in enumerate(MODES if looked else ()):
            with padded(context.model, mode) as count:
                if count:
                    other[:, column] = self._scores(context, one, kept, every)[:, 0]
        return {
            "class": np.full(len(every), c),
            "shift": np.array(every),
            "ends": ends,
            "far": places,
            "scores": scores,
            "padded": other,
        }

    def _scores(
        self, context: Context, one: One, kept: Kept, every: list[tuple[int, int]]
    ) -> np.ndarray:
        """`SCORES` of each roll, [r, 4], within the zone that is rolled with the image."""
        assert one.labels is not None
        size, found = context.run.batch_size, list[np.ndarray]()
        for start in range(0, len(every), size):
            some = every[start : start + size]
            with torch.no_grad():
                logits = context.model(torch.cat([one.image.roll(s, (2, 3)) for s in some]))
            context.model.check_finite(logits, [one.id])
            back = [
                part.roll((-s[0], -s[1]), (1, 2))[None]
                for part, s in zip(logits, some, strict=True)
            ]
            found.append(kept.scores(torch.cat(back), one.labels, background(context)))
        return np.concatenate(found).reshape(-1, len(SCORES))

    def _changed(self, context: Context, one: One, looked: bool) -> np.ndarray:
        found = np.full((1, len(MODES), len(BANDS)), np.nan)
        if not looked:
            return found
        bands = _bands(*one.size)
        with torch.no_grad():
            own = label_map(context.model(one.image))[0].cpu().numpy()
            for row, mode in enumerate(MODES):
                with padded(context.model, mode) as count:
                    if count:
                        other = label_map(context.model(one.image))[0].cpu().numpy()
                        found[0, row] = [(other != own)[band].mean() for band in bands]
        return found

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return SHIFTED(table)


def _box(region: Tensor) -> list[tuple[int, int]]:
    """First and last row, and first and last column, of a region."""
    found = []
    for axis in (1, 0):
        places = region.any(axis).nonzero().flatten()
        found.append((int(places[0]), int(places[-1])))
    return found


def _ends(i: int, count: int) -> tuple[bool, bool]:
    """Whether place i of `count` is the first, and the last; of a single one, neither."""
    return (count > 1 and i == 0, count > 1 and i == count - 1)


def _far(i: int, count: int) -> tuple[bool, bool]:
    """Whether place i of `count` lies in the half away from the first, and from the last."""
    return (
        count > 1 and 2 * i >= count - 1 and i > 0,
        count > 1 and 2 * i <= count - 1 and i < count - 1,
    )


def _bands(height: int, width: int) -> list[np.ndarray]:
    """Pixels by their distance to the border."""
    rows, columns = np.indices((height, width))
    distance = np.minimum.reduce([rows, columns, height - 1 - rows, width - 1 - columns])
    part = distance / min(height, width)
    lows = (0.0, *BANDS)
    return [(part >= low) & (part < high) for low, high in zip(lows, BANDS, strict=False)]
