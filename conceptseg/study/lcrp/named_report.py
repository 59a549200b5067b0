"""What a result and its report say of the concepts that the user has drawn."""

from collections.abc import Sequence
from typing import Any

from conceptseg.report.blocks import Block, Notice, Prose, Section, TableBlock
from conceptseg.result.columns import Column
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.lcrp.findings import points
from conceptseg.study.lcrp.named import Named, Share
from conceptseg.study.lcrp.tables import OVER_FIELD, OVER_SHUFFLED, shown

SHARE = Column("share", "share of relevance on it", interval=True)
EXCESS = Column("excess", "more than of the class's whole map", interval=True)
ID = "concept-masks"


def share_table(shares: Sequence[Share], classes: Sequence[str]) -> Table:
    """A row for each class and concept."""
    columns: tuple[Column | str, ...] = (
        Column("class", of=lambda one: classes[one.class_id]),
        "concept",
        Column("acts", "shown"),
        "verdict",
        SHARE,
        Column("shuffled", "with shuffled weights", of=lambda one: one.shuffled_share),
        OVER_SHUFFLED,
        Column("even", "spread evenly"),
        OVER_FIELD,
        Column("area", "of the image's area"),
        Column("p_adjusted", "p, corrected", of=lambda one: one.test and one.test.adjusted),
        Column(
            "detectable", "smallest detectable excess", of=lambda s: s.test and s.test.detectable
        ),
        Column("needs", "not testable: needs", of=lambda one: one.reason),
        "images",
    )
    return Table.of(shares, columns, "How much of a class's relevance falls on each concept")


def named_table(named: Sequence[Named], classes: Sequence[str]) -> Table:
    """A row for each class, channel and concept."""
    columns: tuple[Column | str, ...] = (
        Column("class", of=lambda one: classes[one.class_id]),
        Column("unit", "channel"),
        "concept",
        Column("named", "named by it"),
        Column("share", "share of its map on the concept", interval=True),
        EXCESS,
        Column("active", "share of its activation"),
        Column("area", "of the image's area"),
        Column("p_adjusted", "p, corrected", of=lambda one: one.test.adjusted),
        Column("detectable", "smallest detectable excess", of=lambda one: one.test.detectable),
        Column("needs", "not testable: needs", of=lambda one: one.test.needs),
        "images",
    )
    return Table.of(named, columns, "Which channels the concepts name")


def named_findings(shares: Sequence[Share], classes: Sequence[str]) -> list[Finding]:
    return [_finding(share, classes[share.class_id]) for share in shares if share.acts]


def _finding(one: Share, name: str) -> Finding:
    return Finding.about(
        f"{one.share.value:.0%} of what speaks for {name} lies on {one.concept}: {points(one)}. It "
        f"covers {one.area:.0%} of the images that hold both.",
        one.excess,
        one.test,
        plain=f"Part of what speaks for {name} lies on {one.concept}.",
        evidence=ID,
        class_name=name,
        effect_name="share of relevance above that of "
        + ("shuffled weights" if one.shuffled else "an even spread"),
        concept=one.concept,
        share=one.share.value,
        images=one.images,
    )


def section(result: Result) -> Section | None:
    """What the masks hold of each class's relevance, and which channels they name."""
    shares, named = result.tables["masks"], result.tables["named"]
    if not result.notes["masks"]:
        return None
    blocks: list[Block] = []
    if not shares.rows:
        text = "No image that was drawn holds a class that was looked at and a concept's mask."
        blocks.append(Notice(text, id=f"{ID}-none"))
    else:
        kept = (SHARE, OVER_SHUFFLED, OVER_FIELD)
        plain = ("class", "concept", "acts", "shuffled", "even", "area", "needs", "images")
        columns = [Column(key, shares.labels.get(key, "")) for key in plain]
        short = Table.of(shares.rows, [shown(one) for one in (*columns, *kept)])
        blocks.append(TableBlock(short, "Classes", id=f"{ID}-classes"))
        blocks.append(Prose("Channels that a concept names:", _lines(named), id=f"{ID}-named"))
        blocks.append(TableBlock(named, "Channels", id=f"{ID}-channels", folded=True))
    return Section(
        ID,
        "What lies on the concepts that you have drawn",
        "The share of a class's positive relevance, of all layers' paths, that lies on each mask, "
        "over images drawn at random that hold both. Shown is what exceeds shuffled networks, over "
        "images and over networks, and the even spread over the receptive field. What is not shown "
        "is not shown to be absent: maps support a use and never refute it. A concept may be a "
        "part of the class. It names a channel if more of the channel's map lies on it than of the "
        "class's whole map, and more of the channel's activation than of the area.",
        blocks,
    )


def _lines(named: Table) -> tuple[str, ...]:
    rows: list[dict[str, Any]] = sorted(
        (dict(row) for row in named.rows if row["named"]), key=lambda row: -row["excess"]
    )
    if not rows:
        return ("none was shown.",)
    return tuple(
        f"{row['class']}: channel {row['unit']} by {row['concept']}, {row['share']:.0%} of its "
        f"map, {100 * row['excess']:.0f} points more than of the class's."
        for row in rows
    )
