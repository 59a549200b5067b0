"""A comparison of two runs as one page: what changed, with pictures of both side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from conceptseg.report.embedded import Run
from conceptseg.report.scripts import environment, policy
from conceptseg.result.changes import STATUSES, Change, Comparison
from conceptseg.result.encoding import plain

MARKS = {
    "new": "!",
    "turned": "!",
    "grown": "↑",
    "gone": "✓",
    "shrunk": "↓",
    "no longer shown": "–",
    "not looked at": "?",
    "no clear change": "=",
}
"""What stands beside the word of a change, so that colour is not needed to tell them apart."""


def as_html(comparison: Comparison, before: Run, after: Run) -> str:
    """One page without scripts; whatever names hold is escaped."""
    rows = [
        {
            "it": change,
            "mark": MARKS[change.status],
            "sides": [
                {"name": side.name, "finding": finding, "pictures": side.pictures(finding)}
                for side, finding in zip((before, after), change.findings, strict=True)
            ],
        }
        for change in comparison.changes
    ]
    counts = [(one, sum(c.status == one for c in comparison.changes)) for one in STATUSES]
    verdicts = [(side.name, side.result.verdict) for side in (before, after)]
    return (
        environment()
        .get_template("changed.html.j2")
        .render(
            comparison=comparison,
            rows=rows,
            counts=[(name, count, MARKS[name]) for name, count in counts if count],
            verdicts=verdicts,
            policy=policy(()),
        )
    )


def as_json(comparison: Comparison, names: Sequence[str]) -> str:
    """The comparison as JSON: a change with its numbers, null where nothing was measured."""
    content = {
        "study": comparison.study,
        "runs": list(names),
        "remarks": list(comparison.remarks),
        "changes": [_row(one) for one in comparison.changes],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_text(comparison: Comparison, names: Sequence[str]) -> str:
    """A line for each change, and for each remark."""
    lines = [one.sentence for one in comparison.changes]
    return "\n".join([*lines, *comparison.remarks] or ["nothing is evidence in either run"])


def _row(change: Change) -> dict[str, Any]:
    sides = {"before": change.before, "after": change.after, "difference": change.difference}
    numbers = {
        name: None if one is None else {k: plain(getattr(one, k)) for k in ("value", "low", "high")}
        for name, one in sides.items()
    }
    claims = [None if one is None else one.claim for one in change.findings]
    return {
        "status": change.status,
        "name": change.name,
        "class": change.class_name,
        "effect": change.effect_name,
        **numbers,
        "claims": claims,
        "sentence": change.sentence,
    }
