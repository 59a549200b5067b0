"""What a finished run tells a release pipeline: its verdicts as text or JSON, and an exit code.

Of any study that is the verdict of the whole run, where it has one; of the audit it is also that of
each class and context.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from conceptseg.errors import InputError, nearest
from conceptseg.result.columns import as_number
from conceptseg.result.joined import parts_of
from conceptseg.result.saved import Result, as_written
from conceptseg.result.verdict import Status
from conceptseg.result.verdict import Verdict as Whole
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.audit.config import SHOWN, Verdict
from conceptseg.study.command.junit import Case

FIELDS = ("class", "context", "verdict", "effect", "low", "high", "p_adjusted", "detectable", "n")
NUMBERS = ("effect", "low", "high", "p_adjusted", "detectable")
OF_RUNS: tuple[str, ...] = get_args(Status)
SAME: dict[str, dict[str, Status]] = {"diff": {"drift": "concern"}}
"""Words of a study's own for the verdict of a run."""
OF_CONTEXTS: tuple[str, ...] = get_args(Verdict)


def wanted(study: str, names: Sequence[str]) -> tuple[str, ...]:
    """The verdicts that `--fail-on` names, as results have them; a dash stands for a blank.

    Raises InputError, before anything runs, for a name that is no verdict of the study's.
    """
    own = SAME.get(study, {})
    known = (*OF_RUNS, *own, *(OF_CONTEXTS if study == "audit" else ()))
    found = tuple(one.replace("-", " ") for one in names)
    for one in found:
        if one not in known:
            raise InputError(f"--fail-on {one}: {nearest(one, known)}")
    return tuple(own.get(one, one) for one in found)


@dataclass(frozen=True)
class Told:
    """The verdict of a run, and, of an audit, the rows of its table of verdicts."""

    study: str
    whole: Whole | None
    rows: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, folder: Path) -> "Told":
        result = Result.load(folder)
        with as_written(folder):
            rows = verdicts(result) if result.study == "audit" else []
        return cls(result.study, result.verdict, tuple(rows))

    @property
    def cases(self) -> list[Case]:
        """The verdict of the run, then those of classes and contexts."""
        whole = [] if self.whole is None else [Case("run", self.whole.status, self.whole.line)]
        each = (Case(f"{r['class']} on {r['context']}", r["verdict"], _line(r)) for r in self.rows)
        return [*whole, *each]

    def text(self) -> str:
        """A line for each of them."""
        return "\n".join(one.sentence for one in self.cases)

    def json(self) -> str:
        """Of an audit an array of its verdicts; of other studies the run's as an object."""
        content: Any = list(self.rows)
        if self.study != "audit":
            content = None if self.whole is None else self.whole.model_dump()
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def verdicts(result: Result) -> list[dict[str, Any]]:
    """The verdicts of a finished audit, with the sentence of each.

    Of a network whose classes are independent, each of which was audited by itself, p-values are
    multiplied by their number, for all are looked through together; what then fails is open.
    """
    parts = list(parts_of(result).values()) or [result]
    rows = [
        {key: row.get(key) for key in (*FIELDS, "sentence")}
        for part in parts
        for row in part.tables["verdicts"].rows
    ]
    for row in rows:
        row |= {key: _finite(row[key]) for key in NUMBERS if row[key] is not None}
    for row in rows if len(parts) > 1 else ():
        if row["p_adjusted"] is not None:
            row["p_adjusted"] = min(1.0, len(parts) * row["p_adjusted"])
            if row["verdict"] in SHOWN and row["p_adjusted"] > ALPHA:
                row["verdict"] = "underpowered"
                row["sentence"] = f"Of {len(parts)} classes together it is open: {row['sentence']}"
    return rows


def _finite(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"{value} is no number of a verdict")
    return found


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['verdict']}: {row['class']} on {row['context']}, "
        f"{as_number(row['effect']):+.3f} IoU{_ends(row)}"
    )


def _ends(row: dict[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    return f" [{as_number(row['low']):+.3f}, {as_number(row['high']):+.3f}]"
