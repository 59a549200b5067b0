"""The report of an ACE study, from its result alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conceptseg import figures
from conceptseg.ace.assess import ALPHA
from conceptseg.ace.tcav import TAGS
from conceptseg.report import (
    Block,
    Card,
    Cards,
    ColourBar,
    Facts,
    FigureBlock,
    Gallery,
    Notice,
    Picture,
    Prose,
    Report,
    Section,
    TableBlock,
)
from conceptseg.result import Result, Table

Row = dict[str, Any]
STRONGEST = 25


def compose(result: Result) -> Report:
    """Findings, concepts, where they lie, what erasing them costs, and how far to believe it."""
    notes = result.notes
    pairs = list(result.tables["pairs"].rows)
    used = [row for row in pairs if row["used"]]
    context = [row for row in used if row["from_context"]]
    concepts = result.tables["concepts"].rows
    lead = (
        f"Layer {notes['layer']} of {notes['model']} was searched for visual concepts in "
        f"{notes['images']} images. {len(concepts)} concepts were found; "
        f"{len({row['concept'] for row in used})} of them are used by at least one class, "
        f"which means that the class's score moves along the concept more than along random "
        f"sets of segments, and that erasing the concept costs the class at least "
        f"{notes['smallest_effect']:.2f} IoU. "
        + (
            f"{len(context)} of these {len(used)} uses act from outside the object itself."
            if used
            else "No use was shown; the table of classes says how small an effect would have been "
            "seen."
        )
    )
    return Report(
        title="Concepts in a segmentation network",
        subtitle=f"ACE on {notes['model']}, data {notes['manifest']}",
        lead=lead,
        facts=(
            ("Network", notes["model"]),
            ("Weights", notes["origin"]),
            ("Layer", notes["layer"]),
            ("Data", notes["manifest"]),
            ("Images", f"{notes['images']} of {notes['images_given']} given"),
            ("Segments", notes["segments"]),
            ("Concepts", len(concepts)),
        ),
        sections=tuple(_sections(result, pairs)),
        limits=_limits(result),
        alpha=ALPHA,
    )


def _sections(result: Result, pairs: list[Row]) -> list[Section]:
    return [
        _classes(result, pairs),
        _erasure(result, pairs),
        _where(result, pairs),
        _concepts(result, pairs),
        _map(result),
        _chance(result, pairs),
        _saliency(result),
        _all_pairs(result),
    ]


def _classes(result: Result, pairs: list[Row]) -> Section:
    classes = list(dict.fromkeys(row["class"] for row in pairs))
    concepts = sorted({row["concept"] for row in pairs})
    at = {(row["class"], row["concept"]): row for row in pairs}

    def grid(value: str) -> np.ndarray:
        return np.array(
            [[_number(at[c, q][value]) for q in concepts] for c in classes], dtype=float
        ).reshape(len(classes), len(concepts))

    blocks: list[Block] = []
    if pairs:
        names = [f"concept {q}" for q in concepts]
        significant = {
            "Used (Holm)": grid("used") > 0,
            "Holm": grid("p_holm") <= ALPHA,
            "Benjamini-Hochberg": grid("p_bh") <= ALPHA,
            "uncorrected": grid("p") <= ALPHA,
        }
        for value, heading, caption in (
            (
                "loss",
                "Change of IoU when a concept is erased",
                "Blue: the class loses IoU without the concept. A dot marks pairs that pass the "
                "criterion chosen below the chart.",
            ),
            (
                "moves",
                "Change of score along a concept",
                "First-order change of the class's score when the layer moves from ordinary "
                "segments to those of the concept. Brown: the concept raises the score.",
            ),
        ):
            figure = figures.heatmap(
                grid(value),
                classes,
                names,
                value_name=result.tables["pairs"].labels[value],
                significant=significant,
            )
            table = Table(
                [
                    {
                        "class": c,
                        **{
                            n: _number(at[c, q][value])
                            for n, q in zip(names, concepts, strict=True)
                        },
                    }
                    for c in classes
                ]
            )
            alt = f"Heat map of {len(classes)} classes by {len(concepts)} concepts. {caption}"
            blocks.append(FigureBlock(figure, heading, alt, caption, table, id=f"map-{value}"))
    blocks.append(
        TableBlock(
            result.tables["classes"],
            "The classes",
            "How well each class is segmented, and how much of the decision passes through the "
            "layer: the change of IoU when the whole layer is set to its mean. A small change "
            "means that skip connections carry the class, and that concepts of this layer speak "
            "for little of it.",
        )
    )
    return Section(
        "classes",
        "Which class uses which concept",
        "Every concept was tested with every class.",
        blocks,
    )


def _erasure(result: Result, pairs: list[Row]) -> Section:
    rows = sorted((row for row in pairs if row["loss"] is not None), key=lambda r: r["loss"])
    rows = rows[:STRONGEST]
    blocks: list[Block] = []
    if rows:
        null = (_column(rows, "null_loss"), np.zeros(len(rows)))
        figure = figures.intervals(
            [_pair_name(row) for row in rows],
            _column(rows, "loss"),
            _column(rows, "loss_low"),
            _column(rows, "loss_high"),
            value_name="change of IoU",
            null=(np.minimum(*null), np.maximum(*null)),
            null_name="random directions",
            reference=0.0,
            significant=np.array([row["used"] for row in rows]),
            marks=("used", "not used"),
        )
        names = ("class", "concept", "loss", "loss_low", "loss_high", "null_loss", "p_holm")
        table = _columns(result, rows, (*names, "erased_images"))
        caption = (
            f"The {len(rows)} largest losses, each with its 95 % interval over images (or their "
            "groups). The grey band reaches from zero to the mean loss when random directions of "
            "the layer are erased instead. Filled: used."
        )
        blocks.append(
            FigureBlock(figure, "What erasing a concept costs", caption, caption, table, "forest")
        )
    outside = [row for row in pairs if row["outside_loss"] is not None]
    outside = sorted(outside, key=lambda row: row["outside_loss"])[:STRONGEST]
    if outside:
        figure = figures.intervals(
            [_pair_name(row) for row in outside],
            _column(outside, "outside_loss"),
            _column(outside, "outside_low"),
            _column(outside, "outside_high"),
            value_name="change of IoU, erased outside only",
            reference=0.0,
            significant=np.array([row["from_context"] for row in outside]),
            marks=("acts from context", "does not"),
        )
        names = ("class", "concept", "outside_loss", "outside_low", "outside_high", "loss")
        caption = (
            "The concept is left alone where the class itself is predicted, and erased everywhere "
            "else. A loss here is context at work. Filled: acts from context."
        )
        table = _columns(result, outside, names)
        heading = "What erasing it around the object alone costs"
        blocks.append(FigureBlock(figure, heading, caption, caption, table, id="outside"))
    return Section(
        "erasure",
        "What a concept is worth",
        "A concept is erased by setting the layer's component along its direction to the data "
        "set's mean, at every position; the rest of the network then runs as it is.",
        blocks,
    )


def _where(result: Result, pairs: list[Row]) -> Section:
    rows = [row for row in pairs if row["used"] and row["inside"] is not None]
    if not rows:
        rows = [row for row in pairs if row["inside"] is not None and (row["moves"] or 0) > 0]
    rows = sorted(rows, key=lambda row: _number(row["loss"]))[:STRONGEST]
    blocks: list[Block] = []
    if rows:
        shares = {tag: _column(rows, tag) for tag in TAGS}
        figure = figures.stacked_shares([_pair_name(row) for row in rows], shares)
        table = _columns(result, rows, ("class", "concept", *TAGS, "outside_share", "tcav_outside"))
        caption = (
            "Of the segments that stand for the concept, in images that hold the class: the share "
            "inside the class's predicted region, in the ring around it (a tenth of the image's "
            "diagonal), and elsewhere."
        )
        blocks.append(FigureBlock(figure, "Where it lives", caption, caption, table, id="lives"))
        points = np.stack([_column(rows, "tcav"), _column(rows, "tcav_outside")], axis=1)
        figure = figures.scatter_map(
            points,
            [row["class"] for row in rows],
            [_pair_name(row) for row in rows],
            x_name="TCAV (share of images with a positive derivative)",
            y_name="TCAV of the part outside the region",
            size_px=10,
            equal=True,
        )
        table = _columns(result, rows, ("class", "concept", "tcav", "tcav_outside", "p_tcav"))
        caption = (
            "TCAV counts the images in which the score rises along the concept; 0.5 is no "
            "tendency. On the upward axis only positions outside the class's region count."
        )
        blocks.append(
            FigureBlock(figure, "From inside or outside", caption, caption, table, "tcav")
        )
    return Section("where", "Where the concepts live", "", blocks)


def _concepts(result: Result, pairs: list[Row]) -> Section:
    exemplars: dict[int, list[Row]] = {}
    for row in result.tables["exemplars"].rows:
        exemplars.setdefault(row["concept"], []).append(dict(row))
    enriched: dict[int, list[Row]] = {}
    for row in result.tables["enrichment"].rows:
        enriched.setdefault(row["concept"], []).append(dict(row))
    cards = [
        _card(dict(row), exemplars.get(row["concept"], []), enriched.get(row["concept"], []), pairs)
        for row in result.tables["concepts"].rows
    ]
    strength = {
        card.id: min(
            (
                _number(r["loss"])
                for r in pairs
                if f"concept-{r['concept']}" == card.id and r["used"]
            ),
            default=0.0,
        )
        for card in cards
    }
    cards.sort(key=lambda card: strength[card.id])
    caption = "Each picture is the whole image; the outline is the segment. Used concepts first."
    return Section("concepts", "The concepts", caption, [Cards(cards)])


def _card(row: Row, exemplars: list[Row], enriched: list[Row], pairs: list[Row]) -> Card:
    q = row["concept"]
    used = [pair for pair in pairs if pair["concept"] == q and pair["used"]]
    badges = [f"used by {pair['class']}" for pair in used]
    if any(pair["from_context"] for pair in used):
        badges.append("acts from context")
    facts = [
        ("Seen on", row["seen_on"]),
        ("Segments", f"{row['segments']} in {row['images']} images"),
        ("Mean area", f"{row['area']:.1%} of the image"),
        ("Held-out AUC", f"{row['auc']:.2f}"),
        ("Stability", f"{row['stability']:.2f}"),
        ("Cosine with its crop alone", f"{row['isolation']:.2f}"),
    ]
    for entry in enriched[:3]:
        share = f"{entry['share_in_concept']:.0%} of its images, {entry['share_in_all']:.0%} of all"
        facts.append((f"{entry['column']} = {entry['value']}", share))
    pictures = [
        Picture(
            entry["picture"],
            f"Image {entry['sample']} with a segment of concept {q} outlined",
            entry["sample"],
            (entry["outline"],) if entry["outline"] else (),
        )
        for entry in exemplars
    ]
    text = "; ".join(f"{pair['class']}: IoU {pair['loss']:+.2f} when erased" for pair in used)
    return Card(f"Concept {q}", facts, pictures, badges, text, id=f"concept-{q}")


def _map(result: Result) -> Section:
    rows = [dict(row) for row in result.tables["segments"].rows]
    points = np.asarray(result.arrays["map"], dtype=float)
    names = ["none" if row["concept"] == 0 else f"concept {row['concept']}" for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["concept"] == 0, rows[i]["concept"], i))
    figure = figures.scatter_map(
        points[order],
        [names[i] for i in order],
        [f"{names[i]}, {rows[i]['sample']}" for i in order],
    )
    hover = [
        Picture(rows[i]["picture"], f"Segment of {names[i]}", names[i], (rows[i]["outline"],))
        if rows[i]["outline"]
        else None
        for i in order
    ]
    table = Table([
        {"concept": names[i], "sample": rows[i]["sample"], "x": points[i, 0], "y": points[i, 1]}
        for i in order
    ])  # fmt: skip
    caption = (
        f"UMAP of {len(rows)} segments. It helps the eye to see which segments the layer takes to "
        "be alike; no number rests on it, and distances between islands mean nothing."
    )
    alt = "Scatter plot of segments, coloured by concept. " + caption
    block = FigureBlock(figure, "Segments by likeness", alt, caption, table, "umap", hover)
    return Section("map", "Map of the segments", "", [block])


def _chance(result: Result, pairs: list[Row]) -> Section:
    blocks: list[Block] = []
    calibration = result.tables["calibration"]
    if calibration.rows:
        rate = float(np.mean([row["false_positive_rate"] for row in calibration.rows]))
        total = sum(row["random_concepts"] for row in calibration.rows)
        published = [row["p_published"] for row in pairs if row["p_published"] is not None]
        share = float(np.mean([p <= ALPHA for p in published])) if published else float("nan")
        blocks.append(
            Prose(
                f"The test was tried on {total} random concepts (sets of segments of the same "
                f"make-up as a real one): it called {rate:.1%} of them significant at 0.05. "
                f"The published TCAV test, which is shown for parity only and is not calibrated, "
                f"calls {share:.0%} of the real pairs significant before any correction."
            )
        )
        blocks.append(TableBlock(calibration, "The test on random concepts"))
    strongest = sorted((row for row in pairs if row["used"]), key=lambda row: row["loss"])[:1]
    strongest = strongest or sorted(pairs, key=lambda row: row["p_moves"])[:1]
    if strongest and "null_moves" in result.arrays:
        row = strongest[0]
        classes = [result.notes["classes"][c] for c in result.arrays["null_class"]]
        null = result.arrays["null_moves"][classes.index(row["class"]), row["concept"] - 1]
        figure = figures.null_histogram(
            null, {_pair_name(row): row["moves"]}, value_name="change of score along the concept"
        )
        table = Table([
            {"quantile": q, "change of score": float(np.quantile(null, q))}
            for q in (0.0, 0.025, 0.25, 0.5, 0.75, 0.975, 1.0)
        ])  # fmt: skip
        caption = (
            f"Random concepts with as many segments, images and places as that of "
            f"{_pair_name(row)}, and the concept itself."
        )
        blocks.append(
            FigureBlock(figure, "Observed against chance", caption, caption, table, id="null")
        )
    control = result.notes["control"]
    if control["pairs"]:
        blocks.append(
            Facts(
                (
                    ("Images", control["images"]),
                    ("Pairs tested", control["pairs"]),
                    ("Significant, trained network", control["trained"]),
                    ("Significant, weights shuffled", control["shuffled"]),
                ),
                "Control: the score test with the network's weights shuffled",
            )
        )
        blocks.append(
            Notice(
                "Images differ in texture even to a network that has learnt nothing, so a shuffled "
                "network can show significant score changes. What it cannot show is a loss of IoU, "
                "which is why a use needs both.",
                heading="How to read the control",
            )
        )
    blocks.append(
        TableBlock(
            result.tables["choices"],
            "How many concepts",
            "Mean adjusted Rand index between clusterings of bootstrap draws of the images.",
        )
    )
    return Section("chance", "How much is chance", "", blocks)


def _saliency(result: Result) -> Section:
    rows = [dict(row) for row in result.tables["saliency"].rows]
    methods: Sequence[str] = result.notes["methods"]
    gallery_rows = []
    for row in rows:
        name = f"{row['class']} in {row['sample']}"
        pictures = [Picture(row["picture"], f"{name}, predicted region outlined")]
        pictures += [Picture(row[m], f"{m} of {name}") for m in methods]
        gallery_rows.append((name, pictures))
    blocks: list[Block] = []
    if rows:
        bar = ColourBar("balance", -1.0, 1.0, "attribution, relative to the method's largest")
        blocks.append(Gallery(("image", *methods), gallery_rows, bar=bar))
    return Section(
        "saliency",
        "Local saliency maps for comparison",
        "Where single images are looked at when the class is predicted. All maps of one method "
        "share a scale. Such maps show places, not what is there; the concepts above name it.",
        blocks,
    )


def _all_pairs(result: Result) -> Section:
    block = TableBlock(result.tables["pairs"], folded=False, limit=400)
    text = (
        "A use needs a Holm-corrected p of both effects together of at most 0.05 within its class, "
        "a positive change of score, and an interval of the IoU change below zero."
    )
    return Section("pairs", "Every class and concept", text, [block])


def _limits(result: Result) -> tuple[str, ...]:
    notes = result.notes
    limits = [
        "A concept is a group of image segments that the layer treats alike. Its name is a number; "
        "the words beside it say what lies under its segments, not what the network means by it.",
        "Segments are embedded in place, so a concept can carry its surroundings. The cosine with "
        "the crop alone says how much: low means that the concept is its surroundings.",
        f"Only layer {notes['layer']} was studied. What skip connections carry past it is not "
        "seen; the table of classes says how much that can be.",
        "Erasing moves the layer to states that the network may never have met. Random directions "
        "are erased too, as a measure of that.",
        "No finding is no proof of absence: the table of classes gives the smallest loss of IoU "
        "that would have been detected.",
    ]
    if notes["unit"] == "image" and notes["groups"] < notes["images"]:
        limits.append(
            f"The images come from only {notes['groups']} groups, too few to test over. Intervals "
            "and tests count images, so they speak of these groups and not of new ones."
        )
    if notes["labelled_images"] < notes["erased_images"]:
        missing = notes["erased_images"] - notes["labelled_images"]
        limits.append(
            f"{missing} images have no labels; there, IoU is agreement with the network's own "
            "unedited prediction."
        )
    return tuple(limits)


def _pair_name(row: Row) -> str:
    return f"{row['class']} · concept {row['concept']}"


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _column(rows: list[Row], name: str) -> np.ndarray:
    return np.array([_number(row[name]) for row in rows], dtype=float)


def _columns(result: Result, rows: list[Row], names: Sequence[str]) -> Table:
    return Table([{name: row[name] for name in names} for row in rows], tuple(names),
                 result.tables["pairs"].labels)  # fmt: skip
