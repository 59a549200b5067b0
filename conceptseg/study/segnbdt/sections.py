"""The sections of a SegNBDT report that hold charts and tables."""

from typing import Any

from conceptseg.report import alt, charts
from conceptseg.report.blocks import Block, FigureBlock, Prose, Section, TableBlock
from conceptseg.result.columns import Column
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.study.segnbdt.charts import icicle
from conceptseg.study.segnbdt.columns import (
    ACCURACY,
    BY_CHANCE,
    CHANGE,
    COLUMNS,
    CONCEPT,
    DETECTABLE,
    EFFECT,
    ELSEWHERE,
    HARD,
    KNOWN,
    NETWORK,
    NETWORK_WRONG,
    P_HOLM,
    REMOVED,
    SIZE,
    WRONG,
    P,
    given_first,
    passed,
)

MOST = 16
NODES = ("node", "question", "depth", WRONG, NETWORK_WRONG)


def tree(result: Result) -> Section:
    nodes, classes = result.tables["nodes"], len(result.notes["classes"])
    questions = [f"node {row['node']}: {row['question']}" for row in nodes.rows]
    block = FigureBlock(
        icicle(nodes.rows, result.tables["branches"].rows, classes),
        "The tree",
        f"Icicle chart of a tree of {len(nodes.rows)} decisions over {classes} classes, at most "
        f"{1 + max(row['depth'] for row in nodes.rows)} deep. Share of pixels "
        f"decided right: {alt.reach(nodes.numbers(ACCURACY), questions)}.",
        "From the root on top down to the classes. A click on a part zooms into it, a click on the "
        "strip above leads back. Colour: how often the node's own decision is right, at the pixels "
        "of the classes below it. The table lists all nodes; their cards follow below.",
        nodes.show(
            "node", "depth", "question", "classes", "pixels", ACCURACY, WRONG.alone, "support"
        ),
        "icicle",
    )
    return Section("tree", "The tree", "", [block])


def fidelity(result: Result) -> Section:
    deciders = result.tables["fidelity"]
    trees = deciders.where(lambda row: row["decided_by"] != "network" and "change" in row)
    cost = charts.forest(
        trees.show("decided_by", CHANGE),
        "decided_by",
        CHANGE,
        axis="change of mIoU against the network as given",
        reference=0.0,
        heading="What the tree costs",
        caption="Left of zero, deciding by the tree costs mIoU. The published drops stand below.",
        id="cost",
    )
    blocks = [
        _table(
            result,
            "fidelity",
            "The network and its tree",
            "Agreement: the share of pixels at which the same class is decided as by the network "
            f"as given. Boundaries: pixels within {result.notes['boundary_px']} px of another "
            "predicted class. Intervals of 95 % over images (or their groups); the change of mIoU "
            "is paired.",
        ),
        cost,
        _table(
            result,
            "published",
            "As published",
            "HRNetV2-W48, trained with tree supervision, on other data; not reproduced here. Shown "
            "to compare the size of the change.",
        ),
        _table(
            result,
            "classes",
            "Class by class",
            "Agreement is counted where the network predicts the class.",
        ),
    ]
    return Section("fidelity", "How faithful the tree is", "", blocks)


def _table(result: Result, name: str, heading: str, caption: str, limit: int = 200) -> TableBlock:
    return TableBlock(result.tables[name].headed(*COLUMNS), heading, caption, limit=limit)


def wrong(result: Result) -> Section:
    reference = "the labels" if result.notes["labelled"] else "the network's own class (no labels)"
    by_chance = Column("by_chance", "by chance, if classes met at random")
    depths = charts.bars(
        result.tables["depths"].show("depth", HARD, NETWORK, by_chance),
        lambda row: f"depth {row['depth']}",
        {"tree, hard": HARD, "network": NETWORK},
        axis="share of wrong pixels",
        heading="Depth of the first wrong decision",
        caption=f"Wrong against {reference}. Each wrong pixel counts at the depth of the first "
        "decision that leaves the true path; depth 0 is the root. For the network's own errors "
        "that is where the paths to its class and to the true one part.",
        id="depths",
    )
    nodes = result.tables["nodes"].where(lambda row: max(_wrong(row)) > 0)
    nodes = nodes.sorted(lambda row: -max(_wrong(row))).first(MOST)
    where = charts.bars(
        nodes.show(*NODES),
        lambda row: f"{row['node']}: {row['question']}",
        {"tree, hard": WRONG, "network": NETWORK_WRONG},
        axis="share of wrong pixels",
        heading="The nodes where it goes wrong",
        caption="The node at which wrong pixels leave the true path, each decider's wrong pixels "
        "taken together. Where the tree's bar is long and the network's is not, the tree is to "
        "blame; where both are, the network.",
        id="wrong-nodes",
    )
    pairs = _table(
        result,
        "confusions",
        "Which classes are taken for which",
        "Pixels of the tree's hard decisions, and of the network's own for the same pair.",
        limit=40,
    )
    return Section("wrong", "Where wrong decisions are made", "", [depths, where, pairs])


def _wrong(row: charts.Row) -> tuple[float, float]:
    return row["wrong_share"] or 0.0, row["network_wrong_share"] or 0.0


def removal(result: Result) -> Section:
    notes = result.notes
    evidence = result.tables["evidence"].sorted(EFFECT)
    gone = _forest(
        evidence.first(MOST),
        evidence.show(
            "node", "branch", "images", "margin", REMOVED, BY_CHANCE,
            Column("effect", "removed minus chance", interval=True, brief="removed minus chance"),
            DETECTABLE, P, P_HOLM,
        ),
        lambda row: f"{row['node']} → {row['branch']}",
        heading="Without its evidence",
        caption=f"At most {notes['removed_share']:.0%} of the image, where {notes['evidence'][0]} "
        "is strongest for the branch, is filled. The effect is the change of the branch's margin, "
        "less the change when the same shape is filled at random places. Left of zero: the "
        "decision rests on what the map shows. Filled: significant after correction for "
        "all branches that were tested.",
        id="gone",
    )  # fmt: skip
    parts = result.tables["parts"].sorted(lambda row: -abs(row["effect"]))
    first = parts.where(passed) if any(map(passed, parts.rows)) else parts
    filled = _forest(
        first.sorted(lambda row: given_first(row["part"])).first(MOST),
        parts.show(
            "node", "question", "branch", "part", "images", SIZE, ELSEWHERE, EFFECT, DETECTABLE, P,
            P_HOLM,
        ),
        _short,
        heading="Without a part of the image",
        caption="A part of the image (the region where a class is predicted, the context that is "
        "known to matter in this data set, or a concept that you have drawn) is filled, and the "
        "branch's margin is read at the remaining pixels. Filled: the margin moves, and by more in "
        "size than with as many pixels filled elsewhere, as near to those at which it is read; "
        "then the decision depends on that part. Without such a place (a part that lies around "
        "them on all sides) nothing can be told, as any fill moves margins. Branches of which the "
        "part holds more than half are left out.",
        id="parts",
    )  # fmt: skip
    none = Prose("No branch was taken by enough pixels of the images studied.")
    blocks: list[Block | None] = [gone, filled] if gone or filled else [none]
    decisions, regions = notes["evidence_most"]
    text = (
        "Margins are in logits: the branch's score minus its rivals', in "
        f"{notes['evidence_images']} images; of one that shows many classes {decisions} decisions "
        f"and {regions} regions at most, drawn by hash."
    )
    return Section("removal", "What decisions rest on", text, blocks)


def _short(row: charts.Row) -> str:
    first, *others = row["branch"].split(",")
    part = "context" if row["part"] == KNOWN else row["part"].removeprefix(CONCEPT)
    return f"{row['node']} → {first}{'…' if others else ''} · {part}"


def _forest(shown: Table, whole: Table, name: charts.Of, **words: Any) -> FigureBlock | None:
    return charts.forest(shown, name, EFFECT, reference=0.0, filled=passed, below=whole, **words)
