"""The sections of an ability report, each from the result alone."""

from collections.abc import Callable, Sequence

import numpy as np

from conceptseg.report import charts, cover
from conceptseg.report.blocks import ColourBar, FigureBlock, Gallery, Picture, Section, TableBlock
from conceptseg.report.charts import Row
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.ability import tables
from conceptseg.study.ability.config import POSITION

CURVES = 8
PARTS = (("truth", "labels"), ("layer", "the layer's map"), ("output", "output"))


def levels(result: Result) -> Section:
    """Three heat maps of classes by layers: ability, and what is above either control."""
    blocks = [
        _map(
            result,
            tables.ABILITY,
            "Ability",
            "Dice of each class when a pixel is given to the nearest of the classes' mean "
            "features, learnt on the other half of the images.",
        ),
        _map(
            result,
            tables.EXCESS,
            "Ability above that of a shuffled network",
            "The same less what a network with shuffled weights reaches, both learnt and read on "
            f"the same images (of a class {_range(result, 'excess_images')}): what was learnt. "
            "The image itself leaves much to be read in layers that learnt nothing.",
        ),
        _map(
            result,
            tables.ABOVE,
            "Ability above the network's own output",
            "Above zero, later layers lose what this one holds. Computed over the images with a "
            "class, and those without it in which the layer or the output sees it: there, seeing "
            f"it counts as a Dice of 0, not seeing it as 1. {_dots(result)}",
        ),
    ]
    return Section("levels", "What each layer can tell", "", blocks)


def _map(result: Result, column: Column, heading: str, caption: str) -> FigureBlock | None:
    layers, whole = [*result.notes["layers"], POSITION], column is tables.ABILITY
    marked = {"all cells together": _grid(result, tables.P_ADJUSTED, layers) <= ALPHA}
    return charts.heatmap(
        _grid(result, column, layers),
        result.notes["classes"],
        layers,
        value="Dice" if whole else "difference of Dice",
        centre=None if whole else 0.0,
        ends=(0.0, 1.0) if whole else (None, None),
        marked=marked if column is tables.ABOVE else None,
        heading=heading,
        caption=caption,
        id=f"levels-{column.key}",
    )


def _grid(result: Result, column: Column, layers: Sequence[str]) -> np.ndarray:
    """One number of the level table as [classes, layers]."""
    rows, columns = ("class", result.notes["classes"]), ("layer", layers)
    return charts.grid(result.tables["levels"], rows, columns, column)


def emergence(result: Result) -> Section:
    layers, enough = list(result.notes["layers"]), result.notes["enough"]
    table = result.tables["classes"]
    worst = [row["class"] for row in table.sorted(tables.OUTPUT).rows[:CURVES]]
    ability = dict(zip(result.notes["classes"], _grid(result, tables.ABILITY, layers), strict=True))
    curves = charts.curves(
        Table.of_columns({"layer": layers, **{name: ability[name].tolist() for name in worst}}),
        Column("layer", "layer, in running order"),
        worst,
        axis="Dice",
        ticks=lambda row: _short(row["layer"]),
        heading="Emergence",
        caption=f"Ability over depth, of the {len(worst)} classes that the output segments worst. "
        "A curve that falls towards the end is a class that later layers lose.",
        id="emergence",
    )
    text = (
        f"A class emerges at the first layer whose ability is {enough:.0%} of the output's Dice. "
        "No depth is reported where the output or that layer is not clearly better than position "
        "alone, or where that layer of a shuffled network may read the class equally well. The "
        "share of draws says how certain the layer is. The best layer is chosen with the labels, "
        "so part of its lead is luck; its lead over the last layer is therefore reported for a "
        "layer that was chosen on the other half of the images."
    )
    where = TableBlock(table, "Where each class emerges", text, id="classes")
    return Section("depth", "Where classes emerge, and where they fade", "", [curves, where])


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of forgotten objects the largest losses, each as it is seen by a layer and by the output."""
    rows = result.tables["forgotten"].where(lambda row: row["picture"] is not None).rows

    def chosen(finding: Finding) -> Sequence[Picture]:
        if finding.evidence != "forgotten":
            return ()
        return [one for row in rows for one in _pictures(row)][:6]

    return chosen


def _object(row: Row) -> str:
    return f"{row['class']} in {row['sample']}"


def _pictures(row: Row) -> list[Picture]:
    """An object with each of `PARTS` outlined."""
    keys = [(safe_key(f"drawn-{row['picture']}-{key}"), what) for key, what in PARTS]
    return [Picture(key, f"{_object(row)}: {what} outlined") for key, what in keys]


def forgotten(result: Result) -> Section:
    table = result.tables["forgotten"]
    of, trained, chance = result.notes["chance"]
    intro = (
        f"Objects whose Dice at a layer is more than {result.notes['forgotten_margin']:.1f} above "
        "the output's: the network saw them, and lost them on the way. The layer is the one with "
        "most such objects in the other half of the images. For comparison: in "
        f"{result.notes['seen_in_vain']} cases these layers see at least half an object's worth of "
        "a class that is neither in the image nor in the output, so no object is lost there. "
    )
    if of:
        intro += (
            f"Of {of} objects {trained} are forgotten, and {chance} would be if the layers were "
            "those of a shuffled network."
        )
    rows: list[tuple[str, Sequence[Picture | None]]] = []
    for row in table.where(lambda row: row["picture"] is not None).rows:
        title = f"{_object(row)}, {row['layer']}: {row['seen']:.2f}, output {row['output']:.2f}"
        rows.append((title, _pictures(row)))
    shown = Gallery([what for _, what in PARTS], rows, "The largest losses") if rows else None
    every = table.show(*table.columns[:-1])
    listed = TableBlock(every, "All forgotten objects", folded=len(table.rows) > 12)
    blocks = [shown, listed if table.rows else None]
    return Section("forgotten", "Forgotten objects", intro, blocks)


def units(result: Result) -> Section:
    table = result.tables["units"]
    forest = charts.forest(
        table.show("class", "rank", "layer", "unit", tables.DICE, "images"),
        lambda row: f"{row['class']} · {row['layer']} unit {row['unit']}",
        tables.DICE,
        heading="Units that read a class best",
        caption="One unit alone, on where it is nearer to its mean inside the class than outside, "
        "over all pixels of images with and without the class. Chosen on half of "
        f"{result.notes['unit_images']} images, measured on the other half, with 95 % intervals.",
        id="units-f",
    )
    return Section("units", "Single units", "", [forest, _unit_maps(table)])


def _unit_maps(table: Table) -> Gallery | None:
    rows: list[tuple[str, list[Picture | None]]] = []
    most = max((len(own.rows) for own in table.by("class").values()), default=0)
    for name, own in table.by("class").items():
        pictures = [
            Picture(
                row["picture"],
                f"Unit {row['unit']} of {row['layer']} in {row['sample']}, {name} outlined",
                f"{row['layer']} unit {row['unit']}",
            )
            for row in own.rows
        ]
        empty = [None] * (most - len(pictures))
        rows.append((f"{name} in {own.rows[0]['sample']}", [*pictures, *empty]))
    bar = ColourBar("cividis", 0.0, 1.0, "the unit's value, from its smallest to its largest")
    heads = ["best unit", *(f"unit {rank}" for rank in range(2, most + 1))]
    return Gallery(heads, rows, "Their maps", "The labels are outlined.", bar) if rows else None


def chance(result: Result) -> Section:
    """All readings beside each other, so that what chance reaches is seen."""
    text = (
        "Prototypes of a single image are made from its prediction and then read that prediction "
        "back, so even features of pure noise reach the Dice in the column of noise: the wider the "
        "layer, the more. Prototypes of other images know nothing of the image that they read. "
        "Position alone is how well a class can be read from the place in the image."
    )
    table = result.tables["levels"]
    block = TableBlock(table, "All readings", text, id="readings", limit=400)
    return Section("chance", "How much is chance", "", [block])


def estimate(result: Result) -> Section:
    forest = charts.forest(
        result.tables["estimates"],
        "told_from",
        tables.SPEARMAN,
        axis="rank correlation with the true Dice of the image",
        reference=0.0,
        heading="Quality without labels",
        caption="For use without labels: layers that agree with the prediction are said to "
        "mark good segmentations. 95 % intervals. It is of use only if it does better than the "
        "network's own confidence.",
        id="told",
    )
    return Section("estimate", "Does agreement between layers predict quality?", "", [forest])


def _dots(result: Result) -> str:
    """What the dots are, or why there can be none."""
    levels, counted = result.tables["levels"].rows, cover.counted(result.notes)
    few = sum(not row["tested"] for row in levels)
    if few == len(levels):
        return f"No cell can be tested: {counted} are too few to test."
    text = (
        f"Dots: better by more than {result.notes['smallest_effect']:.2f}, tested over {counted} "
        "and corrected over all cells together."
    )
    return f"{text} {few} cells rest on too few to test." if few else text


def _range(result: Result, name: str) -> str:
    """The least and the largest of a count of the level table, without zeros: "5 to 12"."""
    counts = [row[name] for row in result.tables["levels"].rows if row[name]]
    if not counts:
        return "none"
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else "…" + name[-most + 1 :]
