"""The report of a saliency study, from its result alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.saliency import sections
from conceptseg.study.saliency.standing import ALPHA, MASK_COPY


def compose(result: Result) -> Report:
    """Which methods to believe: ranks, trade-offs, trivial maps, sanity, context, pictures."""
    notes = result.notes
    rows = result.tables["methods"].rows
    trivial = [row for row in rows if row["family"] == "baseline"]
    real = [row for row in rows if row["family"] != "baseline"]
    lead = (
        f"{len(real)} local methods and {len(trivial)} trivial maps explained the same "
        f"{notes['cases']} cases (an image and a class in it) of {notes['model']}, and "
        f"{len(notes['metrics'])} metrics judged every map. "
    )
    if real and real[0]["rank"] is not None:
        lead += f"The best mean rank of a method is that of {real[0]['method']}."
        lead += _ahead(trivial, real[0]["rank"])
    lead += _against_copy(result)
    return Report(
        title="Local explanations of a segmentation network, compared",
        subtitle=f"Saliency methods on {notes['model']}, data {notes['manifest']}",
        lead=lead,
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Layer", notes["layer"]),
            ("Data", notes["manifest"]),
            ("Cases", f"{notes['cases']} in {notes['images']} images"),
            ("Region", notes["region"]),
            ("Score", notes["score"]),
        ),
        sections=(
            sections.standing(result),
            sections.trade(result),
            sections.against(result),
            sections.sanity(result),
            sections.context(result),
            sections.gallery(result),
            sections.cost(result),
            sections.numbers(result),
        ),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _ahead(trivial: Sequence[Mapping[str, Any]], rank: float) -> str:
    """How many trivial maps rank above the best method; nothing where none was compared."""
    ahead = sum(1 for row in trivial if row["rank"] is not None and row["rank"] < rank)
    if ahead:
        return f" {ahead} of the trivial maps rank above it: by these metrics no method tells more."
    return " No trivial map ranks above it." if trivial else ""


def _against_copy(result: Result) -> str:
    """How many methods do better, how many worse, and of how many neither can be told."""
    rows = result.tables["methods"].rows
    real = {row["method"] for row in rows if row["family"] != "baseline"}
    primary = result.notes["primary"]
    tested = [
        row
        for row in result.tables["against"].rows
        if (row["metric"], row["reference"]) == (primary, MASK_COPY) and row["method"] in real
    ]
    if not tested:
        return " No method was tested against a copy of the prediction's mask."
    sure = [row["difference"] for row in tested if row["p_holm"] <= ALPHA]
    better = sum(1 for value in sure if value > 0)
    told = (
        f" In {primary}, {better} of {len(tested)} methods are significantly better than a copy of "
        f"the prediction's mask, {len(sure) - better} worse, and of {len(tested) - len(sure)} "
        "neither can be told"
    )
    least = min(row["p_least"] for row in tested)
    if least > ALPHA:
        told += f": of so few cases a single corrected p-value is at least {least:.2g}"
    return told + "."


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A metric that hides pixels shows the network images that it never met; what it says "
        "depends on the fill. The metrics' parameters are listed with them.",
        "Dice Explained favours maps that keep the object, deletion favours maps that cover it: "
        "both reward a copy of the prediction. That is why the copy stands in every table.",
        "A mean rank adds up metrics that measure different things. Look at the metric that your "
        "question needs. Localisation counts in no rank: it rewards tracing the prediction.",
        f"Metrics that explain again were taken on {notes['sanity']} of {notes['cases']} cases; "
        "their intervals are wide.",
        "Maps show places. What is there, and whether the network uses it as a cause, they do not "
        "say.",
    ]
    if notes["unit"] == "image" and notes["manifest_groups"] < notes["images"]:
        limits.append(
            f"The images come from {notes['manifest_groups']} groups, but intervals and tests "
            "count images: they speak of these groups and not of new ones."
        )
    return tuple(limits)
