"""What somebody decided who read a report: a section of it, from a file beside the result.

::

    reviewer: Jane Doe, quality assurance
    date: 2026-03-01
    decision: accepted with conditions
    notes: Not for images from the second scanner.
    digest: 86a3f0c1                   # how the digest of the result begins that was read
    findings:
      - {finding: 3, decision: rejected, note: It is a scale bar, which users crop.}
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field

from conceptseg.config import Strict
from conceptseg.report.blocks import Facts, Notice, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.table import Table

FILE = "review.yaml"
"""Where a review lies in a run's folder; it is the user's, and stays when the run is made again."""
Decision = Literal["accepted", "accepted with conditions", "rejected", "open"]


class OfFinding(Strict):
    """What was decided of one finding, by its number in the report."""

    finding: int = Field(ge=1, description="Its number, counted from 1.")
    decision: Decision
    note: str = ""


class Review(Strict):
    """Who decided what, and when."""

    reviewer: str = Field(min_length=1, description="Name and role.")
    date: date
    decision: Decision
    notes: str = ""
    digest: str | None = Field(
        None,
        pattern="^[0-9a-f]{8,64}$",
        description="How the digest of the result begins that was read (conceptseg verify).",
    )
    findings: tuple[OfFinding, ...] = ()


def read(folder: Path) -> Review | None:
    """The review in a run's folder; None where there is none. Raises InputError for a wrong one."""
    from conceptseg.settings import read_yaml, validate

    path = folder / FILE
    if not path.is_file():
        return None
    review: Review = validate(Review, read_yaml(path), str(path))
    return review


def section(review: Review, result: Result) -> Section:
    """The review as a section: its facts, whether it is of this result, and each finding's row."""
    facts = [
        ("Reviewer", review.reviewer),
        ("Date", review.date.isoformat()),
        ("Decision", review.decision),
        ("Notes", review.notes or "none"),
    ]
    rows = []
    for one in review.findings:
        known = one.finding <= len(result.findings)
        claim = result.findings[one.finding - 1].claim if known else "there is no such finding"
        rows.append({**one.model_dump(), "claim": claim})
    return Section(
        "review",
        "Review",
        "What was decided by somebody who read this report; it is no part of the result.",
        [
            _of_another(review, result),
            Facts(facts),
            TableBlock(Table(rows), "By finding") if rows else None,
        ],
    )


def _of_another(review: Review, result: Result) -> Notice | None:
    """A warning where the review is, or may be, of another result than this one."""
    if review.digest is None:
        text = "It does not say by a digest which result was read: it may be of an earlier one."
        return Notice(text, "note", "Which result was read is not known")
    if result.altered or not result.digest.startswith(review.digest):
        text = f"It was written about a result whose digest begins with {review.digest}."
        return Notice(text, "warning", "This review is of another result")
    return None
