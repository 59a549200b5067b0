"""The tables of an L-CRP result, and the columns that its report draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conceptseg.explain.lrp.suited import Fit
from conceptseg.report.unit_cards import KnownUnit
from conceptseg.result.columns import Column, as_number
from conceptseg.result.saved import safe_key
from conceptseg.result.table import Table
from conceptseg.result.wording import with_interval
from conceptseg.stats.family import Question, judge
from conceptseg.study.lcrp.assess import Agreement, Score
from conceptseg.study.lcrp.choose import Chosen
from conceptseg.study.lcrp.control import Kept
from conceptseg.study.lcrp.flip import Curves

RELEVANCE = Column("relevance", "share of relevance")
CONTEXT = Column("context", "context score, random images", interval=True, brief="context score")
TOP = Column(
    "top",
    "context score, most relevant images (published)",
    interval=True,
    brief="most relevant images",
)
OVER_SHUFFLED = Column("over_shuffled", "excess over shuffled weights", interval=True)
OVER_FIELD = Column("over_field", "excess over the receptive field", interval=True)
SENSITIVITY = Column("sensitivity", "background sensitivity", interval=True)
THROUGH = Column("through", "relevance through the layer", interval=True)
CORRELATION = Column(
    "correlation", "rank correlation with sensitivity", interval=True, ends=("low", "high")
)
GAP = Column("gap", "minus that of random orders", interval=True, ends=("low", "high"))
Row = Mapping[str, Any]
LESS, UNKNOWN = "less than chance", "cannot be told"
"""The verdicts, in saved results, where nothing was shown: the map holds less context than comes
without any use of it; and all else, which readers see as "inconclusive"."""


def shown(column: Column) -> Column:
    """A column read from a saved row: its cell, or a text of the number with its interval."""

    def cell(row: Row) -> Any:
        return with_interval(row, column) if column.interval else row[column.key]

    return Column(column.key, column.label, of=cell)


def channel_name(unit: int, label: str) -> str:
    """A channel, with what a dissection says that it detects."""
    return f"channel {unit} ({label})" if label else f"channel {unit}"


def name_of(row: Row) -> str:
    """The row's channel."""
    return channel_name(row["unit"], row["label"])


def excess(row: Row) -> float:
    """How far a channel's context score lies above the baseline that it is tested against."""
    return as_number(row["over_field" if row["over_shuffled"] is None else "over_shuffled"])


def score_table(
    scores: Sequence[Score], classes: Sequence[str], known: Mapping[int, KnownUnit]
) -> Table:
    labels = {unit: one.label for unit, one in known.items()}
    named = Column("label", "what it detects", of=lambda s: labels.get(s.unit, ""))
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
        Column("card", of=lambda s: pair_key("unit", classes[s.class_id], s.unit)),
        Column("picture", of=lambda s: pair_key("relevant", classes[s.class_id], s.unit)),
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
        Column("pearson", "Pearson's correlation"),
        Column("error", "root mean squared difference"),
        Column("pairs", "classes and channels"),
        Column("channels", of=lambda one: one.correlation.n),
    )
    return Table.of(agreements, columns, "How well context scores predict sensitivity")


def flip_table(chosen: Chosen, curves: Curves, seed: int) -> Table:
    """Mean area under each method's curve, its standard error, and its gap to random orders."""
    sampling = chosen.sampling.named(curves.samples)
    random = curves.area(curves.random)
    areas = {name: curves.area(curves.change[:, n]) for n, name in enumerate(curves.names)}
    asked = {
        name: Question(area - random, sampling)
        for name, area in areas.items()
        if np.isfinite(area).sum() >= 2 or len(area) < 2  # others have failed where they were asked
    }
    tests = dict(zip(asked, judge([*asked.values()], side="two", seed=seed), strict=True))
    columns = (
        Column("method", of=lambda one: one[0]),
        Column("area", "area under the curve", of=lambda one: sampling.mean(one[1]).value),
        Column("error", "its standard error", of=lambda one: curves.error(one[1], sampling)),
        replace(GAP, of=lambda one: one[2] and sampling.mean(one[1] - random)),
        Column("curves", "images and classes", of=lambda one: int(np.isfinite(one[1]).sum())),
        Column("p_adjusted", "p, corrected", of=lambda one: one[2] and one[2].adjusted),
        Column(
            "detectable", "smallest detectable gap", of=lambda one: one[2] and one[2].detectable
        ),
    )
    rows = [(name, area, tests.get(name)) for name, area in areas.items()]
    rows.append(("random orders", random, None))
    return Table.of(rows, columns, "Concept flipping")


def kept_table(kept: Kept) -> Table:
    columns = (
        Column("module", of=lambda row: row[0] or "(the network itself)"),
        Column("received", "relevance received", of=lambda row: row[1]),
        Column("passed", "handed on", of=lambda row: row[2]),
        Column("lost", "lost", of=lambda row: row[1] - row[2]),
        Column("received_absolute", "absolute amount received", of=lambda row: row[3]),
        Column("passed_absolute", "absolute amount handed on", of=lambda row: row[4]),
    )
    rows = sorted(kept.rows, key=lambda row: -abs(row[1] - row[2]))
    return Table.of(rows, columns, "Relevance by module, largest loss first")


RULES_CRITERIA = (
    Column("growth", "absolute growth"),
    Column("inner", "largest growth within"),
    Column("share", "signed sum kept"),
    Column("silent", "share on silent units"),
    Column("grid", "energy at a grid's frequencies"),
    Column("occlusion", "correlation with occlusion"),
    Column("flipping", "flipping"),
)


def rules_table(fits: Mapping[str, Fit], refused: Mapping[str, str], best: str) -> Table:
    """By composite, how it does on this network; none where no image was asked for."""
    columns = (
        Column("composite", of=lambda row: row[0].replace("_", " ")),
        *(replace(one, of=_criterion(one.key)) for one in RULES_CRITERIA),
        Column("fails", "does not meet", of=lambda row: ", ".join(row[1].fails) if row[1] else ""),
        Column("refused", "cannot be taken", of=lambda row: refused.get(row[0], "")),
        Column("recommended", of=lambda row: row[0] == best),
    )
    rows = [(name, fits.get(name)) for name in dict.fromkeys((*fits, *refused))]
    return Table.of(rows, columns, "Rules that were compared")


def _criterion(key: str) -> Callable[[tuple[str, Fit | None]], float | None]:
    return lambda row: None if row[1] is None else getattr(row[1], key)
