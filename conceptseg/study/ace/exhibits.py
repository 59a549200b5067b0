"""The sections of an ACE report that show pictures."""

from typing import Any

from conceptseg.report import charts
from conceptseg.report.blocks import Card, Cards, Picture, Section
from conceptseg.report.charts import Row
from conceptseg.result.columns import Column, as_number
from conceptseg.result.saved import Result
from conceptseg.result.table import Table

NONE = Table(())


def concepts(result: Result) -> Section:
    exemplars = result.tables["exemplars"].by("concept")
    enriched = result.tables["enrichment"].by("concept")
    used = result.tables["pairs"].where(lambda row: row["used"]).by("concept")
    strength = {q: min(as_number(row["loss"]) for row in own.rows) for q, own in used.items()}
    rows = sorted(result.tables["concepts"].rows, key=lambda row: strength.get(row["concept"], 0.0))
    cards = [
        _card(row, *(each.get(row["concept"], NONE).rows for each in (exemplars, enriched, used)))
        for row in rows
    ]
    caption = "Each picture is the whole image; the outline is the segment. Used concepts first."
    return Section("concepts", "The concepts", caption, [Cards(cards)])


def _card(row: Row, exemplars: Any, enriched: Any, used: Any) -> Card:
    """Of one concept's row in each table."""
    q = row["concept"]
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
        share = (
            f"{entry['share_in_concept']:.0%} in the concept, {entry['share_in_all']:.0%} of all"
        )
        facts.append((f"{entry['column']} = {entry['value']}", share))
    pictures = [
        _picture(entry, f"Image {entry['sample']} with a segment of concept {q} outlined")
        for entry in exemplars
    ]
    text = "; ".join(f"{pair['class']}: IoU {pair['loss']:+.2f} when erased" for pair in used)
    word = row.get("given") or row.get("word")
    title = f"Concept {q}: {word}" if word else f"Concept {q}"
    return Card(title, facts, pictures, badges, text, id=f"concept-{q}")


def _picture(row: Row, alt: str) -> Picture:
    return Picture(row["picture"], alt, row["sample"], (row["outline"],) if row["outline"] else ())


def segment_map(result: Result) -> Section:
    points = result.arrays["map"].astype(float).tolist()
    rows = [
        {**row, "x": x, "y": y}
        for row, (x, y) in zip(result.tables["segments"].rows, points, strict=True)
    ]
    table = Table(rows).sorted(lambda row: (row["concept"] == 0, row["concept"]))

    def name(row: Row) -> str:
        return f"concept {row['concept']}" if row["concept"] else "none"

    chart = charts.scatter(
        table.show("concept", "sample", "x", "y"),
        Column("x"),
        Column("y"),
        name,
        lambda row: f"{name(row)}, {row['sample']}",
        axes=False,
        picture=lambda row: _picture(row, f"Segment of {name(row)}") if row["outline"] else None,
        heading="Segments by likeness",
        caption=f"UMAP of {len(rows)} segments. It helps the eye to see which segments the layer "
        "represents alike; no number rests on it, and distances between islands mean nothing.",
        id="umap",
    )
    return Section("map", "Map of the segments", "", [chart])
