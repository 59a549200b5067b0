"""The sections of an ACE report, each from the result alone."""

import numpy as np

from conceptseg.report import charts
from conceptseg.report.blocks import Block, Facts, FigureBlock, Notice, Prose, Section, TableBlock
from conceptseg.report.charts import Row
from conceptseg.result.columns import Column, as_number
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA
from conceptseg.study.ace import tables
from conceptseg.study.ace.pool import TAGS
from conceptseg.study.ace.verdict import out_of_reach
from conceptseg.study.shared.verdicts import MARKS, meanings

STRONGEST = 25
MAPS = (
    (
        tables.LOSS,
        "Change of IoU when a concept is erased",
        "Blue: the class loses IoU without the concept. A dot marks pairs that pass the criterion "
        "chosen below the chart.",
    ),
    (
        tables.MOVES,
        "Change of score along a concept",
        "First-order change of the class's score when the layer moves from ordinary segments to "
        "those of the concept. Brown: the concept raises the score.",
    ),
)


def classes(result: Result) -> Section:
    pairs = result.tables["pairs"]
    rows = ("class", list(pairs.by("class")))
    columns = ("concept", sorted(pairs.by("concept")))

    def grid(column: Column | str) -> np.ndarray:
        return charts.grid(pairs, rows, columns, column)

    marked = {
        "Used (corrected)": grid("used") > 0,
        "corrected": grid(tables.P_HOLM) <= ALPHA,
        "Benjamini-Hochberg": grid(tables.P_BH) <= ALPHA,
        "uncorrected": grid(tables.P) <= ALPHA,
    }
    maps = [
        charts.heatmap(
            grid(column),
            rows[1],
            [f"concept {q}" for q in columns[1]],
            value=column.name,
            marked=marked,
            heading=heading,
            caption=caption,
            id=f"map-{column.key}",
            least=result.notes["smallest_effect"] if column is tables.LOSS else 0.0,
        )
        for column, heading, caption in MAPS
    ]
    text = (
        "How well each class is segmented, and how much of the decision passes through the layer: "
        "the change of IoU when the whole layer is set to its mean. A small change means that skip "
        "connections carry the class, and that this layer's concepts explain little of it."
    )
    return Section(
        "classes",
        "Which class uses which concept",
        "Every concept was tested with every class.",
        [*maps, TableBlock(result.tables["classes"], "The classes", text)],
    )


def erasure(result: Result) -> Section:
    pairs = result.tables["pairs"]
    erased = _largest(pairs, tables.LOSS)
    outside = _largest(pairs, tables.OUTSIDE)
    why = out_of_reach(result.notes)
    blocks = [
        charts.forest(
            erased.show(
                "class", "concept", tables.LOSS, tables.NULL_LOSS, tables.P_HOLM, tables.ERASED
            ),
            pair_name,
            tables.LOSS,
            reference=0.0,
            chance=tables.NULL_LOSS,
            chance_name="random directions",
            filled="used",
            marks=MARKS,
            least=result.notes["smallest_effect"],
            heading="What erasing a concept costs",
            caption=f"The {len(erased.rows)} largest losses, each with its 95 % interval. The grey "
            "band reaches from zero to the mean loss when random directions of the layer are "
            "erased instead. Filled: used.",
            id="forest",
        ),
        charts.forest(
            outside.show("class", "concept", tables.OUTSIDE, tables.LOSS.alone),
            pair_name,
            tables.OUTSIDE,
            reference=0.0,
            filled="from_context",
            marks=("acts from context", "not shown"),
            heading="What erasing it away from the object alone costs",
            caption="Of the uses: the concept is left alone where the class is predicted and in "
            "the ring around that (a tenth of the image's diagonal), and erased everywhere "
            "else. A loss here is context at work. Filled: acts from context."
            + (f" {why}." if why else ""),
            id="outside",
        ),
    ]
    text = (
        "A concept is erased by taking away, at every position, what the layer has along its "
        "direction in excess of segments without the concept; the rest of the network then runs as "
        "it is."
    )
    return Section("erasure", "What a concept is worth", text, blocks)


def where(result: Result) -> Section:
    placed = result.tables["pairs"].where(lambda row: row["inside"] is not None)
    used = placed.where(lambda row: row["used"])
    rows = used if used.rows else placed.where(lambda row: as_number(row["moves"]) > 0)
    rows = rows.sorted(tables.LOSS).first(STRONGEST)
    blocks = [
        charts.shares(
            rows.show("class", "concept", *TAGS, tables.SHARE, tables.TCAV_OUTSIDE),
            pair_name,
            TAGS,
            heading="Where it lives",
            caption="Segments that stand for the concept, in images that hold the class: the share "
            "inside the class's predicted region, in the ring around it (a tenth of the image's "
            "diagonal), and elsewhere.",
            id="lives",
        ),
        charts.scatter(
            rows.show("class", "concept", tables.TCAV, tables.TCAV_OUTSIDE, tables.P_TCAV),
            Column("tcav", "TCAV (share of images with a positive derivative)"),
            Column("tcav_outside", "TCAV of the part outside the region"),
            "class",
            pair_name,
            size_px=10,
            equal=True,
            heading="From inside or outside",
            caption="TCAV counts the images in which the score rises along the concept; 0.5 is no "
            "tendency. On the upward axis only positions outside the class's region count. TCAV "
            "takes the gradient at the images themselves, where a confident network "
            "is flat, and where all images agree its test has no power: it is shown only for "
            "comparison with published results.",
            id="tcav",
        ),
    ]
    return Section("where", "Where the concepts live", "", blocks)


def chance(result: Result) -> Section:
    choices = TableBlock(
        result.tables["choices"],
        "How many concepts",
        "Mean adjusted Rand index between clusterings of bootstrap draws of the images.",
    )
    blocks = [*_calibration(result), _against_chance(result), *_control(result), choices]
    return Section("chance", "How much is chance", "", blocks)


def _calibration(result: Result) -> list[Block]:
    calibration = result.tables["calibration"]
    if not calibration.rows:
        return []
    published = result.tables["pairs"].numbers(tables.P_PUBLISHED)
    published = published[np.isfinite(published)]
    share = (published <= ALPHA).mean() if len(published) else float("nan")
    text = (
        f"The test was tried on {int(calibration.numbers('random_concepts').sum())} random "
        "concepts (sets of as many segments as a real one's, wherever they lie): it called "
        f"{calibration.numbers(tables.RATE).mean():.1%} of them significant at {ALPHA}. The "
        "published TCAV test, which is shown only for comparison and is not calibrated, calls "
        f"{share:.0%} of the real pairs significant before any correction."
    )
    return [Prose(text), TableBlock(calibration, "The test on random concepts")]


def _against_chance(result: Result) -> FigureBlock | None:
    """The score change of the strongest use, or pair, among those of its random concepts."""
    pairs = result.tables["pairs"]
    used = pairs.where(lambda row: row["used"]).sorted(tables.LOSS)
    strongest = (used if used.rows else pairs.sorted(tables.P_MOVES)).rows[:1]
    if not strongest or "null_moves" not in result.arrays:
        return None
    row, name = strongest[0], pair_name(strongest[0])
    tested = [result.notes["classes"][c] for c in result.arrays["null_class"]]
    return charts.histogram(
        result.arrays["null_moves"][tested.index(row["class"]), row["concept"] - 1],
        {name: row["moves"]},
        value="change of score along the concept",
        quantiles=(0.0, 0.025, 0.25, 0.5, 0.75, 0.975, 1.0),
        heading="Observed against chance",
        caption=f"Random concepts with as many segments, images and places as that of {name}, and "
        "the concept itself.",
        id="null",
    )


def _control(result: Result) -> list[Block]:
    control = result.notes["control"]
    if not control["pairs"]:
        return []
    facts = (
        ("Images", control["images"]),
        ("Pairs tested", control["pairs"]),
        ("Significant, trained network", control["trained"]),
        (
            "Significant, weights shuffled",
            "not testable: the network with its weights shuffled puts out NaN or infinity"
            if control["shuffled"] is None
            else control["shuffled"],
        ),
    )
    text = (
        "Images differ in texture even to a network that has learnt nothing, so a shuffled network "
        "can show significant score changes. What it cannot show is a loss of IoU, which is why a "
        "use needs both."
    )
    return [
        Facts(facts, "Control: the score test with the network's weights shuffled"),
        Notice(text, heading="How to read the control"),
    ]


def all_pairs(result: Result) -> Section:
    pairs = result.tables["pairs"]
    block, rare = TableBlock(pairs, folded=False, limit=400), "p_random" in pairs.columns
    text = (
        f"A use needs a p of both effects together of at most {ALPHA}, corrected over all pairs, "
        "a positive change of score, an interval of the IoU change below zero and a loss that is "
        "large enough"
        + (", and a p among random directions of at most 0.05" if rare else "")
        + (", or among what these hold beside the concept" if "p_apart" in pairs.columns else "")
        + ". Where no p is "
        "given, none could have passed: the smallest corrected p possible is then above that. "
        + meanings()
    )
    return Section("pairs", "Every class and concept", text, [block])


def pair_name(row: Row) -> str:
    return f"{row['class']} · concept {row['concept']}"


def _largest(pairs: Table, loss: Column) -> Table:
    """The largest losses of those that are known."""
    return pairs.where(lambda row: row[loss.key] is not None).sorted(loss).first(STRONGEST)
