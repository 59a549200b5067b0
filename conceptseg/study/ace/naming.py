"""What a concept is called: by the user, by what its images have in common, or by its number.

A value of the metadata is taken where it is a word, more than half of the concept's images have it
and at most half as large a part of all; of several the least likely by chance. It says what the
images have in common, so it is no name of a concept that lies on an object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg.result.saved import Result
from conceptseg.stats.intervals import ALPHA

MOST = 24
"""Characters of a value that is taken for a name."""
NO_NAME = re.compile(r"[-+.\d]*|\d+ ?[x×] ?\d+|true|false|yes|no|nan|none", re.IGNORECASE)


def by_metadata(
    rows: Sequence[Mapping[str, Any]], seen_on: Mapping[int, str], background: str | None
) -> dict[int, str]:
    """A word for each concept that has one, from the rows of the table `enrichment`.

    `seen_on` says what each concept lies on; where there is a background, a concept that lies on
    something else first of all gets no name.
    """
    found: dict[int, tuple[float, str]] = {}
    for row in rows:
        value, share = str(row["value"]), row["share_in_concept"]
        first = seen_on.get(row["concept"], "").split(", ")[0].rpartition(" (")[0]
        if background is not None and first != background:
            continue
        if NO_NAME.fullmatch(value) or len(value) > MOST or row["p_adjusted"] > ALPHA:
            continue
        if share > 0.5 and share >= 2 * row["share_in_all"]:
            mark = (row["p_adjusted"], value)
            found[row["concept"]] = min(found.get(row["concept"], mark), mark)
    return {concept: value for concept, (_, value) in found.items()}


def named(number: int, given: str, word: str) -> str:
    """The user's own name; else the word with the concept's number; else the number."""
    return given or (f'"{word}" (concept {number})' if word else f"concept {number}")


def called(result: Result) -> dict[int, str]:
    """What each concept of a saved result is called; results of earlier versions know numbers."""
    return {
        row["concept"]: named(row["concept"], row.get("given") or "", row.get("word") or "")
        for row in result.tables["concepts"].rows
    }
