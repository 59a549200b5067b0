"""The tables of an L-CRP result, and the columns that its report draws."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from conceptseg.report.unit_cards import KnownUnit
from conceptseg.result.columns import Column
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.stats.family import Question, judge
from conceptseg.study.lcrp.assess import Agreement, Score
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.columns import (
    CONTEXT,
    CORRELATION,
    GAP,
    OVER_FIELD,
    OVER_SHUFFLED,
    RELEVANCE,
    SENSITIVITY,
    TOP,
)
from conceptseg.study.lcrp.control import Kept
from conceptseg.study.lcrp.flip import Curves


def score_table(
    scores: Sequence[Score], classes: Sequence[str], known: Mapping[int, KnownUnit]
) -> Table:
    def label(score: Score) -> str:
        return known[score.unit].label if score.unit in known else ""

    def card(kind: str) -> Column:
        keys = {"card": "unit", "picture": "relevant"}
        return Column(kind, of=lambda s: pair_key(keys[kind], classes[s.class_id], s.unit))

    named = Column("label", "what it detects", of=label)
    columns: tuple[Column | str, ...] = (
        Column("class", of=lambda s: classes[s.class_id]),
        Column("unit", "channel"),
        *([named] if known else []),
        Column("verdict", "acts from context"),
        RELEVANCE,
        CONTEXT,
        TOP,
        OVER_SHUFFLED,
        OVER_FIELD,
        _of_test("p_adjusted", "p, corrected", "adjusted"),
        _of_test("detectable", "smallest detectable excess"),
        SENSITIVITY,
        Column(
            "seen_on",
            "most of it outside lies on",
            of=lambda s: classes[s.seen_on] if s.seen_on >= 0 else None,
        ),
        Column("images", "random images"),
        "rank",
        Column("spread", "its deviation over images"),
        Column("top_images", "most relevant images"),
        _of_test("p"),
        Column("p_images", "p over images", of=lambda s: s.over_images and s.over_images.p),
        Column("p_networks", "p over shuffled networks"),
        _of_test("p_least", name="floor"),
        Column("latent", "context score of the relevance at the layer"),
        Column("by_activation", "context score of the activation"),
        "sensitivity_images",
        Column("tile", "mass outside that lies on the known context"),
        Column("tile_chance", "the same of the area"),
        Column("seen_share", "share of the map there"),
        *([] if known else [named]),
        "acts",
        card("card"),
        card("picture"),
        Column("active", of=lambda s: safe_key(f"active-{s.unit}")),
    )
    return Table.of(scores, columns, "Every channel that was looked at, by class")


def _of_test(key: str, label: str = "", name: str = "") -> Column:
    """A number of the score's test, None where it was not tested."""
    return Column(key, label, of=lambda score: score.test and getattr(score.test, name or key))


def pair_key(kind: str, class_name: str, unit: int) -> str:
    """Of a channel and class: the id of its card ("unit"), or the key of its pictures."""
    return safe_key(f"{kind}-{class_name}-{unit}")


def agreement_table(agreements: Sequence[Agreement]) -> Table:
    columns = (
        Column("measure", "context score of"),
        CORRELATION,
        Column("error", "root mean squared difference"),
        Column("pairs", "classes and channels"),
        Column("channels", of=lambda one: one.correlation.n),
    )
    return Table.of(agreements, columns, "How well context scores predict sensitivity")


def flip_table(chosen: Chosen, curves: Curves, seed: int) -> Table:
    """Mean area under each method's curve, its standard error, and its gap to random orders."""
    sampling = chosen.sampling.named(curves.samples)
    random = curves.area(curves.random)
    areas = {name: curves.area(curves.of(n)) for n, name in enumerate(curves.names)}
    asked = [Question(area - random, sampling) for area in areas.values()]
    tests = dict(zip(areas, judge(asked, side="two", seed=seed), strict=True))

    def gap(name: str) -> object:
        return sampling.mean(areas[name] - random) if name in areas else None

    def area(name: str) -> np.ndarray:
        return areas.get(name, random)

    columns = (
        Column("method", of=str),
        Column("area", "area under the curve", of=lambda name: sampling.mean(area(name)).value),
        Column("error", "its standard error", of=lambda name: curves.error(area(name), sampling)),
        replace(GAP, of=gap),
        Column("curves", "images and classes", of=lambda name: len(area(name))),
        Column(
            "p_adjusted", "p, corrected", of=lambda n: tests[n].adjusted if n in tests else None
        ),
        Column(
            "detectable",
            "smallest detectable gap",
            of=lambda n: tests[n].detectable if n in tests else None,
        ),
    )
    return Table.of((*areas, "random orders"), columns, "Concept flipping")


def kept_table(kept: Kept) -> Table:
    columns = (
        Column("module", of=lambda row: row[0] or "(the network itself)"),
        Column("received", "relevance received", of=lambda row: row[1]),
        Column("passed", "handed on", of=lambda row: row[2]),
        Column("lost", "lost", of=lambda row: row[1] - row[2]),
    )
    rows = sorted(kept.rows, key=lambda row: -abs(row[1] - row[2]))
    return Table.of(rows, columns, "Relevance by module, largest loss first")
