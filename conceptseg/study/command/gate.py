"""What a finished audit tells a release pipeline: verdicts as text, and an exit code."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from conceptseg.errors import EXIT_DONE, EXIT_FOUND, InputError, nearest
from conceptseg.result.columns import as_number
from conceptseg.result.joined import parts_of
from conceptseg.result.saved import Result, as_written
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.audit.config import SHOWN, Verdict

FIELDS = ("class", "context", "verdict", "effect", "low", "high", "p_adjusted", "detectable", "n")


def check(study: str, names: Sequence[str], *, as_json: bool = False) -> None:
    """Raise InputError, before anything runs, for a name that is no verdict, or a study that
    gives none by class and context."""
    if study != "audit" and (names or as_json):
        option = "--fail-on" if names else "--json"
        raise InputError(f"{option}: {study} gives no verdicts; conceptseg audit does")
    for name in names:
        if name not in get_args(Verdict):
            raise InputError(f"--fail-on {name}: {nearest(name, get_args(Verdict))}")


def verdicts(folder: Path) -> list[dict[str, Any]]:
    """The verdicts of a finished audit, with the sentence of each.

    Of a network whose classes are independent, each of which was audited by itself, p-values are
    multiplied by their number, for all are looked through together; what then fails is open.
    """
    result = Result.load(folder)
    with as_written(folder):
        parts = list(parts_of(result).values()) or [result]
        rows = [
            {key: row.get(key) for key in (*FIELDS, "sentence")}
            for part in parts
            for row in part.tables["verdicts"].rows
        ]
    for row in rows if len(parts) > 1 else ():
        if row["p_adjusted"] is not None:
            row["p_adjusted"] = min(1.0, len(parts) * row["p_adjusted"])
            if row["verdict"] in SHOWN and row["p_adjusted"] > ALPHA:
                row["verdict"] = "underpowered"
                row["sentence"] = f"Of {len(parts)} classes together it is open: {row['sentence']}"
    return rows


def text(rows: Sequence[dict[str, Any]], *, as_json: bool) -> str:
    """Verdicts as a JSON array, or as a line each."""
    if as_json:
        return json.dumps(list(rows), indent=1, ensure_ascii=False, allow_nan=False)
    return "\n".join(
        f"{row['verdict']}: {row['class']} on {row['context']}, "
        f"{as_number(row['effect']):+.3f} IoU{_ends(row)}"
        for row in rows
    )


def _ends(row: dict[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    return f" [{as_number(row['low']):+.3f}, {as_number(row['high']):+.3f}]"


def code(rows: Sequence[dict[str, Any]], fail_on: Sequence[str]) -> int:
    """`EXIT_FOUND` if one of the verdicts is among those that are asked about."""
    return EXIT_FOUND if any(row["verdict"] in fail_on for row in rows) else EXIT_DONE
