"""From counts of false claims and of named contexts to the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.estimate import Estimate
from conceptseg.stats.intervals import ALPHA, wilson_interval
from conceptseg.study.selftest.bench import selftest_of
from conceptseg.study.shared.nulls import Claim, Kind, Power

NAME = "selftest"


@dataclass(frozen=True)
class Rate:
    """How often a claim was made where nothing is there, with its 95 % interval (Wilson).

    `bound` is the level with two standard errors of so many draws, which a test that keeps it
    exceeds in one case of forty.
    """

    study: str
    test: str
    kind: Kind
    family: str
    draws: int
    false: int
    rate: float
    low: float
    high: float
    bound: float
    null: str

    @classmethod
    def of(cls, study: str, claim: Claim, draws: int, false: int) -> Self:
        behind = min(draws, claim.behind or draws)
        rate = false / draws
        low, high = wilson_interval(rate, behind)
        bound = ALPHA + 2 * (ALPHA * (1 - ALPHA) / behind) ** 0.5
        numbers = (draws, false, rate, low, high, bound)
        return cls(study, claim.test, claim.kind, claim.family, *numbers, claim.null)

    @property
    def keeps(self) -> bool:
        """Whether it claims in no more draws than a test at 5 % may."""
        return self.rate <= self.bound


@dataclass(frozen=True)
class Share:
    """Of so many data sets of a constructed network of weight `w`, those in which a study names
    what it relies on."""

    study: str
    what: str
    w: float
    sets: int
    named: int
    power: float
    low: float
    high: float

    @classmethod
    def of(cls, study: str, what: str, w: float, sets: int, named: int) -> Self:
        return cls(study, what, w, sets, named, named / sets, *wilson_interval(named / sets, sets))


RATE = Column("rate", "share of draws with a false claim", True, "share", ends=("low", "high"))
POWER = Column("power", "share of data sets", True, ends=("low", "high"))
RATES = (
    "study",
    "test",
    "kind",
    "family",
    "draws",
    "false",
    "rate",
    "low",
    "high",
    "bound",
    "null",
)
SHARES = ("study", "what", "w", "sets", "named", "power", "low", "high")


def conclude(studies: Sequence[str], rates: Sequence[Rate], power: Sequence[Share]) -> Result:
    tested = [one.study for one in rates]
    untested = [
        {"study": name, "reason": selftest_of(name).untested}
        for name in studies
        if name not in tested
    ]
    without = [
        {"study": name, "reason": own}
        for name in tested
        if not isinstance(own := selftest_of(name).power, Power)
    ]
    return Result(
        study=NAME,
        findings=[_finding(one) for one in rates if not one.keeps],
        tables={
            "rates": Table.of(rates, RATES, "Claims where nothing is there"),
            "power": Table.of(power, SHARES, "Named on the constructed networks"),
            "untested": Table(untested, ("study", "reason"), caption="Studies without a test"),
            "without": Table(
                list({row["study"]: row for row in without}.values()),
                ("study", "reason"),
                caption="Studies that claim nothing of context",
            ),
        },
        notes={
            "model": "the planted networks",
            "manifest": "fresh scenes",
            "studies": list(studies),
            "level": ALPHA,
        },
    )


def _finding(one: Rate) -> Finding:
    rule = "the published rule" if one.kind == "published" else "a test of ours"
    return Finding.about(
        f"{one.study}, by {rule}: {one.test} is claimed in {one.rate:.0%} of {one.draws} draws "
        f"where nothing is there ({one.null}).",
        Estimate(one.rate, one.low, one.high, one.draws, "draws"),
        null=ALPHA,
        evidence="rates",
        effect_name="share of draws with a false claim",
    )
