"""The report of a bottleneck study, from its result alone."""

from conceptseg.report import cover
from conceptseg.report.blocks import Report, Section, TableBlock
from conceptseg.report.panels import key_of
from conceptseg.result.saved import Result
from conceptseg.result.verdict import counted
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.bottleneck import sections
from conceptseg.study.bottleneck.answered import answered
from conceptseg.study.bottleneck.evaluate import SETS
from conceptseg.study.bottleneck.searched import searched
from conceptseg.study.bottleneck.tables import NAMES
from conceptseg.study.shared import local_maps


def compose(result: Result) -> Report:
    """How well quality is predicted, which images fail, how sure that is, and where they lie."""
    notes = result.notes
    every = TableBlock(result.tables["images"], "Every image", limit=1000, folded=True)
    return cover.report(
        result,
        title="Quality without ground truth",
        method="Bottleneck regression on",
        lead=_lead(result),
        facts=(
            ("Groups", notes["manifest_groups"]),
            ("Quality", f"{notes['quality']}, mean over {counted(len(notes['classes']), 'class')}"),
            ("Mean quality", f"{notes['mean_quality']:.3f}"),
        ),
        sections=(
            sections.standing(result),
            sections.flags(result),
            answered(result),
            sections.intervals(result),
            sections.where(result),
            searched(result),
            sections.empty(result),
            local_maps.section(
                result,
                "The most doubtful images: where the network looks when it predicts the class. All "
                "maps of one method share a scale.",
            ),
            sections.use(result),
            Section("numbers", "All numbers", "", [every]),
        ),
        limits=_limits(result),
        illustrate=local_maps.illustrate(result, sections.illustrate(result)),
        key=key_of(result),
    )


def _lead(result: Result) -> str:
    notes = result.notes
    rows = {row["told_from"]: row for row in result.tables["standing"].rows}
    precision = {row["score"]: row["precision"] for row in result.tables["flags"].rows}
    share, both = {key: _share(rows[NAMES[key]]["r2"]) for key in SETS}, rows[NAMES["both"]]
    text = (
        f"From the layer alone, {share['layer']} of the differences in quality between "
        f"{notes['images']} images are predicted on {sections.kept_whole(notes)}s that were never "
        f"seen; from layer and confidence together, {share['both']}; from the network's confidence "
        f"alone, {share['confidence']}. "
    )
    p, beats = both["p_beats_holm"], f"{both['beats']:.3f}"
    if p is None:
        text += (
            f"Whether the layer adds to confidence cannot be tested with {cover.counted(notes)}: "
            f"it takes {beats} off the mean absolute error. "
        )
    elif p > ALPHA or both["beats"] == 0:
        interval = ""
        if both["beats_low"] is not None:
            interval = f"95 % interval {both['beats_low']:.3f} to {both['beats_high']:.3f}, "
        text += (
            "The layer is not shown to add anything to confidence, which needs no layer: it "
            f"takes {beats} off the mean absolute error ({interval}corrected p {p:.2g}). "
        )
    elif both["beats"] > 0:
        text += "The layer adds to confidence. "
    else:
        text += "With the layer the prediction is worse than from confidence alone: do not use it. "
    failing = [f"{precision[NAMES[name]]:.0%}" for name in ("both", "confidence", "raw")]
    return text + (
        f"When {notes['budget']:.0%} of the images are reviewed, {failing[0]} of those chosen by "
        f"layer and confidence together fail, {failing[1]} of those chosen by confidence alone "
        f"(fitted in the same way), and {failing[2]} of those with the lowest mean largest "
        "probability."
    )


def _share(r2: float | None) -> str:
    if r2 is None:
        return "an unknown share"
    return f"{r2:.0%}" if r2 > 0 else "nothing (R2 below zero)"


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "Quality is predicted for images like those that the predictor was fitted on. The gate "
        "rejects images unlike those the layer was fitted on. A change that does not show in the "
        "layer is not rejected.",
        "An interval covers over many images, within its slice of predicted area; it promises "
        "nothing about one image. CV+ guarantees 1 - 2 (1 - coverage) only, and in practice "
        "gives about the coverage asked for.",
        "Images are judged by their mean over the studied classes they hold: a class that fails in "
        "an image of many others moves its quality little. See the table class by class.",
        "Maps are for the eye. Slices were made without looking at quality, but k-means may cut "
        "a continuum anywhere.",
        "Prediction is no explanation: that the layer predicts which images fail does not say why.",
    ]
    if sections.cuts_groups(notes):
        limits.append(
            "Folds cut groups, which are fewer than folds: models saw other images of the same "
            "group, so what is reported of unseen images holds for these groups and not for new "
            "ones."
        )
    if not notes["by_group"]:
        limits.append(
            "Groups are too few to calibrate intervals by them; images were counted instead, and "
            "coverage on a new group may be lower."
        )
    return tuple(limits)
