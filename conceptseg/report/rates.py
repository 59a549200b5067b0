"""How often each study is wrong where nothing is there, as measured for this version.

The numbers lie in `rates.json` beside this file, as `conceptseg selftest --write` puts them there:
no report has one of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("rates.json")
Row = Mapping[str, Any]


@cache
def measured() -> dict[str, Any]:
    """What the file holds: `version`, `draws`, and the rows of `rates`, `power` and `untested`."""
    held: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return held


def limits(study: str) -> tuple[str, ...]:
    """A study's own rates as a limit of its reports; none of a study that was not measured."""
    held = measured()
    rows = [row for row in held["rates"] if row["study"] == study]
    if not rows:
        reasons = [row["reason"] for row in held["untested"] if row["study"] == study]
        return tuple(f"No claim rests on a test: {reason}." for reason in reasons)
    told = "; ".join(_told(row) for row in rows)
    return (
        f"How often it claims something where nothing is there (measured with conceptseg "
        f"{held['version']} by `conceptseg selftest`, on planted networks and not on this one): "
        f"{told}. Beyond such nulls nothing is known of its errors.",
    )


def _told(row: Row) -> str:
    rule = "by the published rule, " if row["kind"] == "published" else ""
    return (
        f"{rule}{row['test']}: {row['false']} of {row['draws']} draws, {row['rate']:.1%} "
        f"[{row['low']:.1%}, {row['high']:.1%}]"
    )
