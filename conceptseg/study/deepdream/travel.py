"""Second sweep: the paths of each start, their nulls, and what is measured along them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from conceptseg.data.draw import sample_priority
from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.blame import Backward
from conceptseg.network.label_map import label_map
from conceptseg.network.model import SegmentationModel
from conceptseg.network.record import undisturbed
from conceptseg.network.shuffle import shuffled
from conceptseg.report.thumbnails import outline, photo
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.deepdream.ascent import Path, Walk, refined, smooth_changes, walk
from conceptseg.study.deepdream.config import DeepDream
from conceptseg.study.deepdream.descriptors import describe
from conceptseg.study.deepdream.survey import SURVEY, Route, Survey, background
from conceptseg.study.shared.sweep import One, Sweep

WALKS = {
    "pixel": "pixel path",
    "phase": "phase path",
    "smooth": "random smooth path",
    "shuffled": "path of the shuffled network",
}
"""Two paths of the network, and two null paths, with what readers call them."""
DRAWN: tuple[Walk, ...] = ("pixel", "phase")


@dataclass(frozen=True)
class Strip:
    """Pictures along one walk of a start (its row), and the outline of its region."""

    start: int
    walk: str
    pictures: tuple[bytes, ...]
    outline: str


@dataclass(frozen=True)
class Travelled:
    """Of s starts: `route` and `sample` [s], `described` [s, 4, p + 1, m] along the four walks,
    `score`, `flipped` [s, 4, p + 1], `length`, `ended` [s, 4], `borrowed` [s] whether the region
    was another image's, `share` [s] of the image it covers; `strips` of some starts. All that is
    measured of a walk is nan where a score or gradient on it is not finite.
    """

    route: np.ndarray
    sample: tuple[str, ...]
    described: np.ndarray
    score: np.ndarray
    flipped: np.ndarray
    length: np.ndarray
    ended: np.ndarray
    borrowed: np.ndarray
    share: np.ndarray
    strips: tuple[Strip, ...]


COLUMNS = ("described", "score", "flipped", "length", "ended", "borrowed", "share")
STARTS = Key("starts", SampleTable)
TRAVELLED = Key("travelled", Travelled)
SHUFFLED = Key("shuffled network", SegmentationModel)


@dataclass(frozen=True)
class Case:
    """One start in an image: its path, region, and whether that was borrowed."""

    number: int
    route: Route
    region: np.ndarray
    borrowed: bool


@dataclass(frozen=True)
class Travel(Sweep):
    """Forward and backward per step; all starts of an image go together, whatever the batch."""

    study: DeepDream

    name = "paths"
    cost = "3 forwards and backwards per step and start, fewer where regions flip early"
    labels = "optional"
    rows = STARTS

    def wanted(self, known: Known) -> Collection[str]:
        return {sample_id for ids in known[SURVEY].starts.values() for sample_id in ids}

    def forwards(self, context: Context) -> float:
        """As if half of the steps were needed, each a forward and twice as much backward."""
        classes = len(self.study.data.classes) or self.study.classes_at_most
        paths = classes * len(self.study.paths) * self.study.starts
        return 3.0 * 3.0 * paths * self.study.steps / 2

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield SHUFFLED(shuffled(context.model, context.seed))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        labels = None if one.labels is None else one.labels.cpu().numpy()
        cases = cases_of(self.study, known[SURVEY], context.seed, one.id, labels)
        images = one.image.expand(len(cases), -1, -1, -1).float().contiguous()
        gauge = Gauge(cases, images.device)
        paths = self._paths(context, known[SHUFFLED], one.id, images, gauge)
        start = one.image[0].float().cpu().numpy()
        described: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        flips: list[np.ndarray] = []
        for path in paths.values():
            with torch.no_grad():
                logits = [context.model(images).float() for images in path.images]
            own = (
                np.array([gauge.score(each).cpu().numpy() for each in logits]),
                np.array([gauge.share(each).cpu().numpy() for each in logits]),
                _described(path, logits, cases, background(context), start),
            )
            for numbers, every in zip(own, (scores, flips, described), strict=True):
                numbers[:, np.isnan(path.length)] = np.nan
                every.append(numbers)
        first = {route: ids[: self.study.shown] for route, ids in known[SURVEY].starts.items()}
        shown = [place for place, case in enumerate(cases) if one.id in first[case.route]]
        return {
            "number": np.array([case.number for case in cases], dtype=np.int64),
            "described": np.array(described).transpose(2, 0, 1, 3),
            "score": np.array(scores).transpose(2, 0, 1).astype(np.float64),
            "flipped": np.array(flips).transpose(2, 0, 1).astype(np.float64),
            "length": np.stack([path.length for path in paths.values()], 1),
            "ended": np.stack([path.ended for path in paths.values()], 1),
            "borrowed": np.array([case.borrowed for case in cases]),
            "share": np.array([case.region.mean() for case in cases]),
            **_strips(cases, shown, paths, self.study.picture_px),
        }

    def _paths(
        self,
        context: Context,
        twin: SegmentationModel,
        sample_id: str,
        images: Tensor,
        gauge: "Gauge",
    ) -> dict[str, Path]:
        study = self.study
        common: dict[str, Any] = {"tv": study.tv, "points": study.points}
        paths: dict[str, Path] = {}
        steps: dict[str, np.ndarray] = {}
        with undisturbed(context.model), Backward(context.model.name):
            for how in DRAWN:

                def go(rows: np.ndarray, step: np.ndarray, how: Walk = how) -> Path:
                    own = gauge.at(rows)
                    return walk(
                        context.model, own.score, own.share, images[rows], how, step=step,
                        limits=np.full(len(rows), study.steps), flip=study.flip, **common,
                    )  # fmt: skip

                paths[how], steps[how] = refined(
                    go, np.full(len(images), study.step), study.steps, study.least_steps
                )
        length, ended = paths["pixel"].length, paths["pixel"].ended
        key = [context.seed, 40, sample_priority(context.seed, sample_id) % 2**63]
        line = smooth_changes(images, np.nan_to_num(length), study.points + 1, key)
        paths["smooth"] = Path(line, length, ended)
        with undisturbed(twin), Backward(twin.name):
            # As many steps as the real path took: it may not stop at a flip of its own.
            paths["shuffled"] = walk(
                twin, gauge.score, gauge.share, images, "pixel",
                limits=ended, flip=2.0, step=steps["pixel"], **common,
            )  # fmt: skip
        return paths

    def gathered(self, table: SampleTable, known: Known) -> Known:
        samples: list[str] = []
        strips: list[Strip] = []
        for sample_id in table.ids:
            one = table.tables[sample_id]
            parts = iter(np.split(one["strip"], np.cumsum(one["strip_size"])[:-1]))
            for place, line in zip(one["shown"].tolist(), one["outline"].tolist(), strict=True):
                for how in DRAWN:
                    along = islice(parts, one["described"].shape[2])
                    pictures = tuple(part.tobytes() for part in along)
                    strips.append(Strip(len(samples) + place, how, pictures, line))
            samples += [sample_id] * len(one["number"])
        columns = {name: table.column(name) for name in COLUMNS}
        route = table.column("number")
        return TRAVELLED(Travelled(route, tuple(samples), **columns, strips=tuple(strips)))


class Gauge:
    """Score and flip of rows that differ in class, region and direction."""

    def __init__(self, cases: Sequence[Case], device: Any):
        self.cases, self.device = cases, device
        self.target = [case.route.target for case in cases]
        self.sign = torch.tensor(
            [-1.0 if case.route.kind == "vanish" else 1.0 for case in cases], device=device
        )
        self.region = torch.from_numpy(np.stack([case.region for case in cases])).to(device)

    def at(self, rows: Sequence[int] | np.ndarray) -> "Gauge":
        """The same of some rows."""
        return Gauge([self.cases[int(row)] for row in rows], self.device)

    def score(self, logits: Tensor) -> Tensor:
        """Mean log-odds of the target over the region, up or down, [n]."""
        rows = torch.arange(len(logits), device=logits.device)
        own = logits[rows, self.target]
        mask = torch.zeros_like(logits, dtype=torch.bool)
        mask[rows, self.target] = True
        margin = own - logits.masked_fill(mask, -torch.inf).logsumexp(1)
        return self.sign * (margin * self.region).sum((1, 2)) / self.region.sum((1, 2))

    def share(self, logits: Tensor) -> Tensor:
        """Share of the region that is the target, or for paths down that is not, [n]."""
        target = torch.tensor(self.target, device=logits.device)[:, None, None]
        hit = (label_map(logits) == target) == (self.sign > 0)[:, None, None]
        return (hit & self.region).sum((1, 2)) / self.region.sum((1, 2))


def cases_of(
    study: DeepDream, survey: Survey, seed: int, sample_id: str, labels: np.ndarray | None
) -> list[Case]:
    """The starts in one image, with their regions."""
    prediction = survey.predictions[sample_id]
    cases = []
    for number, route in enumerate(survey.routes):
        if sample_id not in survey.starts[route]:
            continue
        region, lent = prediction == route.source, False
        if route.kind == "appear":
            missed = prediction != route.target
            region = missed & (labels == route.target if labels is not None else False)
            lent = bool(region.mean() < study.min_region_fraction)
        region = borrowed(survey, route, seed, sample_id) if lent else region
        cases.append(Case(number, route, region, lent))
    return cases


def borrowed(survey: Survey, route: Route, seed: int, sample_id: str) -> np.ndarray:
    """Where another image shows the class, drawn by hash; put onto this image's size."""
    donors = survey.holders[route.target]
    pick = sample_priority(seed, f"donor/{route.target}/{sample_id}") % len(donors)
    mask = survey.predictions[donors[pick]] == route.target
    h, w = survey.predictions[sample_id].shape
    if mask.shape != (h, w):
        small = Image.fromarray(mask.astype(np.uint8)).resize((w, h), Image.Resampling.NEAREST)
        mask = np.asarray(small).astype(bool)
        mask[h // 2, w // 2] |= not mask.any()
    return mask


def _described(
    path: Path, logits: Sequence[Tensor], cases: Sequence[Case], back: int | None, start: np.ndarray
) -> np.ndarray:
    """Descriptors [p + 1, n, m] along one walk from the image `start`."""
    images = [point.float().cpu().numpy() for point in path.images]
    predictions = [label_map(one).cpu().numpy() for one in logits]
    return np.array(
        [
            [
                describe(picture, case.region, prediction, case.route.target, back, start)
                for picture, prediction, case in zip(*points, cases, strict=True)
            ]
            for points in zip(images, predictions, strict=True)
        ]
    )


def _strips(
    cases: Sequence[Case], places: Sequence[int], paths: Mapping[str, Path], side: int
) -> dict[str, np.ndarray]:
    """Pictures along the two real paths of the starts at these places, and their outlines."""
    parts = [
        photo(point[k].float().cpu().numpy(), side)
        for k in places
        for how in DRAWN
        for point in paths[how].images
    ]
    return {
        "shown": np.array(places, dtype=np.int64),
        "strip": np.frombuffer(b"".join(parts), dtype=np.uint8),
        "strip_size": np.array([len(part) for part in parts], dtype=np.int64),
        "outline": np.array([outline(cases[k].region) for k in places], np.str_),
    }
