"""The local saliency maps of a result: table, pictures, arrays, and a report's section on them.

Every study shows such maps beside its own result in this one form.
:mod:`conceptseg.study.shared.compare` makes them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from conceptseg.report.blocks import Block, ColourBar, Gallery, Picture, Prose, Section
from conceptseg.report.thumbnails import ZERO
from conceptseg.report.told import Illustrate
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result, safe_key
from conceptseg.result.table import Table
from conceptseg.study.shared.compare import Comparison

BLANK = "zero everywhere"
"""Column of the methods whose map is zero everywhere."""


def table(comparison: Comparison, classes: Sequence[str]) -> Table:
    """A row per image and class: `sample`, `class`, the keys of its pictures, `picture` of the
    image itself and one by each method's name, and the methods whose map is zero everywhere."""
    rows = [
        {
            "sample": sample_id,
            "class": classes[class_id],
            "picture": _key(n),
            **{method: _key(n, method) for method in comparison.methods},
            BLANK: [method for method in comparison.methods if comparison.blank[method][n]],
        }
        for n, (sample_id, class_id) in enumerate(comparison.chosen)
    ]
    return Table(rows, caption="Local saliency maps shown for comparison")


def pictures(comparison: Comparison) -> dict[str, bytes]:
    """Encoded pictures by the keys of :func:`table`."""
    found = {_key(n): data for n, data in enumerate(comparison.plain)}
    for method, drawn in comparison.pictures.items():
        found |= {_key(n, method): data for n, data in enumerate(drawn)}
    return found


def arrays(comparison: Comparison) -> dict[str, np.ndarray]:
    """The maps themselves, float32 [h, w], signed and not scaled."""
    return {
        safe_key(f"saliency-{n}-{method}"): one
        for method, maps in comparison.maps.items()
        for n, one in enumerate(maps)
    }


def section(result: Result, text: str) -> Section:
    """The maps of a result that has the table as "saliency" and notes its `methods`.

    `text` says what they are to be compared with.
    """
    methods: Sequence[str] = result.notes["methods"]
    rows: list[tuple[str, list[Picture | None]]] = []
    for row in result.tables["saliency"].rows:
        name = f"{row['class']} in {row['sample']}"
        shown = Picture(row["picture"], f"{name}, predicted region outlined")
        own = (Picture(row[m], f"{m} of {name}{said(row, m)}") for m in methods)
        rows.append((name, [shown, *own]))
    blocks: list[Block] = [Prose("None was asked for, or no image has a class to explain.")]
    if rows and methods:
        bar = ColourBar("balance", -1.0, 1.0, "attribution, relative to the method's largest")
        blocks = [Gallery(("image", *methods), rows, bar=bar)]
    return Section("saliency", "Local saliency maps for comparison", text, blocks)


def illustrate(
    result: Result, own: Callable[[Finding], Sequence[Picture]] | None = None
) -> Illustrate:
    """The pictures of a finding: a study's `own`, else those of the card that is its evidence.

    Of a fault always the card's, which show the mistakes: a study's own show the concept alone.
    Else what there is of its class: images with the predicted region outlined, and the first
    method's map of each; of a finding of no class nothing, for that would show something else.
    """
    rows, methods = result.tables["saliency"].rows, result.notes["methods"][:1]

    def chosen(finding: Finding, card: Sequence[Picture]) -> Sequence[Picture]:
        if finding.fault and card:
            return card
        if pictures := (own(finding) if own is not None else ()) or card:
            return pictures
        found = []
        for row in rows:
            if finding.class_ == row["class"]:
                name = f"{row['class']} in {row['sample']}"
                found.append(Picture(row["picture"], f"{name}, predicted region outlined"))
                found += [Picture(row[m], f"{m} of {name}{said(row, m)}") for m in methods]
        return found

    return chosen


def said(row: Mapping[str, Any], method: str) -> str:
    """What is added to the words beside a map: that it is zero everywhere, where it is."""
    return f", {ZERO}" if method in row.get(BLANK, ()) else ""


def _key(number: int, method: str = "") -> str:
    return safe_key(f"compare-{number}-{method}" if method else f"compare-{number}")
