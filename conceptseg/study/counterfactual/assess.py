"""Over images: how often a class is lost by editing a region alone, or one attribute of it."""

from dataclasses import dataclass

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.stats.estimate import Estimate, Sampling
from conceptseg.study.counterfactual.config import ALL, Counterfactual
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
    share that flips by an edit that holds, that of random edits of the same size (nan where edits
    are choices), and of the edits that hold the median size, the share that flips a second network,
    and the median share of real regions that are as unlike."""

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
    return EDITED(Rows(tuple(ids), np.array(case), columns)) | SAMPLING(sampling)


def assess(study: Counterfactual, context: Context, known: Known) -> Known:
    """Shares of regions and attributes."""
    rows, sampling = known[EDITED], known[SAMPLING]
    holds = holding(study, rows)
    made = list[Share]()
    for was, to in dict.fromkeys((was, to) for _, was, to in known[PLAN].cases):
        pair = (rows.of("was") == was) & (rows.of("to") == to)
        single = pair & (np.char.find(rows.of("region"), " + ") < 0)
        for region in dict.fromkeys(rows.of("region")[single].tolist()):
            here = single & (rows.of("region") == region)
            made.append(_share(rows, holds, here, sampling, (was, to, region, ALL)))
            alone = here & (rows.of("groups") == 1)
            for attribute in dict.fromkeys(rows.of("attribute")[alone].tolist()):
                one = alone & (rows.of("attribute") == attribute)
                made.append(_share(rows, holds, one, sampling, (was, to, region, attribute)))
    return SHARES(tuple(made))


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
) -> Share:
    """Of each image the best of some edits: one that holds, if any does."""
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
    return Share(
        *of,
        bool(rows.of("own")[here][0]),
        counted.pointed(values, 0, 1),
        float(np.mean(random)),
        float(np.median(sizes)) if sizes else float("nan"),
        float(np.mean(second)) if second else float("nan"),
        float(np.nanmedian(plausible)) if np.isfinite(plausible).any() else float("nan"),
    )
