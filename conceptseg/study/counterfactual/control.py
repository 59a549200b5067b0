"""The control: edits of as much of the image elsewhere, sought as long and within the same limits.

What an edit of a region shows about that region is what an edit of any other place of its size does
not show: of a network that edits turn wherever they are made, each region would look like a cause.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.generate import Subject
from conceptseg.explain.looks import looks, octaves
from conceptseg.explain.noise import generator
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.counterfactual.config import Counterfactual
from conceptseg.study.counterfactual.fit import FITTED
from conceptseg.study.counterfactual.posed import WHOLE, Posed, alone, called
from conceptseg.study.counterfactual.survey import COVERED, PLAN
from conceptseg.study.shared.sweep import One, Sweep

CONTROLS = Key("edits elsewhere", SampleTable)
TURNED: Key[tuple[tuple[int, int, str], ...]] = Key("regions whose edits hold somewhere", tuple)
PLACES = 64
"""Places that are looked at for one with room."""


@dataclass(frozen=True)
class Control(Sweep):
    """Of each region whose edit holds in some image, the same edits at another place of each."""

    study: Counterfactual

    name = "control"
    cost = "as the search, of regions alone whose edit flips some image"
    rows = CONTROLS

    def wanted(self, known: Known) -> Collection[str]:
        if not self.study.editor.by_regions:
            return set()
        pairs = {(was, to) for was, to, _ in known[TURNED]}
        return {name for name, was, to in known[PLAN].cases if (was, to) in pairs}

    def forwards(self, context: Context) -> float:
        if not self.study.editor.by_regions:
            return 0.0
        count = min(self.study.images, len(context.manifest.samples))
        return count * max(len(self.study.pairs), 1) * 5.0 * (2 * self.study.steps + 32)

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield WHOLE(context.manifest)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        rows = list[dict[str, object]]()
        for name, was, to in known[PLAN].cases:
            asked = {region for a, b, region in known[TURNED] if (a, b) == (was, to)}
            if name == one.id and asked:
                posed = Posed(self.study, context, one, known, was, to)
                rows += elsewhere(posed, asked, known)
        return tabled(rows)

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return CONTROLS(table)


def elsewhere(posed: Posed, asked: Collection[str], known: Known) -> list[dict[str, object]]:
    """Of each region that is asked for and has room, its edits elsewhere: a row for each attribute,
    `flipped` where one was found that flips and holds."""
    subject, own = posed.subject, posed.flip.region
    moved = {}
    for name, mask in subject.regions.items():
        free = ~(mask | own)
        if name in asked and (place := moved_to(mask, free, own, f"{posed.key} {name}")):
            moved[name] = place
    return tried(posed, placed(subject, moved), known) if moved else []


def tried(posed: Posed, subject: Subject, known: Known) -> list[dict[str, object]]:
    """Of each region of a subject each attribute's edit alone, and of all together."""
    code, rows = posed.study.editor.encode(subject, known[FITTED]), list[dict[str, object]]()
    for edit in posed.search(code, alone(code)):
        flipped = edit.flipped
        if flipped:
            with torch.no_grad():
                eight, held = posed.judged(code.render(edit.theta[None]))
            flipped = eight == 1 and held >= posed.study.holds
        region, attribute = called(code, edit.groups)
        named = {"was": posed.was, "to": posed.to, "region": region, "attribute": attribute}
        rows.append({**named, "flipped": int(flipped)})
    return rows


def tabled(rows: Sequence[Mapping[str, object]]) -> Tables:
    """Rows of :func:`tried` as arrays [m]."""
    columns = {"was": np.int64, "to": np.int64, "region": np.str_, "attribute": np.str_}
    columns |= {"flipped": np.int8}
    return {key: np.array([row[key] for row in rows], kind) for key, kind in columns.items()}


@dataclass(frozen=True)
class Place:
    """Another place of a region: its mask [h, w], and for each pixel of the image the number of the
    pixel whose content it gets in exchanges, [h, w], its own outside of the mask."""

    mask: Tensor
    source: Tensor


def moved_to(
    mask: Tensor, free: Tensor, near: Tensor, key: str, tries: int = PLACES
) -> Place | None:
    """A region [h, w] moved onto free pixels, whole where there is room for it.

    Of some shifts, drawn by `key`, that with the most free pixels, of equally free ones (to 5 %
    of the region) that as far from `near` as the region is: what lies close to an object sways it
    more. Pixels that would fall on others go to the nearest free ones. None where less than three
    quarters of the region find room.
    """
    from scipy.ndimage import distance_transform_edt

    h, w = mask.shape
    area, room = int(mask.sum()), int(free.sum())
    if not area or room < COVERED * area:
        return None
    far = torch.from_numpy(distance_transform_edt(~near.cpu().numpy())).to(mask.device)
    source = generator("places elsewhere", key)
    shifts = torch.stack((torch.randint(h, (tries,), generator=source),
                          torch.randint(w, (tries,), generator=source)), 1)  # fmt: skip
    own, best, least = float(far[mask].mean()), (0, 0), (2.0, 0.0)
    for down, right in shifts.tolist():
        there = torch.roll(mask, (down, right), (0, 1)) & free
        if not bool(there.any()):
            continue
        missing = round(20 * (1 - float(there.sum()) / area)) / 20
        if (cost := (missing, abs(float(far[there].mean()) - own))) < least:
            best, least = (down, right), cost
    numbers = torch.arange(h * w, device=mask.device).view(h, w)
    there = torch.roll(mask, best, (0, 1)) & free
    from_where = torch.where(there, torch.roll(numbers, best, (0, 1)), numbers)
    if not bool(there.any()):
        return None
    left = mask & ~torch.roll(there, (-best[0], -best[1]), (0, 1))
    away = torch.from_numpy(distance_transform_edt(~there.cpu().numpy())).to(mask.device)
    order = torch.argsort(away.masked_fill(there | ~free, torch.inf).flatten(), stable=True)
    extra = order[: min(int(left.sum()), room - int(there.sum()))]
    from_where.view(-1)[extra] = numbers[left][: len(extra)]
    there = there.clone()
    there.view(-1)[extra] = True
    return Place(there, from_where)


def placed(subject: Subject, moved: dict[str, Place]) -> Subject:
    """The image with some of its regions elsewhere, of which one is edited at a time: they may
    overlap. Looks may change there by as much as they may in the region, and donors bring along
    what they would bring into it."""
    bands = octaves(subject.image)
    limits = dict[str, np.ndarray]()
    donors = dict[str, list[tuple[str, Tensor]]]()
    for name, place in moved.items():
        apart = looks(subject.image, bands, place.mask) - looks(
            subject.image, bands, subject.regions[name]
        )
        if name in subject.limits:
            limits[name] = subject.limits[name] + apart
        donors[name] = [
            (label, image.flatten(2)[:, :, place.source.flatten()].view_as(image))
            for label, image in subject.donors.get(name, ())
        ]
    regions = {name: place.mask for name, place in moved.items()}
    return replace(subject, regions=regions, limits=limits, donors=donors)
