"""The sections of an actmax report, each from the result alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import (
    Block,
    Card,
    Cards,
    Facts,
    FigureBlock,
    Picture,
    Section,
    TableBlock,
)
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.shared import local_maps

Row = dict[str, Any]
NAN = float("nan")
CURVES_SHOWN = 8
SPACES = {"earlier": "an earlier layer", "forgot": "the network with shuffled weights"}


def pictures(result: Result) -> Section:
    """A card per unit, the least representative first."""
    units = [dict(row) for row in result.tables["units"].rows]
    made = _by_feature(result, "pictures")
    real = _by_feature(result, "exemplars")
    space = _main(result)
    cards = [_card(row, made.get(g, []), real.get(g, []), space) for g, row in enumerate(units)]
    order = sorted(range(len(units)), key=lambda g: (_trust(units[g], space), units[g]["unit"]))
    intro = (
        "First the pictures that were made, one per seed, faded to grey where the ascent hardly "
        "moved them; then the real images that excite the unit most, strongest first, whole, with "
        'the place of its response outlined. The least representative pictures come first. "Others '
        'less alike" says for how many other units the pictures are less like their images, in '
        "an earlier layer and in the network with its weights shuffled."
    )
    shown = Cards([cards[g] for g in order], shown=40)
    return Section("pictures", "Pictures and real images", intro, [shown])


def _card(row: Row, made: list[Row], real: list[Row], space: str) -> Card:
    name = row["name"]
    shots = [
        Picture(one["faded"], f"Picture made for {name}, seed {one['seed']}", f"made, {s + 1}")
        for s, one in enumerate(made)
    ]
    shots += [
        Picture(
            one["picture"],
            f"Real image {one['sample']} with the response of {name} outlined",
            one["sample"],
            (one["outline"],) if one["outline"] else (),
        )
        for one in real
    ]
    facts: list[tuple[str, Any]] = [
        ("Picture", f"{_number(row['reached']):.3g}"),
        ("Strongest real image", f"{_number(row['real_max']):.3g}"),
        ("Noise it began with", f"{_number(row['noise']):.3g}"),
        ("Real images below", f"{_number(row['percentile']):.0%}"),
        ("Others less alike", _share(row[f"above_{space}"])),
    ]
    if space != "forgot":
        facts.append(("The same, shuffled", _share(row["above_forgot"])))
    agree = _number(row[f"seeds_agree_{space}"])
    if np.isfinite(agree):
        facts.append(("Seeds agree (cosine)", f"{agree:.2f}"))
    badges = [row["verdict"], *([f"detects {row['label']}"] if row["label"] else [])]
    return Card(name.capitalize(), facts, shots, badges, id=f"unit-{row['unit']}")


def trust(result: Result) -> Section:
    """How far each picture goes beyond the data, against how much it resembles them."""
    units = [dict(row) for row in result.tables["units"].rows]
    space = _main(result)
    points = np.array(
        [[_number(row["of_real_max"]), _number(row[f"above_{space}"])] for row in units]
    ).reshape(-1, 2)
    texts = [f"{row['name']} {row['label']}".strip() for row in units]
    words = [row["verdict"] for row in units]
    # Under the pointer stands the strongest real image; the picture is in the unit's card.
    firsts = {one["feature"]: one for one in reversed(result.tables["exemplars"].rows)}
    hover = [
        Picture(firsts[g]["picture"], f"Strongest real image of {texts[g]}", texts[g])
        if g in firsts
        else None
        for g in range(len(units))
    ]
    order = [
        w
        for w in ("representative", "not representative", "beyond the data", "not testable")
        if w in words
    ]
    figure = figures.scatter_map(
        points,
        words,
        texts,
        order=order,
        x_name="response / largest real one",
        y_name="share of units less alike",
        size_px=9,
    )
    caption = (
        "Right of 1 a picture excites its unit more than any real image does. High up it "
        f"resembles the unit's own images in {SPACES[space]}; one half is chance. Low and right: "
        "a picture that fools the unit. Under the pointer: the unit's strongest real image."
    )
    columns = ("name", "label", "verdict", "of_real_max", f"above_{space}", f"p_bh_{space}")
    table = Table(units, columns, result.tables["units"].labels)
    block = FigureBlock(figure, "Reach and likeness", caption, caption, table, "reach", hover)
    return Section("trust", "How far the pictures may be trusted", "", [block])


def chance(result: Result) -> Section:
    """Likeness to own images against likeness to those of other units."""
    blocks: list[Block] = []
    for space in result.notes["spaces"]:
        matrix = np.asarray(result.arrays[f"likeness_{space}"], np.float64)
        own = np.diag(matrix)
        null = matrix[np.asarray(result.arrays[f"compared_{space}"], bool)]
        if not null.size:
            continue
        figure = figures.null_histogram(
            null,
            {"median of own images": float(np.median(own))},
            value_name=f"likeness in {SPACES[space]}",
        )
        caption = (
            f"Cosine, in {SPACES[space]}, of a unit's pictures with the mean of real images: of "
            "other units (bars) and, as a line, of its own."
        )
        rows = [
            {"quantile": q, "other units": np.quantile(null, q), "own unit": np.quantile(own, q)}
            for q in (0.05, 0.25, 0.5, 0.75, 0.95)
        ]
        heading = f"Likeness in {SPACES[space]}"
        blocks.append(
            FigureBlock(figure, heading, caption, caption, Table(rows), f"chance-{space}")
        )
    intro = (
        "Pictures of any unit look a little like all images. What counts is whether they are more "
        "like their own unit's."
    )
    return Section("likeness", "How much of the likeness is chance", intro, blocks)


def ascent(result: Result) -> Section:
    """The objective over the steps, as a share of the largest real value."""
    units = [dict(row) for row in result.tables["units"].rows]
    rows = [dict(row) for row in result.tables["pictures"].rows]
    curve = np.asarray(result.arrays["curve"], np.float64)
    steps = curve.shape[1]
    width = max(1, steps // 32)
    edges = np.arange(0, steps, width)
    series: dict[str, np.ndarray] = {}
    for g, unit in enumerate(units):
        top = _number(unit["real_max"])
        own = [r for r, row in enumerate(rows) if row["feature"] == g]
        if own and top > 0:
            blocks = np.add.reduceat(curve[own].mean(0), edges)
            counts = np.diff(np.append(edges, steps))
            series[f"{unit['name']} {unit['label']}".strip()] = blocks / counts / top
    if not series:
        return Section("ascent", "The ascent", "", [_settings(result)])
    shown = dict(list(series.items())[:CURVES_SHOWN])
    figure = figures.curves(
        edges + width / 2, shown, x_name="step", y_name="response / largest of a real image"
    )
    caption = (
        f"Mean over seeds, on random views, in steps of {width}. 1 is the strongest real image. "
        f"The first {len(shown)} units are drawn; the table has all."
    )
    table = Table(
        [
            {"step": int(edge), **{name: values[k] for name, values in series.items()}}
            for k, edge in enumerate(edges)
        ]
    )
    block = FigureBlock(figure, "Response during the ascent", caption, caption, table, "curves")
    return Section("ascent", "The ascent", "", [block, _settings(result)])


def _settings(result: Result) -> Facts:
    settings = sorted(result.notes["settings"].items())
    return Facts([(name.replace("_", " "), value) for name, value in settings], "Settings")


def saliency(result: Result) -> Section:
    return local_maps.section(
        result,
        "Where the network looks when it predicts the largest class of some of these images. Such "
        "maps show places, not what is there.",
    )


def numbers(result: Result) -> Section:
    block = TableBlock(result.tables["units"], "Every unit", folded=True, limit=1000)
    return Section("numbers", "All numbers", "", [block])


def _by_feature(result: Result, name: str) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in result.tables[name].rows:
        found.setdefault(row["feature"], []).append(dict(row))
    return found


def _main(result: Result) -> str:
    return "earlier" if "earlier" in result.notes["spaces"] else "forgot"


def _trust(row: Row, space: str) -> float:
    value = _number(row[f"above_{space}"])
    return -1.0 if row["verdict"] == "not started" or not np.isfinite(value) else value


def _share(value: Any) -> str:
    number = _number(value)
    return f"{number:.0%} of units" if np.isfinite(number) else "no others"


def _number(value: Any) -> float:
    return NAN if value is None else float(value)
