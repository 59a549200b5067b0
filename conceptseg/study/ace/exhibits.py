"""The sections of an ACE report that show pictures."""

from __future__ import annotations

import numpy as np

from conceptseg.report import figures
from conceptseg.report.blocks import Card, Cards, FigureBlock, Picture, Section
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.ace.sections import Row, number
from conceptseg.study.shared import local_maps


def concepts(result: Result, pairs: list[Row]) -> Section:
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
                number(r["loss"])
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
        ("Cosine, alone and in place", f"{row['isolation']:.2f}"),
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


def segment_map(result: Result) -> Section:
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


def saliency(result: Result) -> Section:
    return local_maps.section(
        result,
        "Where single images are looked at when the class is predicted. All maps of one method "
        "share a scale. Such maps show places, not what is there; the concepts above name it.",
    )
