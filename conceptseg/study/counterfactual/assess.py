"""Over images: how often a class is lost by editing a region alone, or one attribute of it, and
whether that is more often than by editing as much elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import NAN, Estimate, Sampling
from conceptseg.stats.family import Question, Test, judge
from conceptseg.stats.mergeable.sample_table import SampleTable
from conceptseg.study.counterfactual.config import ALL, Counterfactual
from conceptseg.study.counterfactual.control import CONTROLS, TURNED
from conceptseg.study.counterfactual.edit import EDITS
from conceptseg.study.counterfactual.survey import PLAN
from conceptseg.study.shared.studied import sampling_of


@dataclass(frozen=True)
class Rows:
    """All edits, [m]: their image, and columns as the pass wrote them."""

    ids: tuple[str, ...]
    case: np.ndarray
    columns: dict[str, np.ndarray]

    def of(self, name: str) -> np.ndarray:
        return self.columns[name]


@dataclass(frozen=True)
class Share:
    """Of a pair, a region and an attribute (`ALL`: whatever of the region), over its images: the
    share that flips by an edit that holds, and that of random edits of the same parameters and size
    (nan where edits are choices); of the edits that hold the median size, the share that flips a
    second network, and the median share of real regions that are as unlike.

    `elsewhere` is the share that flips by the same edits elsewhere, and `more` what the region's
    own flip beyond these, of the same images: nan and None where nothing was tried elsewhere, since
    no edit of the region flips. `test` says whether they flip more; None where it cannot be asked.
    """

    was: int
    to: int
    region: str
    attribute: str
    own: bool
    share: Estimate
    by_chance: float
    size: float
    second: float
    plausible: float
    elsewhere: float = float("nan")
    more: Estimate | None = None
    test: Test | None = None


EDITED = Key("edits listed", Rows)
SHARES: Key[tuple[Share, ...]] = Key("flip shares", tuple)
SAMPLING = Key("flips sampling", Sampling)


def list_edits(study: Counterfactual, context: Context, known: Known) -> Known:
    """All edits of all cases, and what their images count as."""
    table, plan = known[EDITS], known[PLAN]
    names = [key for key in table.tables[table.ids[0]] if key[:2] != "p-" and key != "rows"]
    columns = {name: table.column(name) for name in names}
    ids, case = list[str](), list[int]()
    for name in table.ids:
        for place, count in enumerate(table.tables[name]["rows"].tolist()):
            ids += [name] * count
            case += [place] * count
    images = sorted({name for name, *_ in plan.cases})
    sampling = sampling_of(context, images, study.unit, (context.seed, 67), draws=1000)
    rows = Rows(tuple(ids), np.array(case), columns)
    turned = [
        (int(rows.of("was")[i]), int(rows.of("to")[i]), str(rows.of("region")[i]))
        for i in np.flatnonzero(holding(study, rows)).tolist()
        if " + " not in str(rows.of("region")[i])
    ]
    return EDITED(rows) | SAMPLING(sampling) | TURNED(tuple(sorted(set(turned))))


def assess(study: Counterfactual, context: Context, known: Known) -> Known:
    """Shares of regions and attributes; either is a family of tests against edits elsewhere."""
    rows, sampling = known[EDITED], known[SAMPLING]
    holds, made = holding(study, rows), list[Share]()
    controls = Controls.of(study, rows, holds, known[CONTROLS], known[TURNED])
    asked: dict[bool, list[tuple[int, Question]]] = {True: [], False: []}
    for was, to in dict.fromkeys((was, to) for _, was, to in known[PLAN].cases):
        pair = (rows.of("was") == was) & (rows.of("to") == to)
        single = pair & (np.char.find(rows.of("region"), " + ") < 0)
        for region in dict.fromkeys(rows.of("region")[single].tolist()):
            here = single & (rows.of("region") == region)
            alone = here & (rows.of("groups") == 1)
            for attribute in (ALL, *dict.fromkeys(rows.of("attribute")[alone].tolist())):
                whole = attribute == ALL
                own = here if whole else alone & (rows.of("attribute") == attribute)
                share, flips = _share(rows, holds, own, sampling, (was, to, region, attribute))
                control = controls.values(was, to, region, attribute, flips)
                values = np.array(list(flips.values())) - control
                counted = sampling.named(list(flips))
                if np.isfinite(values).any():
                    asked[whole].append((len(made), Question(values, counted)))
                    if (was, to, region) in known[TURNED]:
                        more = counted.pointed(values, -1, 1)
                        beside = float(np.nanmean(control))
                        share = replace(share, more=more, elsewhere=beside)
                made.append(share)
    for family in asked.values():
        tests = judge([one for _, one in family], side="greater", seed=context.seed)
        for (place, _), test in zip(family, tests, strict=True):
            made[place] = replace(made[place], test=test)
    return SHARES(tuple(made))


@dataclass(frozen=True)
class Controls:
    """Whether edits elsewhere flip, by (image, from, to, region, attribute): 1 or 0.

    Where a generator edits no masks, what is elsewhere are the image's `other` parts: of each
    (image, from, to) the regions around the class with whether any edit of theirs holds.
    """

    turned: tuple[tuple[int, int, str], ...]
    flipped: Mapping[tuple[str, int, int, str, str], float]
    others: Mapping[tuple[str, int, int], Mapping[str, float]] | None

    @classmethod
    def of(
        cls,
        study: Counterfactual,
        rows: Rows,
        holds: np.ndarray,
        table: SampleTable,
        turned: tuple[tuple[int, int, str], ...],
    ) -> Controls:
        flipped = dict[tuple[str, int, int, str, str], float]()
        if study.editor.by_regions:
            names = ("was", "to", "region", "attribute", "flipped")
            columns = [table.column(name).tolist() for name in names] if table.ids else [[]] * 5
            owner = [table.ids[i] for i in table.owner("was").tolist()] if table.ids else []
            for name, was, to, region, attribute, flip in zip(owner, *columns, strict=True):
                for key in {attribute, ALL}:
                    at = (name, was, to, region, key)
                    flipped[at] = max(flipped.get(at, 0.0), float(flip))
            return cls(turned, flipped, None)
        others = dict[tuple[str, int, int], dict[str, float]]()
        around = ~rows.of("own").astype(bool) & (np.char.find(rows.of("region"), " + ") < 0)
        for i in np.flatnonzero(around).tolist():
            own = others.setdefault(
                (rows.ids[i], int(rows.of("was")[i]), int(rows.of("to")[i])), {}
            )
            region = str(rows.of("region")[i])
            own[region] = max(own.get(region, 0.0), float(holds[i]))
        return cls(turned, flipped, others)

    def values(
        self, was: int, to: int, region: str, attribute: str, flips: Mapping[str, float]
    ) -> np.ndarray:
        """Of each image whether edits elsewhere flip, [m]; nan where none could be made.

        Where a region's edits flip no image, none were tried elsewhere: it counts as 0, so that the
        region cannot come out ahead, and its test is still counted.
        """
        if (was, to, region) not in self.turned:
            return np.zeros(len(flips))
        if self.others is None:
            found = [self.flipped.get((name, was, to, region, attribute), NAN) for name in flips]
            return np.array(found)
        beside = []
        for name in flips:
            around = self.others.get((name, was, to), {})
            values = [flip for part, flip in around.items() if part != region]
            beside.append(float(np.mean(values)) if values else NAN)
        return np.array(beside)


def holding(study: Counterfactual, rows: Rows) -> np.ndarray:
    """Booleans [m]: edits that flip, in 8 bits and under noise as well."""
    held = np.nan_to_num(rows.of("held"), nan=0.0) >= study.holds
    return np.asarray((rows.of("flipped") == 1) & (rows.of("eight") == 1) & held)


def _share(
    rows: Rows,
    holds: np.ndarray,
    here: np.ndarray,
    sampling: Sampling,
    of: tuple[int, int, str, str],
) -> tuple[Share, dict[str, float]]:
    """Of each image the best of some edits: one that holds, if any does; and by image whether."""
    ids = np.array(rows.ids)
    images = list(dict.fromkeys(ids[here].tolist()))
    flips, chance, sizes, second, plausible = [], [], [], [], []
    for name in images:
        own = np.flatnonzero(here & (ids == name))
        good = own[holds[own]]
        flips.append(float(len(good) > 0))
        if not len(good):
            chance.append(0.0)
            continue
        best = good[np.argmin(rows.of("size")[good])]
        chance.append(float(rows.of("by_chance")[best]))
        sizes.append(float(rows.of("size")[best]))
        plausible.append(float(rows.of("plausible")[best]))
        if rows.of("second")[best] >= 0:
            second.append(float(rows.of("second")[best]))
    counted, values, random = sampling.named(images), np.array(flips), np.array(chance)
    made = Share(
        *of,
        bool(rows.of("own")[here][0]),
        counted.pointed(values, 0, 1),
        float(np.mean(random)),
        float(np.median(sizes)) if sizes else float("nan"),
        float(np.mean(second)) if second else float("nan"),
        float(np.nanmedian(plausible)) if np.isfinite(plausible).any() else float("nan"),
    )
    return made, dict(zip(images, flips, strict=True))
