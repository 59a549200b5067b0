"""For each class and context one image in the surroundings of a donor of either kind."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.network.label_map import label_map
from conceptseg.report.panels import Palette, panels
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.audit.borders import shifts_of
from conceptseg.study.audit.case import CASES, Case
from conceptseg.study.audit.config import Audit
from conceptseg.study.audit.contexts import CONTEXTS
from conceptseg.study.audit.kept import Kept
from conceptseg.study.audit.swap import DONORS, KEPT, SWAPPED
from conceptseg.study.shared.donors import Donors
from conceptseg.study.shared.sweep import One, Sweep

MOST = 40
"""Pairs of class and context that are pictured."""
KINDS = ("there", "lacking")


@dataclass(frozen=True)
class Pair:
    """Case number `case`, and the image and the donors of either kind that picture it; of a border,
    the shifts to it and away."""

    case: int
    class_id: int
    image: str
    there: str
    lacking: str
    margin: float
    shifts: tuple[tuple[int, int], tuple[int, int]] | None = None


PAIRS: Key[tuple[Pair, ...]] = Key("pairs", tuple)
PICTURED = Key("pictured", SampleTable)
DRAWN: Key[dict[tuple[int, str], bytes]] = Key("drawn", dict)
"""Pictures by case and by what is shown: "before", "there", "lacking"."""


def order(cases: tuple[Case, ...]) -> list[int]:
    """Numbers of the cases: shown ones first, then by the size of the change."""
    return sorted(
        range(len(cases)), key=lambda i: (not cases[i].shown, -abs(cases[i].change.value))
    )


def choose_pairs(study: Audit, context: Context, known: Known) -> Known:
    """Of each case the image whose change is the median, and of its donors those whose IoU is
    nearest to the mean of their kind: what happens mostly, not what happens at best."""
    cases, table, pairs = known[CASES], known[SWAPPED], []
    wanted = [one.name for one in known[CONTEXTS]]
    for number in order(cases)[:MOST]:
        case = cases[number]
        changes = np.array(case.each)
        image = case.ids[int(np.argsort(changes, kind="stable")[(len(changes) - 1) // 2])]
        if case.context.kind == "place":
            moved = shifts_of(known, case, image)
            pairs.append(Pair(number, case.class_id, image, "", "", case.margin, moved))
            continue
        own, place = table.tables[image], wanted.index(case.context.name)
        here = (own["class"] == case.class_id) & (own["margin"] == case.margin)
        donors = []
        for kind in (1, -1):
            rows = np.flatnonzero(here & (own["arm"][:, place] == kind))
            iou = own["scores"][rows, 0]
            donors.append(str(own["donor"][rows[np.abs(iou - iou.mean()).argmin()]]))
        there, lacking = donors
        pairs.append(Pair(number, case.class_id, image, there, lacking, case.margin))
    return PAIRS(tuple(pairs))


@dataclass(frozen=True)
class Pictures(Sweep):
    """The images of `PAIRS` as they are and with either donor, with the predictions."""

    study: Audit

    name = "pictures"
    cost = "3 forwards per pair of class and context"
    labels = "required"
    rows = PICTURED

    def forwards(self, context: Context) -> float:
        return 3.0 * MOST

    def wanted(self, known: Known) -> Collection[str]:
        return {pair.image for pair in known[PAIRS]}

    @contextmanager
    def open(self, context: Context, known: Known) -> Iterator[Known]:
        yield DONORS(Donors(context, KEPT))

    def look(self, context: Context, one: One, known: Known) -> Tables:
        assert one.labels is not None
        palette = Palette.of(context.manifest, context.model.classes)
        tables: dict[str, np.ndarray] = {}
        for pair in known[PAIRS]:
            if pair.image != one.id:
                continue
            kept = Kept.of(one.labels, pair.class_id, pair.margin, self.study.feather_px)
            if pair.shifts is not None:
                given = [one.image.roll(shift, (2, 3)) for shift in pair.shifts]
            else:
                both = (pair.there, pair.lacking)
                donors = [known[DONORS].image(name, one.image) for name in both]
                given = [kept.within(one.image, donor) for donor in donors]
            images = torch.cat([one.image, *given])
            with torch.no_grad():
                predicted = label_map(context.model(images)).cpu().numpy()
            for i, what in enumerate(("before", *KINDS)):
                truth = one.labels.cpu().numpy() if what == "before" else None
                image = images[i].float().cpu().numpy()
                data = panels(image, truth, predicted[i], palette, self.study.picture_px)
                tables[f"{pair.case}/{what}"] = np.frombuffer(data, np.uint8)
        # Images have different cases, and a table the same columns for all: one column, with names.
        names = list(tables)
        return {
            "name": np.array(names, np.str_),
            "length": np.array([len(tables[name]) for name in names]),
            "bytes": np.concatenate([tables[name] for name in names]),
        }

    def gathered(self, table: SampleTable, known: Known) -> Known:
        drawn: dict[tuple[int, str], bytes] = {}
        for sample_id in table.ids:
            own = table.tables[sample_id]
            ends = np.cumsum(own["length"])
            for name, part in zip(
                own["name"].tolist(), np.split(own["bytes"], ends[:-1]), strict=True
            ):
                case, what = name.split("/")
                drawn[int(case), what] = part.tobytes()
        return DRAWN(drawn)
