"""The sections of an ability report, each from the result alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import (
    Block,
    ColourBar,
    FigureBlock,
    Gallery,
    Picture,
    Section,
    TableBlock,
)
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.ability.layers import POSITION
from conceptseg.study.shared import local_maps

Row = dict[str, Any]
CURVES = 8


def grid(result: Result, value: str, layers: Sequence[str]) -> np.ndarray:
    """One number of the level table as [classes, layers]."""
    at = {(row["class"], row["layer"]): row[value] for row in result.tables["levels"].rows}
    rows = [[_number(at[c, layer]) for layer in layers] for c in result.notes["classes"]]
    return np.array(rows, dtype=float).reshape(len(rows), len(layers))


def levels(result: Result) -> Section:
    layers = [*result.notes["layers"], POSITION]
    classes = result.notes["classes"]
    blocks: list[Block] = []
    for value, heading, caption in (
        (
            "global",
            "Ability",
            "Dice of each class when a pixel is given to the nearest of the classes' mean "
            "features, learnt on the other half of the images.",
        ),
        (
            "excess",
            "Ability above that of a shuffled network",
            "The same less what a network with shuffled weights reaches, both learnt and read on "
            f"the same images (of a class {_range(result, 'excess_images')}): what was learnt. The "
            "image itself leaves much to be read in layers that learnt nothing.",
        ),
        (
            "above",
            "Ability above the network's own output",
            "Above zero, later layers lose what this one holds. Taken over the images with a class "
            "and those without in which the layer or the output sees it: there, to see it counts "
            f"as a Dice of 0 and not to see it as 1. {_dots(result)}",
        ),
    ):
        values = grid(result, value, layers)
        if not np.isfinite(values).any():
            continue
        significant = (
            {"all cells together": grid(result, "p_adjusted", layers) <= 0.05}
            if value == "above"
            else None
        )
        figure = figures.heatmap(
            values,
            classes,
            layers,
            value_name="Dice" if value == "global" else "difference of Dice",
            centre=None if value == "global" else 0.0,
            low=0.0 if value == "global" else None,
            high=1.0 if value == "global" else None,
            significant=significant,
        )
        table = Table(
            [
                {"class": name, **dict(zip(layers, row.tolist(), strict=True))}
                for name, row in zip(classes, values, strict=True)
            ],
            ("class", *layers),
            {layer: layer for layer in layers},
        )
        alt = f"Heat map of {len(classes)} classes by {len(layers)} layers. {caption}"
        blocks.append(FigureBlock(figure, heading, alt, caption, table, id=f"levels-{value}"))
    return Section("levels", "What each layer can tell", "", blocks)


def emergence(result: Result) -> Section:
    layers = list(result.notes["layers"])
    classes = result.notes["classes"]
    values = grid(result, "global", layers)
    x = np.arange(1, len(layers) + 1, dtype=float)
    rows = [dict(row) for row in result.tables["classes"].rows]
    worst = sorted(range(len(classes)), key=lambda c: _number(rows[c]["output"]))[:CURVES]
    figure = figures.curves(
        x, {classes[c]: values[c] for c in worst}, x_name="layer, in running order", y_name="Dice"
    )
    figure.update_xaxes(tickvals=x.tolist(), ticktext=[_short(name) for name in layers])
    caption = (
        f"Ability over depth, of the {len(worst)} classes that the output segments worst. A curve "
        "that falls towards the end is a class that later layers lose."
    )
    table = Table(
        [
            {"layer": layer, **{classes[c]: float(values[c, place]) for c in worst}}
            for place, layer in enumerate(layers)
        ],
        ("layer", *(classes[c] for c in worst)),
    )
    enough = result.notes["enough"]
    text = (
        f"A class emerges at the first layer whose ability is {enough:.0%} of the output's Dice. "
        "No depth is told where the output, or that layer, is not surely above position alone, nor "
        "where that layer of a shuffled network may read the class as well. The share of draws "
        "says how surely it is this layer. The best layer is chosen knowing the labels, so part of "
        "its lead is luck; its lead over the last layer is told for a layer that was chosen on the "
        "other half of the images."
    )
    blocks: list[Block] = [
        FigureBlock(figure, "Emergence", caption, caption, table, "emergence"),
        TableBlock(result.tables["classes"], "Where each class emerges", text, id="classes"),
    ]
    return Section("depth", "Where classes emerge, and where they fade", "", blocks)


def forgotten(result: Result) -> Section:
    rows = [dict(row) for row in result.tables["forgotten"].rows]
    margin = result.notes["forgotten_margin"]
    of, trained, chance = result.notes["chance"]
    intro = (
        f"Objects whose Dice at a layer is more than {margin:.1f} above the output's: the network "
        "saw them, and lost them on the way. The layer is the one with most such objects in the "
        "other half of the images. Where a class is not there and the output sees none of it, "
        "these layers see as much of it as half an object "
        f"{result.notes['seen_in_vain']} times: what a layer sees there is no object lost. "
    )
    if of:
        intro += (
            f"Of {of} objects {trained} are forgotten, and {chance} would be if the layers were "
            "those of a shuffled network."
        )
    shown = [row for row in rows if row["picture"] is not None]
    blocks: list[Block] = []
    if shown:
        parts = (("truth", "labels"), ("layer", "the layer's map"), ("output", "output"))
        gallery = [
            (
                f"{row['class']} in {row['sample']}, {row['layer']}: {row['seen']:.2f}, "
                f"output {row['output']:.2f}",
                [
                    Picture(
                        safe_key(f"drawn-{row['picture']}-{key}"),
                        f"{row['class']} in {row['sample']}: {told} outlined",
                    )
                    for key, told in parts
                ],
            )
            for row in shown
        ]
        blocks.append(Gallery([told for _, told in parts], gallery, "The largest losses"))
    if rows:
        columns = [c for c in result.tables["forgotten"].columns if c != "picture"]
        table = Table(rows, columns, result.tables["forgotten"].labels)
        blocks.append(TableBlock(table, "All forgotten objects", folded=len(rows) > 12))
    return Section("forgotten", "Forgotten objects", intro, blocks)


def units(result: Result) -> Section:
    rows = [dict(row) for row in result.tables["units"].rows]
    blocks: list[Block] = []
    if rows:
        figure = figures.intervals(
            [f"{row['class']} · {row['layer']} unit {row['unit']}" for row in rows],
            _column(rows, "dice"),
            _column(rows, "low"),
            _column(rows, "high"),
            value_name="Dice on images that did not choose it",
        )
        caption = (
            "One unit alone, on where it is nearer to its mean inside the class than outside, over "
            "all pixels of images with and without the class. "
            f"Chosen on half of {result.notes['unit_images']} images, told on the other half, "
            "with 95 % intervals."
        )
        columns = ("class", "rank", "layer", "unit", "dice", "low", "high", "images")
        table = Table(rows, columns, result.tables["units"].labels)
        blocks.append(
            FigureBlock(figure, "Units that read a class best", caption, caption, table, "units-f")
        )
        by_class: dict[str, list[Row]] = {}
        for row in rows:
            by_class.setdefault(row["class"], []).append(row)
        most = max(len(each) for each in by_class.values())
        gallery = []
        for name, each in by_class.items():
            pictures: list[Picture | None] = [
                Picture(
                    row["picture"],
                    f"Unit {row['unit']} of {row['layer']} in {row['sample']}, {name} outlined",
                    f"{row['layer']} unit {row['unit']}",
                )
                for row in each
            ]
            pictures += [None] * (most - len(pictures))
            gallery.append((f"{name} in {each[0]['sample']}", pictures))
        bar = ColourBar("cividis", 0.0, 1.0, "the unit's value, from its smallest to its largest")
        heads = ["best unit", *(f"unit {rank}" for rank in range(2, most + 1))]
        blocks.append(Gallery(heads, gallery, "Their maps", "The labels are outlined.", bar))
    return Section("units", "Single units", "", blocks)


def chance(result: Result) -> Section:
    """All readings beside each other, so that what chance reaches is seen."""
    text = (
        "Prototypes of a single image are told the prediction and then read it back, so features "
        "of pure noise reach the Dice in the column of noise: the wider the layer, the more. "
        "Prototypes of other images are told nothing of the image they read. Position alone is "
        "what the place in the image tells."
    )
    block = TableBlock(result.tables["levels"], "All readings", text, id="readings", limit=400)
    return Section("chance", "How much is chance", "", [block])


def estimate(result: Result) -> Section:
    rows = [dict(row) for row in result.tables["estimates"].rows]
    figure = figures.intervals(
        [row["told_from"] for row in rows],
        _column(rows, "spearman"),
        _column(rows, "low"),
        _column(rows, "high"),
        value_name="rank correlation with the true Dice of the image",
        reference=0.0,
    )
    caption = (
        "Where no labels are at hand: layers that agree with the prediction are said to mark good "
        "segmentations. 95 % intervals; the network's confidence is what this has to beat."
    )
    block = FigureBlock(
        figure, "Quality without labels", caption, caption, result.tables["estimates"], "told"
    )
    return Section("estimate", "Does agreement between layers tell quality?", "", [block])


def saliency(result: Result) -> Section:
    return local_maps.section(
        result,
        "Where the network looks in single images. All maps of one method share a scale.",
    )


def numbers(result: Result) -> Section:
    block = TableBlock(result.tables["images"], "Every object", limit=500, folded=True)
    return Section("numbers", "All numbers", "", [block])


def _dots(result: Result) -> str:
    """What the dots are, or why there can be none."""
    notes, rows = result.notes, result.tables["levels"].rows
    counted = f"{notes['groups']} {notes['unit']}{'' if notes['groups'] == 1 else 's'}"
    few = sum(not row["tested"] for row in rows)
    if few == len(rows):
        return f"No cell can be tested: {counted} are too few to test."
    told = (
        f"Dots: better by more than {notes['smallest_effect']:.2f}, tested over {counted} and "
        "corrected over all cells together."
    )
    return f"{told} {few} cells are in too few to test." if few else told


def _range(result: Result, name: str) -> str:
    """The least and the largest of a count of the level table, without zeros: "5 to 12"."""
    counts = [row[name] for row in result.tables["levels"].rows if row[name]]
    if not counts:
        return "none"
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else "…" + name[-most + 1 :]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _column(rows: list[Row], name: str) -> np.ndarray:
    return np.array([_number(row[name]) for row in rows], dtype=float)
