"""The sections of a dissection's report that hold charts and tables."""

from typing import Any

import numpy as np

from conceptseg.report import charts
from conceptseg.report.blocks import Block, Facts, FigureBlock, Notice, Prose, Section, TableBlock
from conceptseg.result.columns import Column, as_number
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.dissect.charts import treemap
from conceptseg.study.dissect.tables import (
    ANGLE,
    CHANGE,
    CONCEPTS,
    DETECTORS,
    OVERLAP,
    P_HOLM,
    RANDOM,
    WITH_DETECTOR,
)
from conceptseg.study.shared.verdicts import MARKS, meanings

MOST_ROWS, MOST_COLUMNS = 40, 24
STRONGEST = 25


def detectors(result: Result) -> Section:
    """How many concepts of each category have a detector, and which units detect what."""
    bars = charts.bars(
        result.tables["categories"],
        "category",
        {column.name: column for column in (CONCEPTS, WITH_DETECTOR, DETECTORS)},
        axis="count",
        heading="Detectors by category",
        caption="A detector's overlap with its concept is beyond chance (Benjamini-Hochberg over "
        f"units, {ALPHA:g}) and at least {result.notes['min_overlap']:g} on images that did not "
        "choose the concept.",
        id="categories",
    )
    missing = result.tables["concepts"].where(lambda row: row["detectors"] == 0)
    best = ("best_unit", "best_overlap", "best_normalised", "best_auroc")
    none = TableBlock(
        missing.show("concept", "category", "images", "share", *best),
        "Concepts without a detector",
        "Units may still separate such a concept from the rest, as a high AUROC shows: they "
        "overlap another one better, or this one no more than by chance.",
        folded=True,
    )
    tree = treemap(result.tables["units"].where(lambda row: row["detector"]))
    blocks = [bars, tree, none if missing.rows else None]
    return Section("detectors", "What the units detect", "", blocks)


def causal(result: Result) -> Section:
    """What classes lose without the units of a concept."""
    notes, losses = result.notes, result.tables["losses"]
    fill = "zero" if notes["ablated_to"] == "zero" else "their mean"
    intro = (
        "A unit may detect a concept that no class ever uses. So the units that overlap a concept "
        f"most{_at_most(result)} are ablated together (set to {fill} everywhere), and the same "
        "number of random units as well."
    )
    if not losses.rows:
        notice = Notice("No concept has a detector, so nothing was ablated for one.")
        return Section("causal", "Which class uses what the units detect", intro, [notice])
    rows = ("concept", list(losses.by("concept")))
    columns = ("class", list(losses.by("class")))
    heat = charts.heatmap(
        charts.grid(losses, rows, columns, CHANGE),
        rows[1],
        columns[1],
        value=CHANGE.name,
        corner="concept",
        marked={
            "used": charts.grid(losses, rows, columns, "used") > 0,
            "corrected p": charts.grid(losses, rows, columns, P_HOLM) <= ALPHA,
        },
        heading="Change of IoU without a concept's units",
        caption="Blue: the class (column) loses IoU without the units of the concept (row). A dot "
        "marks pairs that pass the criterion chosen below the chart: the p-value, corrected for "
        f"all pairs by {_correction(result)}; or `used`, which also requires a loss of at least "
        f"{notes['smallest_effect']:g}, an interval below zero"
        + (" and few random sets that cost as much." if "p_random" in losses.columns else "."),
        id="loss-map",
        least=notes["smallest_effect"],
    )
    strongest = losses.sorted(CHANGE).first(STRONGEST)
    forest = charts.forest(
        strongest.show("concept", "class", "units", CHANGE, RANDOM, P_HOLM, "images"),
        lambda row: f"{row['class']} · {row['concept']}",
        CHANGE,
        reference=0.0,
        chance=RANDOM,
        chance_name="random units",
        filled="used",
        marks=MARKS,
        least=notes["smallest_effect"],
        heading="What the units are worth",
        caption="The largest losses, each with its 95 % interval over images (or their groups). "
        "The grey band reaches from zero to the mean loss without as many random units. Filled: "
        "used. Hollow: no use was shown.",
        id="forest",
    )
    return Section("causal", "Which class uses what the units detect", intro, [heat, forest])


def _at_most(result: Result) -> str:
    """How many units are ablated together, in words; a layer of few units allows fewer."""
    most = result.config.get("ablate_units")
    return "" if most is None else f", at most {most} (`ablate_units`) and a third of the layer,"


def _correction(result: Result) -> str:
    """How losses were corrected; results of earlier versions, by Holm's method alone."""
    joint = result.notes.get("correction") == "joint flips"
    return "flipping signs of all pairs together" if joint else "Holm's method"


def grid(result: Result) -> Section:
    """Overlap of the strongest units with the concepts that have most."""
    overlap = np.asarray(result.arrays["overlap"], float)
    names = [row["concept"] for row in result.tables["concepts"].rows]
    live = [row["unit"] for row in result.tables["units"].rows]  # the live ones come first
    seen = np.flatnonzero(np.isfinite(overlap).all(0))
    best = seen[np.argsort(-overlap[:, seen].max(0), kind="stable")][:MOST_COLUMNS]
    units = np.argsort(-overlap[:, seen].max(1), kind="stable")[:MOST_ROWS]
    own = overlap[np.ix_(units, best)]
    order = np.lexsort((-own.max(1), own.argmax(1)))
    heat = charts.heatmap(
        own[order],
        [f"unit {live[i]}" for i in units[order]],
        [names[c] for c in best],
        value=OVERLAP.name,
        corner="unit",
        centre=None,
        ends=(0.0, None),
        heading="Units and concepts",
        caption="The units and concepts with the largest overlaps; for each pair at the threshold "
        "that suits it, on images that did not choose it. All pairs are in the result's arrays.",
        id="overlaps",
    )
    return Section("grid", "Every unit against every concept", "", [heat])


def chance(result: Result) -> Section:
    """Permuted labels, rotated bases, and what the published rule calls detectors in both."""
    notes, null = result.notes, result.notes["null"]
    facts = Facts(
        (
            ("Units with p <= 0.05 on permuted labels", f"{as_number(null['rate']):.1%}"),
            ("Detectors on permuted labels", f"{as_number(null['detectors']):.1%} of the units"),
            (
                "Detectors on permuted labels by the published rule",
                f"{as_number(null['published']):.1%} of the units",
            ),
            ("Permutations", null["permutations"]),
            ("Images permuted", null["images"]),
            ("Units whose concept was shifted instead", null["shifted"]),
            ("Exchanged as wholes", "groups of images" if null["grouped"] else "single images"),
        ),
        "Permuted labels",
    )
    rule = Prose(
        "The published rule calls a unit a detector when its IoU at the 1 % threshold exceeds "
        "0.04 with any concept. It takes no account of chance: the more concepts there are, and "
        f"the larger they are, the more units pass. Here it calls {notes['published_detectors']} "
        f"of {notes['live']} live units detectors."
    )
    observed = result.arrays["observed"]
    histogram = charts.histogram(
        result.arrays["null"],
        {"best unit": float(observed.max()), "median unit": float(np.median(observed))},
        value="largest overlap above chance",
        beside={"observed units": observed},
        null_name="largest of all units, by chance",
        heading="Observed against permuted labels",
        caption="For each permutation, the largest overlap of any unit with its concept: a unit "
        "beyond all of them counts as a detector however many units are tested (family-wise).",
        id="null",
    )
    rotation = _rotation(result.tables["rotation"])
    return Section("chance", "How much is chance", "", [facts, rule, histogram, rotation])


def _rotation(rotation: Table) -> FigureBlock | None:
    if len(rotation.rows) < 2:
        return None
    series = (WITH_DETECTOR, Column("published_unique", "by the published rule"))
    own = rotation.sorted(ANGLE).by("angle")
    draws = {one.name: [table.numbers(one) for table in own.values()] for one in series}
    means = [
        {ANGLE.key: angle, **{one.key: draws[one.name][place].mean() for one in series}}
        for place, angle in enumerate(own)
    ]
    block = charts.curves(
        Table(means),
        ANGLE,
        series,
        axis="concepts",
        bands={
            name: (np.array([d.min() for d in each]), np.array([d.max() for d in each]))
            for name, each in draws.items()
        },
        heading="Is the basis special?",
        caption="Concepts with a detector when the units' basis is turned towards random ones; 0 "
        "is the network's own basis, bands span the draws. A flat line means that single units say "
        "no more about concepts than random mixtures of them, though the layer as a whole may. "
        "Counted on a coarse grid and without the test, for high values alone.",
        id="rotation",
        below=rotation,
    )
    if block is not None:
        figure: Any = block.figure
        figure.update_yaxes(rangemode="tozero")
    return block


def published(result: Result) -> Section | None:
    """What the published conventions say, side by side."""
    table = result.tables["published"]
    if not table.rows:
        return None
    summary = [
        {
            "convention": name,
            "detectors": len(own.where(lambda row: row["detector"]).rows),
            "unique": len(own.where(lambda row: row["detector"]).by("label")),
            "median score": float(np.median(own.numbers("score"))),
        }
        for name, own in table.by("convention").items()
    ]
    text = (
        "The same units by the published rules: each with its own threshold, resolution and "
        "measure, so their numbers are not to be compared with each other."
    )
    blocks: list[Block] = [
        TableBlock(Table(summary), "Conventions"),
        TableBlock(table, "Every unit by every convention", folded=True),
    ]
    return Section("published", "By the published conventions", text, blocks)


def numbers(result: Result) -> Section:
    blocks: list[Block] = [
        TableBlock(result.tables["units"], limit=400),
        TableBlock(result.tables["concepts"], limit=400),
        TableBlock(result.tables["losses"], "Ablated together", meanings(), limit=400, folded=True),
        TableBlock(result.tables["unit_losses"], "Ablated one by one", limit=400, folded=True),
    ]
    return Section("numbers", "Every unit and concept", "", blocks)
