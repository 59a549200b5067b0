"""plotly.js without the kinds of charts that a page does not draw: maps, solids, polar axes, ...

The whole library is 4.8 MB; what draws charts on two axes is a fifth of it. `cartesian.json` holds,
for the versions that were tried in a browser, what can be left out: places in the text that only
those other charts reach. A page with another chart, or another version, holds the whole library.
`python -m conceptseg.report.cartesian_parts` adds the version that is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("cartesian.json")
KINDS = (
    "bar",
    "box",
    "contour",
    "heatmap",
    "histogram",
    "histogram2d",
    "icicle",
    "image",
    "pie",
    "treemap",
    "violin",
)
"""Kinds of traces that are kept; "scatter" belongs to the library's core."""


def serves(kinds: Iterable[str]) -> bool:
    """Whether the part draws traces of all these `kinds` (a trace without one is "scatter")."""
    return set(kinds) <= {"scatter", *KINDS}


def part(text: str) -> str | None:
    """The library's `text` without what other charts need; None for one that was not tried."""
    known = _known().get(digest(text))
    if known is None:
        return None
    ends = list(accumulate(known["steps"]))
    kept = [0, *ends, len(text)]  # what is kept and what is left out take turns
    return "".join(text[kept[n] : kept[n + 1]] for n in range(0, len(kept), 2))


def digest(text: str) -> str:
    """What tells versions of the library apart: sha256 of its text."""
    return sha256(text.encode()).hexdigest()


@cache
def _known() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return known
