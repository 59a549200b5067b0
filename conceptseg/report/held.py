"""How often the 95 % intervals of each study's reports hold the truth, as was measured.

The numbers lie in `held.json` beside this file, as `benchmarks/coverage.py runs STUDY --write` puts
them there: whole runs on fresh data sets of the embedded example. The truth of a number is its mean
over the data sets; `error` is the standard error of the share, with data sets as clusters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from conceptseg.result.verdict import counted

FILE = Path(__file__).with_name("held.json")
PROMISED = 0.95
NEAR = 0.03
"""A share of intervals nearer to what is promised is not named in reports."""
Row = Mapping[str, Any]


@cache
def measured() -> dict[str, Any]:
    """What the file holds: `version` and `rows`, one for each column of each study's tables."""
    held: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return held


def near(row: Row) -> bool:
    """Whether about as many intervals hold the truth as is promised: 92 to 98 %."""
    return abs(row["share"] - PROMISED) <= NEAR + 1e-9


def limits(study: str) -> tuple[str, ...]:
    """What was measured of a study's intervals, as a limit of its reports; none if it was not.

    A share that is beyond 92 to 98 % is told with its error, as what such intervals are worth.
    """
    held = measured()
    rows = [row for row in held["rows"] if row["study"] == study]
    if not rows:
        return ()
    sets = sorted({row["sets"] for row in rows})
    count = f"{sets[0]}" if len(sets) == 1 else f"{sets[0]} to {sets[-1]}"
    told = (
        f"How often its 95 % intervals hold the truth (measured with conceptseg {held['version']} "
        f"by whole runs on {count} fresh data sets of the embedded example, not on this network; "
        "the truth is the mean over them): "
    )
    parts = [
        f"{row['label']} in {told_share(row)}"
        for row in sorted(rows, key=lambda row: float(row["share"]))
        if not near(row) and row["share"] < PROMISED
    ]
    if wider := [row for row in rows if not near(row) and row["share"] > PROMISED]:
        least = min(float(row["share"]) for row in wider)
        names = ", ".join(row["label"] for row in wider)
        often = f"{least:.0%}" if round(least, 2) == 1 else f"{least:.0%} or more"
        parts.append(f"more often than they say, in {often}: {names}")
    if fits := sum(map(near, rows)):
        rest = "all" if fits == len(rows) else counted(fits, "other")
        parts.append(f"{rest} in 92 to 98 %")
    return (told + "; ".join(parts) + ".",)


def told_share(row: Row) -> str:
    """The share of intervals that hold the truth, with the 95 % margin of its error."""
    margin = f" +- {196 * row['error']:.0f}" if row["error"] else ""
    return f"{row['share']:.0%}{margin} of {row['intervals']}"
