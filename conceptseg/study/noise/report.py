"""The report of a noise study, from its result alone."""

from collections.abc import Mapping
from typing import Any

from conceptseg.report import charts, cover
from conceptseg.report.blocks import Block, ColourBar, Gallery, Picture, Report, Section, TableBlock
from conceptseg.report.told import Illustrate
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.noise.conclude import AREA, DICE, GAP, OUTSIDE
from conceptseg.study.shared import local_maps

VISIBLE = Column("visible", "share of the pixels that is visible")


def compose(result: Result) -> Report:
    """What the fitted order is worth, by curves; its maps; and how it was fitted."""
    notes = result.notes
    return cover.report(
        result,
        title="Where may noise be added without losing the prediction?",
        method="U-Noise on",
        lead=f"A small network learnt on {notes['fit_images']} images, in {notes['steps']} steps, "
        "how much noise each pixel bears while the prediction stays. Judged are "
        f"{notes['images']} other images.",
        facts=(("Fitted on", f"{notes['fit_images']} images"), ("Steps", notes["steps"])),
        sections=(
            curves(result),
            against(result),
            maps(result),
            local_maps.section(result, "Maps of the same images by other methods."),
            fitted(result),
            numbers(result),
        ),
        limits=(
            "A pixel that bears noise may still be needed: what is bright and large is read "
            "through noise, fine texture is not. So the order says what must not be disturbed.",
            "The curves hide pixels by a fill that the noise network never met; an order that is "
            "good under noise need not be good under a fill, and the other way round.",
            "It is amortised: of an image that is unlike those of the fit it may be wrong.",
            "The noise network is fitted once. On other images the fit gives other levels and "
            "another order; intervals count the images that judge, and know nothing of that.",
            "What is kept is the network's own prediction, right or wrong; no label is read.",
        ),
        illustrate=illustrate(result),
    )


def curves(result: Result) -> Section:
    blocks: list[Block | None] = []
    for (name, fill), rows in _parts(result.tables["curves"]).items():
        methods = list(dict.fromkeys(row["method"] for row in rows))
        at = sorted({row["visible"] for row in rows})
        value = {(row["method"], row["visible"]): row["dice"] for row in rows}
        wide = Table(
            [{"visible": v, **{m: value[m, v] for m in methods}} for v in at],
            labels=VISIBLE.labels,
            caption=f"Dice of {name} at each visible share, fill: {fill}",
        )
        blocks.append(
            charts.curves(
                wide,
                VISIBLE,
                methods,
                axis=DICE.label,
                heading=f"{name}, fill: {fill}",
                caption="Pixels are shown in each method's order; mean over the images that judge. "
                "Intervals are in the table of all numbers.",
                id=f"curve-{len(blocks)}",
            )
        )
    text = "A better order brings the prediction back with fewer pixels visible."
    return Section("curves", "What is left when little is visible?", text, blocks)


def _parts(table: Table) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.rows:
        found.setdefault((row["class"], row["fill"]), []).append(dict(row))
    return found


def against(result: Result) -> Section:
    share = f"{result.notes['visible']:.0%}"
    forest = charts.forest(
        result.tables["against"],
        lambda row: f"{row['class']} · {row['other']} · {row['fill']}",
        GAP,
        reference=0.0,
        filled=lambda row: row["p_adjusted"] is not None and row["p_adjusted"] <= ALPHA,
        heading=f"U-Noise against the others at {share} visible",
        caption="Right of zero U-Noise keeps more. Filled: shown against a map that knows nothing "
        "of the network, corrected over all of these; other methods are not tested.",
        id="against-forest",
    )
    areas = charts.bars(
        result.tables["areas"],
        lambda row: f"{row['class']} · {row['fill']} · {row['method']}",
        {"mean Dice": AREA},
        axis=AREA.label,
        heading="Over all shares",
        caption="The area under each curve.",
    )
    return Section("against", "Does it beat maps that know nothing?", "", [forest, areas])


def maps(result: Result) -> Section | None:
    rows, names = result.tables["shown"].rows, result.notes["judged_methods"]
    if not rows:
        return None
    shown: list[tuple[str, list[Picture | None]]] = [
        ("image", [Picture(row["picture"], f"{_case(row)}, outlined") for row in rows])
    ]
    shown += [
        (name, [Picture(row["maps"][m], f"{name} of {_case(row)}") for row in rows])
        for m, name in enumerate(names)
    ]
    bar = ColourBar("balance", -1.0, 1.0, "attribution, relative to the picture's largest")
    text = "Each map has a scale of its own; maps that are never negative begin at their least."
    heads = [_case(row) for row in rows]
    return Section("maps", "The maps", text, [Gallery(heads, shown, bar=bar)])


def _case(row: Mapping[str, Any]) -> str:
    return f"{row['class']} in {row['sample']}"


def fitted(result: Result) -> Section:
    costs = charts.curves(
        result.tables["costs"],
        Column("step", "step"),
        [Column("cost", "cost")],
        axis="cost",
        heading="The fit",
        caption="Mean over a tenth of the steps. A curve that still falls at its end asks for more "
        "steps.",
        id="fit-cost",
    )
    levels = charts.bars(
        result.tables["levels"],
        "class",
        {"elsewhere": OUTSIDE, "in the region": Column("inside", interval=True)},
        axis="mean level of the noise, 1: as much as may be",
        heading="Noise that is let in",
        caption="Levels near 0 everywhere: the network bears next to no noise anywhere, or the fit "
        "was too short.",
        id="fit-levels",
    )
    return Section("fit", "How was it fitted?", "", [costs, levels])


def numbers(result: Result) -> Section:
    keys = ("against", "curves", "areas", "levels", "costs")
    tables = [TableBlock(result.tables[key], result.tables[key].caption) for key in keys]
    return Section("numbers", "All numbers", "", tables)


def illustrate(result: Result) -> Illustrate:
    """Of a class its first images, each beside the fitted map."""

    def chosen(finding: Finding, card: object) -> list[Picture]:
        found = []
        for row in result.tables["shown"].rows:
            if row["class"] == finding.class_:
                found.append(Picture(row["picture"], f"{_case(row)}, outlined"))
                found.append(Picture(row["maps"][0], f"u_noise of {_case(row)}"))
        return found[:6]

    return chosen
