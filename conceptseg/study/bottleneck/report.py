"""The report of a quality study, from its result alone."""

from __future__ import annotations

from conceptseg.report.blocks import Report
from conceptseg.result.saved import Result
from conceptseg.study.bottleneck import sections
from conceptseg.study.bottleneck.tables import NAMES

ALPHA = 0.05


def compose(result: Result) -> Report:
    """How well quality is predicted, which images fail, how sure that is, and where they lie."""
    notes = result.notes
    return Report(
        title="Quality without ground truth",
        subtitle=f"Bottleneck regression on {notes['model']}, data {notes['manifest']}",
        lead=_lead(result),
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Layer", notes["layer"]),
            ("Data", notes["manifest"]),
            ("Images", f"{notes['images']} of {notes['images_given']} given"),
            ("Groups", notes["manifest_groups"]),
            ("Quality", f"{notes['quality']}, mean over {len(notes['classes'])} classes"),
            ("Mean quality", f"{notes['mean_quality']:.3f}"),
        ),
        sections=(
            sections.standing(result),
            sections.flags(result),
            sections.intervals(result),
            sections.where(result),
            sections.empty(result),
            sections.saliency(result),
            sections.use(result),
            sections.numbers(result),
        ),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _lead(result: Result) -> str:
    rows = {row["told_from"]: row for row in result.tables["standing"].rows}
    layer, both = rows[NAMES["layer"]], rows[NAMES["both"]]
    flags = {row["score"]: row for row in result.tables["flags"].rows}
    told = (
        f"From the layer alone, {_share(layer['r2'])} of the differences in quality between "
        f"{result.notes['images']} images are predicted on {sections.kept_whole(result.notes)}s "
        "that were never seen; with the network's confidence beside it, "
        f"{_share(both['r2'])}; from confidence alone, {_share(rows[NAMES['confidence']]['r2'])}. "
    )
    p = both["p_beats_holm"]
    if both["beats"] > 0 and p is not None and p <= ALPHA:
        told += "The layer adds to confidence. "
    elif both["beats"] < 0 and p is not None and p <= ALPHA:
        told += "With the layer the prediction is worse than from confidence alone: do not use it. "
    else:
        told += (
            "The layer is not shown to add anything to confidence, which needs no layer: it "
            f"takes {both['beats']:.3f} off the mean absolute error (95 % interval "
            f"{both['beats_low']:.3f} to {both['beats_high']:.3f}, corrected p {p:.2g}). "
        )
    budget = f"{result.notes['budget']:.0%}"
    precise = [flags[NAMES[name]]["precision"] for name in ("both", "confidence", "raw")]
    told += (
        f"Of the {budget} of images that layer and confidence doubt most {precise[0]:.0%} fail; of "
        f"the {budget} that confidence alone, fitted in the same way, doubts most, "
        f"{precise[1]:.0%}; of those with the lowest mean largest probability, {precise[2]:.0%}."
    )
    return told


def _share(r2: float | None) -> str:
    if r2 is None:
        return "an unknown share"
    return f"{r2:.0%}" if r2 > 0 else "nothing (R2 below zero)"


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "Quality is told for images like those it was learnt from. The gate turns away images "
        "that the layer has not seen the like of; a change that the layer does not show passes.",
        "An interval covers over many images, within its slice of predicted area; it promises "
        "nothing about one image. CV+ guarantees 1 - 2 (1 - coverage) only, and in practice "
        "gives about the coverage asked for.",
        "Images are judged by their mean over the studied classes they hold: a class that fails in "
        "an image of many others moves its quality little. See the table class by class.",
        "Maps are for the eye. Slices were found without looking at quality, but k-means may cut "
        "a continuum anywhere.",
        "Prediction is no explanation: that the layer tells which images fail does not say why.",
    ]
    if sections.cuts_groups(notes):
        limits.append(
            "Folds cut groups, which are fewer than folds: models saw other images of the same "
            "group, so what is told of unseen images holds for these groups and not for new ones."
        )
    elif notes["unit"] == "image" and notes["manifest_groups"] < notes["images"]:
        limits.append(
            f"The images come from {notes['manifest_groups']} groups, but intervals and tests "
            "count images, so they speak of these groups and not of new ones."
        )
    if not notes["by_group"]:
        limits.append(
            "Groups are too few to calibrate intervals by them; images were counted instead, and "
            "coverage on a new group may be lower."
        )
    return tuple(limits)
