"""The sections of an actmax report, each from the result alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conceptseg.report import charts
from conceptseg.report.blocks import Card, Cards, Facts, Picture, Section
from conceptseg.report.charts import Row
from conceptseg.result.columns import Column, as_number
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.actmax.judge import UNSHOWN
from conceptseg.study.actmax.tables import ABOVE, OF_REAL_MAX, P_BH

CURVES_SHOWN = 8
SPACES = {"earlier": "an earlier layer", "forgot": "the network with shuffled weights"}


def pictures(result: Result) -> Section:
    """A card per unit, the least representative first."""
    units, space, none = result.tables["units"].rows, _main(result), Table(())
    made, real = (result.tables[name].by("feature") for name in ("pictures", "exemplars"))
    order = sorted(enumerate(units), key=lambda place: (_trust(place[1], space), place[1]["unit"]))
    cards = [_card(row, made.get(g, none).rows, real.get(g, none).rows, space) for g, row in order]
    intro = (
        "First the pictures that were made, one per seed, faded to grey where the ascent hardly "
        "moved them; then the real images that excite the unit most, strongest first, whole, with "
        'the place of its response outlined. The least representative pictures come first. "Others '
        'less alike" says for how many other units the pictures are less like their images, in '
        "an earlier layer and in the network with its weights shuffled."
    )
    return Section("pictures", "Pictures and real images", intro, [Cards(cards, shown=40)])


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of the finding about all units, the first pictures of some beside a real image of each."""
    units = result.tables["units"].rows
    made, real = (result.tables[name].by("feature") for name in ("pictures", "exemplars"))

    def chosen(finding: Finding) -> Sequence[Picture]:
        if finding.evidence != "likeness":
            return ()
        found = []
        for g in list(made)[:3]:
            found += _shots(units[g], made[g].rows[:1], real.get(g, Table(())).rows[:1])
        return found

    return chosen


def _shots(row: Row, made: Sequence[Row], real: Sequence[Row]) -> list[Picture]:
    """The pictures made for a unit, one per seed, then the real images that excite it most."""
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
    return shots


def _card(row: Row, made: Sequence[Row], real: Sequence[Row], space: str) -> Card:
    shots = _shots(row, made, real)
    facts: list[tuple[str, Any]] = [
        ("Picture", f"{as_number(row['reached']):.3g}"),
        ("Strongest real image", f"{as_number(row['real_max']):.3g}"),
        ("Noise it began with", f"{as_number(row['noise']):.3g}"),
        ("Real images below", f"{as_number(row['percentile']):.0%}"),
        ("Others less alike", _share(row[f"above_{space}"])),
    ]
    if space != "forgot":
        facts.append(("The same, shuffled", _share(row["above_forgot"])))
    agree = as_number(row[f"seeds_agree_{space}"])
    if np.isfinite(agree):
        facts.append(("Seeds agree (cosine)", f"{agree:.2f}"))
    badges = [row["verdict"], *([f"detects {row['label']}"] if row["label"] else [])]
    return Card(row["name"].capitalize(), facts, shots, badges, id=f"unit-{row['unit']}")


def trust(result: Result) -> Section:
    """How far each picture goes beyond the data, against how much it resembles them."""
    space = _main(result)
    # Under the pointer stands the strongest real image; the picture is in the unit's card.
    firsts = {one["unit"]: one["picture"] for one in reversed(result.tables["exemplars"].rows)}

    def strongest(row: Row) -> Picture | None:
        if row["unit"] not in firsts:
            return None
        return Picture(firsts[row["unit"]], f"Strongest real image of {_name(row)}", _name(row))

    block = charts.scatter(
        result.tables["units"].show(
            "name", "label", "verdict", OF_REAL_MAX, ABOVE[space], P_BH[space]
        ),
        replace(OF_REAL_MAX, label="response / largest real one"),
        replace(ABOVE[space], label="share of units less alike"),
        "verdict",
        _name,
        order=("representative", UNSHOWN, "beyond the data", "not testable"),
        picture=strongest,
        heading="Reach and likeness",
        caption="Right of 1 a picture excites its unit more than any real image does. High up it "
        f"resembles the unit's own images in {SPACES[space]}; one half is chance. Low and right: "
        "a picture that fools the unit. Under the pointer: the unit's strongest real image.",
        id="reach",
    )
    return Section("trust", "How far the pictures may be trusted", "", [block])


def chance(result: Result) -> Section:
    """Likeness to own images against likeness to those of other units."""
    blocks = []
    for space in result.notes["spaces"]:
        matrix = np.asarray(result.arrays[f"likeness_{space}"], np.float64)
        own = np.diag(matrix)
        blocks.append(
            charts.histogram(
                matrix[np.asarray(result.arrays[f"compared_{space}"], bool)],
                {"median of own images": float(np.median(own))},
                value=f"likeness in {SPACES[space]}",
                beside={"own unit": own},
                null_name="other units",
                quantiles=(0.05, 0.25, 0.5, 0.75, 0.95),
                heading=f"Likeness in {SPACES[space]}",
                caption=f"Cosine, in {SPACES[space]}, of a unit's pictures with the mean of real "
                "images: of other units (bars) and, as a line, of its own.",
                id=f"chance-{space}",
            )
        )
    intro = (
        "Pictures of any unit look a little like all images. What counts is whether they are more "
        "like their own unit's."
    )
    return Section("likeness", "How much of the likeness is chance", intro, blocks)


def ascent(result: Result) -> Section:
    """The objective over the steps, as a share of the largest real value."""
    curve = np.asarray(result.arrays["curve"], np.float64)
    features = result.tables["pictures"].numbers("feature")
    steps = curve.shape[1]
    width = max(1, steps // 32)
    edges = np.arange(0, steps, width)
    counts = np.diff(np.append(edges, steps))
    series: dict[str, np.ndarray] = {}
    for g, unit in enumerate(result.tables["units"].rows):
        top, own = as_number(unit["real_max"]), curve[features == g]
        if len(own) and top > 0:
            series[_name(unit)] = np.add.reduceat(own.mean(0), edges) / counts / top
    rows = [
        {"step": float(edge + width / 2), **{name: float(one[k]) for name, one in series.items()}}
        for k, edge in enumerate(edges.tolist())
    ]
    shown = list(series)[:CURVES_SHOWN]
    block = charts.curves(
        Table(rows),
        Column("step"),
        shown,
        axis="response / largest of a real image",
        heading="Response during the ascent",
        caption=f"Mean over seeds, on random views, in steps of {width}. 1 is the strongest real "
        f"image. The first {len(shown)} units are drawn; the table has all.",
        id="curves",
    )
    chosen = sorted(result.notes["settings"].items())
    settings = Facts([(name.replace("_", " "), value) for name, value in chosen], "Settings")
    return Section("ascent", "The ascent", "", [block, settings])


def _name(row: Row) -> str:
    return f"{row['name']} {row['label']}".strip()


def _main(result: Result) -> str:
    return "earlier" if "earlier" in result.notes["spaces"] else "forgot"


def _trust(row: Row, space: str) -> float:
    value = as_number(row[f"above_{space}"])
    return -1.0 if row["verdict"] == "not started" or not np.isfinite(value) else value


def _share(value: Any) -> str:
    number = as_number(value)
    return f"{number:.0%} of units" if np.isfinite(number) else "no others"
