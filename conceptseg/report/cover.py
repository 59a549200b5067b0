"""What all reports say alike: title, facts of the cover, limits; and the notes that they rest on.

A study's `conclude` notes what was studied (:func:`notes`), its `report` opens with it
(:func:`report`). The sentences that would else stand in every study, each a little different,
are here once: over what a result speaks where images come in groups, and what was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from conceptseg.report.blocks import Report, Section
from conceptseg.result.saved import Result
from conceptseg.stats.intervals import FEWEST

if TYPE_CHECKING:
    from conceptseg.data.manifest import Sample
    from conceptseg.engine.contract import Context

Row = dict[str, Any]


class Compared(Protocol):
    """Whatever knows the local methods whose maps a report shows."""

    @property
    def methods(self) -> Sequence[str]: ...


def notes(
    context: Context,
    ids: Sequence[str],
    groups: Sequence[str],
    unit: str,
    comparison: Compared,
    /,
    **own: Any,
) -> dict[str, Any]:
    """What every report's cover and limits rest on, and a study's `own` notes.

    `ids` are the images that were studied, `groups` what each of them counts as in intervals and
    tests, `unit` whether that is its "group" or the "image" itself. Own notes replace shared ones.
    """
    return {
        "model": context.model.name,
        "origin": context.model.origin,
        "manifest": context.manifest.name,
        "images": len(ids),
        "images_given": len(context.manifest.samples),
        "unit": unit,
        "groups": len(set(groups)),
        "manifest_groups": len({context.manifest.sample(one).group for one in ids}),
        "methods": list(comparison.methods),
        **own,
    }


def report(
    result: Result,
    *,
    title: str,
    method: str,
    lead: str,
    sections: Sequence[Section | None],
    limits: Sequence[str],
    facts: Sequence[tuple[str, Any]] = (),
    alpha: float = 0.05,
) -> Report:
    """The report with the cover that all have: network, weights, layer, data, images.

    `method` begins the subtitle: "ACE on". `facts` follow those of the cover. The limits that all
    results have come after the study's own.
    """
    told = result.notes
    return Report(
        title=title,
        subtitle=f"{method} {told['model']}, data {told['manifest']}",
        lead=lead,
        facts=(*_facts(told), *facts),
        sections=sections,
        limits=(*limits, few_images(told), *groups_limit(told)),
        alpha=alpha,
    )


def _facts(told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    images = told["images"]
    if "images_given" in told:
        images = f"{images} of {told['images_given']} given"
    return [
        ("Network", told["model"]),
        ("Weights", told["origin"]),
        *([("Layer", told["layer"])] if told.get("layer") else []),
        ("Data", told["manifest"]),
        ("Images", images),
        ("Intervals and tests count", counted(told)),
    ]


def counted(told: Mapping[str, Any]) -> str:
    """What intervals and tests count, with its number where that is noted: "12 images"."""
    unit, number = told.get("unit", "image"), told.get("groups")
    return f"{unit}s" if number is None else f"{number} {unit}{'' if number == 1 else 's'}"


def few_images(told: Mapping[str, Any]) -> str:
    """The limit on intervals of few images, or of few groups."""
    return f"No interval is computed from fewer than {FEWEST} {told.get('unit', 'image')}s."


def groups_limit(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The limit on results that count images although these come from fewer groups; else none."""
    known = told.get("manifest_groups", told["images"])
    if told.get("unit") != "image" or known >= told["images"]:
        return ()
    return (
        f"The images come from {known} group{'' if known == 1 else 's'}, but intervals and tests "
        "count images: the results hold for these groups and need not hold for new ones.",
    )


def left_out(
    context: Context, ids: Sequence[str], reason: Callable[[Sample], str] | str
) -> list[Row]:
    """Entries of `Result.skipped` for the manifest's images that are not among `ids`."""
    studied = set(ids)
    return [
        {
            "kind": "sample",
            "sample": sample.id,
            "reason": reason if isinstance(reason, str) else reason(sample),
        }
        for sample in context.manifest.samples
        if sample.id not in studied
    ]
