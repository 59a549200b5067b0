"""Fifth sweep of L-CRP: which rules suit the network, on a few images."""

from collections.abc import Collection
from dataclasses import dataclass, field, fields

import numpy as np

from conceptseg.engine.contract import Context
from conceptseg.engine.known import Key, Known
from conceptseg.explain.lrp.suited import PASSES, Fit, fits, named, recommended
from conceptseg.stats.mergeable.sample_table import SampleTable, Tables
from conceptseg.study.lcrp.choose import CHOSEN_PAIRS
from conceptseg.study.lcrp.config import Lcrp
from conceptseg.study.lcrp.control import kept_images
from conceptseg.study.lcrp.engines import ENGINES, predict, regions
from conceptseg.study.shared.sweep import One, Sweep

CRITERIA = tuple(one.name for one in fields(Fit))


@dataclass(frozen=True)
class Suited:
    """How composites do, over `images`; `refused` with the reason; which is `recommended`."""

    fits: dict[str, Fit] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    recommended: str = ""
    images: int = 0

    @classmethod
    def of(cls, table: SampleTable, current: str) -> "Suited":
        found: dict[str, list[Fit]] = {}
        refused: dict[str, str] = {}
        for one in table.tables.values():
            for name, why, row in zip(
                one["names"].tolist(), one["why"].tolist(), one["fit"].tolist(), strict=True
            ):
                if why:
                    refused[name] = why
                else:
                    found.setdefault(name, []).append(Fit(*row))
        means = {n: Fit.over(each) for n, each in found.items() if n not in refused}
        best = recommended(means, current) if means else ""
        return cls(means, refused, best, len(table.tables))


SUITED = Key("suited", Suited)


def in_use(study: Lcrp) -> str:
    """What the study's own rules are called among those that are compared."""
    return named(study.composite, study.compared_start)


@dataclass(frozen=True)
class Suit(Sweep):
    """Each composite's maps of the largest class of an image, held to the same criteria."""

    study: Lcrp

    name = "rules"
    cost = "about 65 forward passes per image, and 20 more for each composite"
    rows = Key("rules that were compared", SampleTable)

    def wanted(self, known: Known) -> Collection[str]:
        return kept_images(self.study.rules_images, known[CHOSEN_PAIRS])

    def forwards(self, context: Context) -> float:
        images = min(len(context.manifest.samples), self.study.rules_images)
        return images * PASSES

    def look(self, context: Context, one: One, known: Known) -> Tables:
        where = regions(predict(context, one.image)[0], known[CHOSEN_PAIRS].classes)
        class_id = max(where, key=lambda c: int(where[c].sum()))
        engine, start = known[ENGINES].of(), self.study.compared_start
        found = dict(fits(engine, one.image, where[class_id], class_id, start))
        nothing = [np.nan] * len(CRITERIA)
        return {
            "names": np.array(list(found), np.str_),
            "why": np.array([f if isinstance(f, str) else "" for f in found.values()], np.str_),
            "fit": np.array(
                [
                    nothing if isinstance(f, str) else [getattr(f, name) for name in CRITERIA]
                    for f in found.values()
                ],
                np.float64,
            ),
        }

    def gathered(self, table: SampleTable, known: Known) -> Known:
        return SUITED(Suited.of(table, in_use(self.study)))
