"""What a dissection says as a whole: a concern where a class uses units for what lies around it."""

import re
from collections.abc import Collection, Sequence

from conceptseg.report.charts import Row
from conceptseg.result.saved import Result
from conceptseg.result.verdict import Verdict, cannot_tell, concern, counted, listed, none_shown
from conceptseg.study.dissect.config import LEAST_BLOCKS
from conceptseg.study.dissect.tables import CONTEXT
from conceptseg.study.shared import mistaken_report

ADVICE = (
    "Confirm it by `conceptseg audit`, which changes the surroundings of whole objects; units can "
    "do more than detect one concept."
)


def verdict(result: Result) -> Verdict:
    """Context that a class uses, and the mistakes that lie on what was asked about."""
    return mistaken_report.beside(result, _of_context(result))


def _of_context(result: Result) -> Verdict:
    """Units of context that a class uses are a concern.

    Context is what the data set itself names so; of one that names none nothing can be shown. That
    a class uses units which detect a colour, a texture or another class is no concern by itself:
    these may be of its own object. So none of these count where it is asked what could be shown.
    """
    losses = result.tables["losses"].rows
    named = [row for row in result.tables["concepts"].rows if row["category"] == CONTEXT]
    outside = sorted({row["concept"] for row in named})
    asked = [row for row in losses if _about(row, outside)]
    acting = [row for row in asked if row["used"]]
    if acting:
        return concern(_used(acting), ADVICE)
    if not outside:
        uses = (f"{row['class']} uses units of {row['concept']}" for row in losses if row["used"])
        used = listed(uses)
        return cannot_tell(
            "Whether classes use units that detect context was not asked: the data set names none."
            + (f" Shown is that {used}." if used else ""),
            "Look at what is used: a colour, a texture or another class may be of the "
            "surroundings. `conceptseg audit` changes these.",
        )
    if not losses or not asked:
        # A concept of too few images has no number of detectors: no unit was compared with it.
        compared = any(row.get("detectors", 0) is not None for row in named)
        few = (result.notes.get("null") or {}).get("blocks", LEAST_BLOCKS) < LEAST_BLOCKS
        return _without_detector(outside, could=bool(losses) and compared and not few)
    return _of_pairs(asked, outside)


def _about(row: Row, outside: Collection[str]) -> bool:
    """Whether a pair is of context. Results of earlier versions say it by the names alone."""
    if "of_context" in row:
        return bool(row["of_context"])
    return not {row["concept"], *re.split(r", | and ", row["concept"])}.isdisjoint(outside)


def _used(rows: Sequence[Row]) -> str:
    """Which classes use units of context: those that detect it, those that but overlap it."""
    detect = [row for row in rows if 2 * (row.get("detecting") or 0) >= row.get("units", 1)]
    overlap = [row for row in rows if row not in detect]
    told = [
        f"units that {word} context ({listed(_pair(row) for row in own)})"
        for word, own in (("detect", detect), ("overlap", overlap))
        if own
    ]
    return f"Classes use {', and '.join(told)}."


def _pair(row: Row) -> str:
    return f"{row['class']} by {row['concept']}"


def _without_detector(outside: Sequence[str], *, could: bool) -> Verdict:
    """What is said where no unit detects any context, so that none were ablated for one."""
    said = f"No unit was shown to detect context ({', '.join(outside)}), so none was ablated for it"
    if could:
        return none_shown(
            f"{said}.",
            "Look at other layers, and at what is used: a colour or a texture may be that of the "
            "surroundings.",
        )
    return cannot_tell(
        f"{said}; whether one could have been shown is not known.",
        "Give more images that hold it, of more groups, or another layer.",
    )


def _of_pairs(asked: Sequence[Row], outside: Sequence[str]) -> Verdict:
    """What is said where no use of context was shown: whether most of its pairs could be told."""
    blind = sum(row.get("verdict") in ("not testable", "underpowered") for row in asked)
    pairs = f"{counted(len(asked), 'pair')} of class and context"
    if 2 * blind > len(asked):
        return cannot_tell(
            f"Of {pairs}, {blind} could hardly have been shown to be used.",
            "Give more images of each class, or another layer.",
        )
    rest = f" Of {pairs}, {blind} could hardly have been shown." if blind else ""
    return none_shown(
        f"No class was shown to use units of context ({', '.join(outside)}).{rest}",
        "Look at what is used all the same: a colour or a texture may be that of the surroundings.",
    )
