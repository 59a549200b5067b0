"""What all reports say alike: title, facts of the cover, and the limits that all results have.

They rest on the notes that a study's `conclude` makes of what was studied. Sentences that would
stand in every study, each a little different, are here once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg.report import examined, held, rates
from conceptseg.report.blocks import Report, Section
from conceptseg.report.told import Illustrate
from conceptseg.result.saved import Result
from conceptseg.result.wording import by_reason, repeated_images
from conceptseg.stats.intervals import FEWEST

SKEWED = (
    "Intervals of means of 5 to 20 very skewed numbers (most small, a few large) hold the truth in "
    "82 to 93 % of data sets, not in 95 (lognormal ones in simulations; exponential ones 88 to 96)."
)
"""The limit on intervals that no count of images removes: of few, the tail was not seen."""
MANY = 12
"""Reasons why methods were left out that the cover tells, and methods that it names of each."""


def report(
    result: Result,
    *,
    title: str,
    method: str,
    lead: str,
    sections: Sequence[Section | None],
    limits: Sequence[str],
    facts: Sequence[tuple[str, Any]] = (),
    illustrate: Illustrate | None = None,
    key: Sequence[tuple[str, str]] = (),
) -> Report:
    """The report with the cover that all have: network, weights, layer, data, images.

    `illustrate` chooses findings' pictures and `key` says what their colours mean.
    `method` begins the subtitle: "ACE on". `facts` follow those of the cover. The limits that all
    results have come after the study's own.
    """
    notes = result.notes
    return Report(
        title=title,
        subtitle=f"{method} {notes['model']}, data {notes['manifest']}",
        lead=lead,
        facts=(*_facts(result), *facts, *left_out(result)),
        sections=sections,
        limits=(
            *limits,
            *repeated_limit(result),
            few_images(notes),
            SKEWED,
            *groups_limit(notes),
            *held.limits(result.study),
            *rates.limits(result.study),
        ),
        illustrate=illustrate,
        key=key,
    )


def repeated_limit(result: Result) -> list[str]:
    """That images are counted as independent which are one file under several names."""
    same = result.provenance.get("repeated")
    if not same:
        return []
    return [repeated_images(int(same["images"]), *same["first"])]


def _facts(result: Result) -> list[tuple[str, Any]]:
    notes = result.notes
    images = notes["images"]
    if "images_given" in notes:
        images = f"{images} of {notes['images_given']} given"
    return [
        ("Network", notes["model"]),
        ("Weights", notes["origin"]),
        *([("Layer", examined.layer(result, notes["layer"]))] if notes.get("layer") else []),
        ("Data", notes["manifest"]),
        ("Images", images),
        ("Intervals and tests count", counted(notes)),
    ]


def left_out(result: Result) -> tuple[tuple[str, str], ...]:
    """The methods that did not suit, by their reasons, as a fact; none where all suited."""
    rows = [row for row in result.skipped if row.get("kind") in ("method", "metric")]
    where = [f" on {row['sample']}" if row.get("sample") else "" for row in rows]
    names = [
        f"{row.get('metric', '')}{' of ' if 'metric' in row else ''}{row['method']}{place}"
        for row, place in zip(rows, where, strict=True)
    ]
    told = by_reason(zip(names, (row["reason"] for row in rows), strict=True), MANY)
    if len(told) > MANY:
        told = [*told[:MANY], f"{len(told) - MANY} more reasons stand under coverage"]
    return (("Left out", "; ".join(told)),) if told else ()


def counted(notes: Mapping[str, Any]) -> str:
    """What intervals and tests count, with its number where that is noted: "12 images"."""
    unit = notes.get("unit", "image")
    # Results of earlier versions noted the manifest's groups, also where images were counted.
    number = notes.get("images" if notes.get("unit") == "image" else "groups")
    return f"{unit}s" if number is None else f"{number} {unit}{'' if number == 1 else 's'}"


def few_images(notes: Mapping[str, Any]) -> str:
    """The limit on intervals of few images, or of few groups."""
    return f"No interval is computed from fewer than {FEWEST} {notes.get('unit', 'image')}s."


def groups_limit(notes: Mapping[str, Any]) -> tuple[str, ...]:
    """The limit on results that count images although these come from fewer groups; else none."""
    known = notes.get("manifest_groups", notes.get("groups", notes["images"]))
    if notes.get("unit") != "image" or known >= notes["images"]:
        return ()
    return (
        f"The images come from {known} group{'' if known == 1 else 's'}, but intervals and tests "
        "count images: the results hold for these groups and need not hold for new ones.",
    )
