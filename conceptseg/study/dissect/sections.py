"""The sections of a dissection's report, each from the result alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Block, Facts, FigureBlock, Notice, Prose, Section, TableBlock
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.dissect.charts import compared_bars, treemap

Row = dict[str, Any]
ALPHA = 0.05
MOST_ROWS, MOST_COLUMNS = 40, 24
STRONGEST = 25


def number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def detectors(result: Result) -> Section:
    """How many concepts of each category have a detector, and which units detect what."""
    rows = [dict(row) for row in result.tables["categories"].rows]
    figure = compared_bars(
        [row["category"] for row in rows],
        {
            "concepts seen often enough": np.array([row["concepts"] for row in rows], float),
            "of them with a detector": np.array([row["unique"] for row in rows], float),
            "units that detect one": np.array([row["detectors"] for row in rows], float),
        },
        value_name="count",
    )
    caption = (
        "A detector's overlap with its concept is beyond chance (Benjamini-Hochberg over units, "
        f"0.05) and at least {result.notes['min_overlap']:g} on images that did not choose the "
        "concept."
    )
    blocks: list[Block] = [
        FigureBlock(
            figure,
            "Detectors by category",
            f"Bars for {len(rows)} categories of concepts. {caption}",
            caption,
            result.tables["categories"],
            id="categories",
        )
    ]
    units = [dict(row) for row in result.tables["units"].rows if row["detector"]]
    if units:
        blocks.append(_tree(units))
    concepts = [dict(row) for row in result.tables["concepts"].rows]
    missing = [row for row in concepts if row["detectors"] == 0]
    if missing:
        best = ("best_unit", "best_overlap", "best_normalised", "best_auroc")
        columns = ("concept", "category", "images", "share", *best)
        table = _columns(result.tables["concepts"], missing, columns)
        blocks.append(
            TableBlock(
                table,
                "Concepts without a detector",
                "Units may still tell such a concept, as a high AUROC says: they overlap another "
                "one better, or this one no more than chance would.",
                folded=True,
            )
        )
    return Section("detectors", "What the units detect", "", blocks)


def _tree(units: list[Row]) -> FigureBlock:
    parts: dict[str, dict[str, list[str]]] = {}
    for row in sorted(units, key=lambda r: -number(r["overlap"])):
        parts.setdefault(row["category"], {}).setdefault(row["label"], []).append(
            f"unit {row['unit']}"
        )
    caption = "Category, concept, unit; each unit has the same area."
    columns = ("unit", "label", "category", "overlap", "normalised_iou", "p_adjusted")
    table = Table([{name: row[name] for name in columns} for row in units], columns)
    alt = f"Nested areas of {len(units)} units by the concept that they detect."
    return FigureBlock(treemap(parts), "Which units detect what", alt, caption, table, id="tree")


def causal(result: Result) -> Section:
    """What classes lose without the units of a concept."""
    rows = [dict(row) for row in result.tables["losses"].rows]
    blocks: list[Block] = []
    intro = (
        "A unit may tell a concept that no class ever looks at. So all units that overlap a "
        f"concept are ablated together (set to {_value(result)} everywhere), and the same number "
        "of random units as well."
    )
    if not rows:
        blocks.append(Notice("No concept has a detector, so nothing was ablated for one."))
        return Section("causal", "Which class uses what the units detect", intro, blocks)
    classes = list(dict.fromkeys(row["class"] for row in rows))
    concepts = list(dict.fromkeys(row["concept"] for row in rows))
    at = {(row["concept"], row["class"]): row for row in rows}

    def values(name: str) -> np.ndarray:
        return np.array([[number(at[q, c][name]) for c in classes] for q in concepts])

    figure = figures.heatmap(
        values("change"),
        concepts,
        classes,
        value_name="change of IoU",
        significant={"used": values("used") > 0, "Holm": values("p_holm") <= ALPHA},
    )
    caption = (
        "Blue: the class (column) loses IoU without the units of the concept (row). A dot marks "
        "pairs that pass the criterion chosen below the chart; `used` asks as well for a loss of "
        f"at least {result.notes['smallest_effect']:g} and an interval below zero."
    )
    grid = Table(
        [{"concept": q, **{c: number(at[q, c]["change"]) for c in classes}} for q in concepts]
    )
    alt = f"Heat map of {len(concepts)} concepts by {len(classes)} classes. {caption}"
    heading = "Change of IoU without a concept's units"
    blocks.append(FigureBlock(figure, heading, alt, caption, grid, id="loss-map"))
    blocks.append(_forest(result, rows))
    return Section("causal", "Which class uses what the units detect", intro, blocks)


def _value(result: Result) -> str:
    return "zero" if result.notes["ablated_to"] == "zero" else "their mean"


def _forest(result: Result, rows: list[Row]) -> FigureBlock:
    rows = sorted(rows, key=lambda row: number(row["change"]))[:STRONGEST]
    null = np.array([number(row["random"]) for row in rows])
    figure = figures.intervals(
        [f"{row['class']} · {row['concept']}" for row in rows],
        *(np.array([number(row[name]) for row in rows]) for name in ("change", "low", "high")),
        value_name="change of IoU",
        null=(np.minimum(null, 0), np.maximum(null, 0)),
        null_name="random units",
        reference=0.0,
        significant=np.array([bool(row["used"]) for row in rows]),
        marks=("used", "not used"),
    )
    caption = (
        f"The {len(rows)} largest losses, each with its 95 % interval over images (or their "
        "groups). The grey band reaches from zero to the mean loss without as many random units. "
        "Filled: used. Hollow: no use was shown."
    )
    table = _columns(
        result.tables["losses"],
        rows,
        ("concept", "class", "units", "change", "low", "high", "random", "p_holm", "images"),
    )
    return FigureBlock(figure, "What the units are worth", caption, caption, table, id="forest")


def grid(result: Result) -> Section:
    """Overlap of the strongest units with the concepts that have most."""
    overlap = np.asarray(result.arrays["overlap"], float)
    names = [row["concept"] for row in result.tables["concepts"].rows]
    live = result.arrays["live"]
    seen = np.flatnonzero(np.isfinite(overlap).all(0))
    best = seen[np.argsort(-overlap[:, seen].max(0), kind="stable")][:MOST_COLUMNS]
    units = np.argsort(-overlap[:, seen].max(1), kind="stable")[:MOST_ROWS]
    own = overlap[np.ix_(units, best)]
    order = np.lexsort((-own.max(1), own.argmax(1)))
    units, own = units[order], own[order]
    rows = [f"unit {live[i]}" for i in units]
    columns = [names[c] for c in best]
    figure = figures.heatmap(
        own, rows, columns, value_name="overlap above chance", centre=None, low=0.0
    )
    table = Table(
        [
            {"unit": name, **dict(zip(columns, map(float, line), strict=True))}
            for name, line in zip(rows, own, strict=True)
        ]
    )
    caption = (
        f"The {len(rows)} units and {len(columns)} concepts with the largest overlaps; for each "
        "pair at the threshold that suits it, on images that did not choose it. All pairs are in "
        "the result's arrays."
    )
    alt = f"Heat map of {len(rows)} units by {len(columns)} concepts. {caption}"
    block = FigureBlock(figure, "Units and concepts", alt, caption, table, id="overlaps")
    return Section("grid", "Every unit against every concept", "", [block])


def chance(result: Result) -> Section:
    """Permuted labels, rotated bases, and what the published rule finds in both."""
    notes, null = result.notes, result.notes["null"]
    blocks: list[Block] = [
        Facts(
            (
                ("Units with p <= 0.05 on permuted labels", f"{number(null['rate']):.1%}"),
                ("Detectors on permuted labels", f"{number(null['detectors']):.1%} of the units"),
                (
                    "Detectors on permuted labels by the published rule",
                    f"{number(null['published']):.1%} of the units",
                ),
                ("Permutations", null["permutations"]),
                ("Images permuted", null["images"]),
                ("Units whose concept was shifted instead", null["shifted"]),
                ("Exchanged as wholes", "groups of images" if null["grouped"] else "single images"),
            ),
            "Permuted labels",
        ),
        Prose(
            "The published rule calls a unit a detector when its IoU at the 1 % threshold exceeds "
            "0.04 with any concept. It has no notion of chance: the more, and the larger, the "
            f"concepts, the more units pass. Here it calls {notes['published_detectors']} of "
            f"{notes['live']} live units detectors."
        ),
        _null_figure(result),
    ]
    if len(result.tables["rotation"].rows) > 1:
        blocks.append(_rotation(result))
    return Section("chance", "How much is chance", "", blocks)


def _null_figure(result: Result) -> FigureBlock:
    null, observed = result.arrays["null"], result.arrays["observed"]
    marks = {
        "best unit": float(observed.max()),
        "median unit": float(np.median(observed)),
    }
    figure = figures.null_histogram(null, marks, value_name="largest overlap above chance")
    table = Table(
        [
            {
                "quantile": q,
                "largest of all units, by chance": float(np.quantile(null, q)),
                "observed units": float(np.quantile(observed, q)),
            }
            for q in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
        ]
    )
    caption = (
        "Of each permutation, the largest overlap of any unit with its concept: a unit beyond all "
        "of them counts as a detector however many are looked at (family-wise)."
    )
    heading = "Observed against permuted labels"
    return FigureBlock(figure, heading, caption, caption, table, id="null")


def _rotation(result: Result) -> FigureBlock:
    rows = [dict(row) for row in result.tables["rotation"].rows]
    angles = sorted({row["angle"] for row in rows})

    def spread(name: str) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        own = [[row[name] for row in rows if row["angle"] == angle] for angle in angles]
        ends = (np.array([min(v) for v in own], float), np.array([max(v) for v in own], float))
        return np.array([np.mean(v) for v in own]), ends

    series, bands = {}, {}
    for name, what in (
        ("unique", "concepts with a detector"),
        ("published_unique", "by the published rule"),
    ):
        series[what], bands[what] = spread(name)
    figure = figures.curves(
        np.array(angles),
        series,
        bands,
        x_name="share of the way to a random basis",
        y_name="concepts",
    )
    figure.update_yaxes(rangemode="tozero")
    caption = (
        "Concepts with a detector when the units' basis is turned towards random ones; 0 is the "
        "network's own basis, bands span the draws. A flat line means that single units are no "
        "more telling than random mixtures of them, though the layer as a whole may be. Counted "
        "on a coarse grid and without the test, for high values alone."
    )
    table = result.tables["rotation"]
    heading = "Is the basis special?"
    return FigureBlock(figure, heading, caption, caption, table, id="rotation")


def published(result: Result) -> Section | None:
    """What the published conventions say, side by side."""
    table = result.tables["published"]
    if not table.rows:
        return None
    rows = [dict(row) for row in table.rows]
    summary = [
        {
            "convention": name,
            "detectors": sum(bool(row["detector"]) for row in own),
            "unique": len({row["label"] for row in own if row["detector"]}),
            "median score": float(np.median([number(row["score"]) for row in own])),
        }
        for name in dict.fromkeys(row["convention"] for row in rows)
        for own in [[row for row in rows if row["convention"] == name]]
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
        TableBlock(result.tables["losses"], "Ablated together", limit=400, folded=True),
        TableBlock(result.tables["unit_losses"], "Ablated one by one", limit=400, folded=True),
    ]
    return Section("numbers", "Every unit and concept", "", blocks)


def _columns(table: Table, rows: list[Row], names: tuple[str, ...]) -> Table:
    return Table([{name: row[name] for name in names} for row in rows], names, table.labels)
