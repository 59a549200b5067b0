"""The pass that edits: for each image and pair the smallest edit of each group and region."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.counterfactual import Edit, Flip, random_edits
from conceptseg.explain.generate import WHOLE as WHOLE_IMAGE
from conceptseg.explain.generate import Code
from conceptseg.explain.looks import looks, octaves
from conceptseg.explain.scene import Scene
from conceptseg.network.label_map import label_map
from conceptseg.network.model import SegmentationModel, load_model
from conceptseg.report.thumbnails import outlined, overlay
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.counterfactual.config import Counterfactual
from conceptseg.study.counterfactual.fit import FITTED
from conceptseg.study.counterfactual.posed import WHOLE, Posed, alone, called
from conceptseg.study.counterfactual.survey import PLAN
from conceptseg.study.shared.packed import packed, unpacked
from conceptseg.study.shared.sweep import One, Sweep

SECOND: Key[list[SegmentationModel]] = Key("second network", list)
EDITS = Key("edits", SampleTable)


@dataclass(frozen=True)
class Search(Sweep):
    """Each case's edits, what guards say of them, and random ones of the same size."""

    study: Counterfactual

    name = "search"
    cost = "a forward and backward for each step of each group that has not flipped yet"
    rows = EDITS

    def wanted(self, known: Known) -> Collection[str]:
        return {name for name, *_ in known[PLAN].cases}

    def forwards(self, context: Context) -> float:
        study, each = self.study, 4.0 * self.study.regions
        rows = (each + study.regions) * (2 * study.steps + 32 + study.random)
        count = min(study.images, len(context.manifest.samples))
        return count * max(len(study.pairs), 1) * rows

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        second = self.study.second
        names, device = context.manifest.classes, context.run.device
        models = [] if second is None else [load_model(second, names, device, "second")]
        yield SECOND(models) | WHOLE(context.manifest)

    def look(self, context: Context, one: One, known: Known) -> Tables:
        plan, found = known[PLAN], list[dict[str, np.ndarray]]()
        pictures = list[tuple[int, bytes]]()
        shown = self._shown(known)
        for row, (was, to) in enumerate((w, t) for name, w, t in plan.cases if name == one.id):
            posed = Posed(self.study, context, one, known, was, to)
            case = Case(self.study, context, posed, known)
            found.append(case.measured())
            if (one.id, was, to) in shown:
                pictures += [(10 * row + n, data) for n, data in enumerate(case.pictures())]
        arrays = {key: _joined([own[key] for own in found]) for key in found[0]}
        counts = np.array([len(own["flipped"]) for own in found], np.int64)
        return {"rows": counts, **arrays, **{f"p-{k}": v for k, v in packed(pictures).items()}}

    def _shown(self, known: Known) -> set[tuple[str, int, int]]:
        cases = known[PLAN].cases
        kept = set[tuple[str, int, int]]()
        for pair in dict.fromkeys((was, to) for _, was, to in cases):
            kept |= set([c for c in cases if c[1:] == pair][: self.study.gallery])
        return kept

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return EDITS(table)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0)


class Case:
    """The edits of one image whose region of class `was` is to become `to` (-1: any other)."""

    def __init__(self, study: Counterfactual, context: Context, posed: Posed, known: Known) -> None:
        self.study, self.context, self.posed = study, context, posed
        self.one, self.was, self.to = posed.one, posed.was, posed.to
        self.scene, self.flip = posed.scene, posed.flip
        self.plan, self.second = known[PLAN], known[SECOND]
        study.editor.check(context.model, posed.subject.drawn)
        self.code: Code = study.editor.encode(posed.subject, known[FITTED])
        self.best: Edit | None = None
        self.edits = self._searched()

    def _searched(self) -> list[Edit]:
        """Of each group, of each region with several groups, and of pairs where none suffices."""
        found = self.posed.search(self.code, alone(self.code))
        single = [edit for edit in found if len(edit.groups) == 1]
        flipped = [edit for edit in single if edit.flipped]
        if not flipped and self.study.together > 1:
            near = sorted(single, key=lambda edit: edit.margin)[: self.study.together]
            twos = [a.groups + b.groups for a, b in combinations(near, 2)]
            pairs = self.posed.search(self.code, twos)
            flipped = [edit for edit in pairs if edit.flipped]
            found += sorted(flipped, key=lambda edit: edit.size)[:1]
        flipped = flipped or [edit for edit in found if edit.flipped]
        self.best = min(flipped, key=lambda edit: (len(edit.groups), edit.size), default=None)
        return found

    def measured(self) -> dict[str, np.ndarray]:
        """A row for each edit."""
        rows = [self._row(edit) for edit in self.edits]
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}

    def _row(self, edit: Edit) -> dict[str, object]:
        region, attribute = called(self.code, edit.groups)
        words = "; ".join(
            f"{group.region}: {self.code.describe(edit.theta, group)}" for group in edit.groups
        )
        row: dict[str, object] = {
            "was": self.was,
            "to": self.to,
            "region": region,
            "attribute": attribute,
            "groups": len(edit.groups),
            "own": int(
                all(g.region in (self.posed.names[self.was], WHOLE_IMAGE) for g in edit.groups)
            ),
            "flipped": int(edit.flipped),
            "size": edit.size,
            "margin": edit.margin,
            "words": words if edit.flipped else "",
            "best": int(edit is self.best),
            "eight": -1,
            "held": np.nan,
            "by_chance": np.nan,
            "plausible": np.nan,
            "second": -1,
            "elsewhere": np.nan,
        }
        if edit.flipped:
            row |= self._guarded(edit)
        return row

    def _guarded(self, edit: Edit) -> dict[str, object]:
        with torch.no_grad():
            image = self.code.render(edit.theta[None])
        eight, held = self.posed.judged(image)
        logits = self.scene.forward(image)
        outside = ~self.flip.region
        changed = (label_map(logits[0]) != self.flip.clean)[outside].float().mean()
        finite = all(self.code.choices(group) is not None for group in edit.groups)
        by_chance = np.nan
        if not finite:
            with torch.no_grad():
                drawn = random_edits(self.code, edit, self.study.random, self.posed.key)
                others = self.code.render(drawn)
            by_chance = float(self.flip.happened(self.scene.forward(others)).float().mean())
        return {
            "eight": int(eight),
            "held": held,
            "by_chance": by_chance,
            "plausible": self._plausible(edit, image),
            "second": self._second(image),
            "elsewhere": float(changed) if bool(outside.any()) else np.nan,
        }

    def _plausible(self, edit: Edit, image: Tensor) -> float:
        """Share of real regions of that name that are as unlike the others as the edited one, the
        least of those that were edited, all of an image's where its parts have no regions; nan
        where real ones are too few."""
        bands, found = octaves(image), list[float]()
        edited = {group.region for group in edit.groups}
        for c, mask in self.posed.masks.items():
            if WHOLE_IMAGE not in edited and self.posed.names[c] not in edited:
                continue
            real = self.plan.real.get(self.posed.like[c], np.empty((0, 1)))
            if len(real) > 2 * real.shape[1]:
                found.append(percentile(real, looks(image, bands, mask)))
        return min(found, default=np.nan)

    def _second(self, image: Tensor) -> int:
        """Whether another network's prediction flips as well, 1 or 0; -1 where it does not call
        the region so to begin with, or there is none."""
        for model in self.second:
            scene = Scene(model, self.one.image)
            clean = label_map(scene.logits[0])
            region = (clean == self.was) & self.flip.region
            if 2 * int(region.sum()) < int(self.flip.region.sum()):
                return -1
            flip = Flip(self.was, self.flip.to, region, clean)
            return int(flip.happened(scene.forward(image))[0])
        return -1

    def pictures(self) -> list[bytes]:
        """The image with its region, the edited image with what is predicted so, the change."""
        side, image = self.study.picture_px, self.one.image[0].float().cpu().numpy()
        found = [outlined(image, self.flip.region.cpu().numpy(), side)]
        if self.best is None:
            return found
        with torch.no_grad():
            edited = self.code.render(self.best.theta[None])
        predicted = label_map(self.scene.forward(edited)[0])
        target = (
            predicted == self.to if self.to >= 0 else self.flip.region & (predicted != self.was)
        )
        pixels = edited[0].float().cpu().numpy()
        change = (pixels - image).mean(0)
        limit = max(float(np.abs(change).max()), 1e-3)
        found.append(outlined(pixels, target.cpu().numpy(), side))
        found.append(overlay(image, change, -limit, limit, side=side))
        return found


def percentile(real: np.ndarray, one: np.ndarray) -> float:
    """Share of real looks [n, q] whose Mahalanobis distance from their mean is at least that of
    `one` [q]; the covariance has a thousandth of its mean variance added."""
    centre = real.mean(0)
    covariance = np.atleast_2d(np.cov(real.T))
    ridge = 1e-3 * np.trace(covariance) / len(covariance)
    inverse = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
    away = np.einsum("nq,qr,nr->n", real - centre, inverse, real - centre)
    own = (one - centre) @ inverse @ (one - centre)
    return float(np.mean(away >= own))


def pictures_of(table: SampleTable) -> dict[tuple[str, int], list[bytes]]:
    """The pictures of each case that has some, by image and place among its cases."""
    found = dict[tuple[str, int], list[bytes]]()
    for name, own in sorted(table.tables.items()):
        plain = {key.removeprefix("p-"): value for key, value in own.items() if key[:2] == "p-"}
        for row, data in unpacked(plain):
            found.setdefault((name, row // 10), []).append(data)
    return found
