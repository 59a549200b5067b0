"""The sections of a SegNBDT report that show pictures."""

from collections.abc import Callable, Sequence
from typing import Any

from conceptseg.report.blocks import Card, Cards, PathStep, PathView, Picture, PixelPaths, Section
from conceptseg.report.charts import Row
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result
from conceptseg.result.table import Table
from conceptseg.result.wording import with_interval
from conceptseg.study.segnbdt.columns import ACCURACY, WRONG
from conceptseg.study.segnbdt.tree import Tree

SHOWN = 24


def inspector(result: Result) -> Section:
    """The images whose pixels can be asked for their path."""
    classes = result.notes["classes"]
    tree = Tree.of(result.notes["tree"])
    names = {(row["node"], row["branch"]): row["name"] for row in result.tables["branches"].rows}
    questions = {row["node"]: row["question"] for row in result.tables["nodes"].rows}
    steps = {
        (node, branch): PathStep(
            str(tree.nodes[node].edge + branch), questions[node], name, f"node-{node}"
        )
        for (node, branch), name in names.items()
    }
    paths = [
        [steps[node.number, branch] for node, branch in tree.path(leaf)]
        for leaf in range(len(classes))
    ]
    views = [_view(row) for row in result.tables["inspected"].rows]
    caption = (
        "Point at a picture, or move to it with Tab and press the arrow keys (with Shift ten at a "
        "time): beside it stand the decisions on that pixel's way down the tree, how confident "
        "each was, and what in this image it rests on (brown speaks for the branch, blue against; "
        "the outline holds the pixels that took it). A click holds the pixel, another lets it go."
    )
    first = "Half of the images have the largest shares of wrong pixels; the others were drawn."
    block = PixelPaths(classes, paths, views, "", caption, "paths")
    return Section("inspect", "Ask a pixel", first, [block])


def _view(row: Row) -> PathView:
    readings, reference = {"network": row["network"], "tree, soft": row["soft"]}, row["network"]
    if any(c >= 0 for c in row["truth"]):
        readings["label"] = reference = row["truth"]
    pairs = zip(reference, row["hard"], strict=True)
    wrong = [cell for cell, (want, got) in enumerate(pairs) if want >= 0 and want != got]
    alt = f"Image {row['sample']}, of which a pixel can be chosen"
    return PathView(
        Picture(row["picture"], alt, row["sample"]),
        row["rows"],
        row["columns"],
        row["hard"],
        readings,
        row["sure"],
        row["evidence"],
        wrong[len(wrong) // 2] if wrong else None,  # the one in the middle of all wrong pixels
    )


def illustrate(result: Result) -> Callable[[Finding], Sequence[Picture]]:
    """Of a node the images on its card; of the whole tree those whose pixels can be asked for."""
    exemplars = result.tables["exemplars"].by("node")
    branches = {(row["node"], row["branch"]): row["name"] for row in result.tables["branches"].rows}
    methods = result.notes["evidence"]
    views = [_view(row).picture for row in result.tables["inspected"].rows]

    def chosen(finding: Finding) -> Sequence[Picture]:
        node = finding.details.get("node")
        if node not in exemplars:
            return views if finding.evidence == "fidelity" else ()
        return [shot for row in exemplars[node].rows[:3] for shot in _shots(row, branches, methods)]

    return chosen


def _shots(row: Row, branches: dict[tuple[int, int], str], methods: Sequence[str]) -> list[Picture]:
    """The pixels that take a branch, how sure that is, and what it rests on, in one image."""
    name, image = branches[row["node"], row["branch"]], row["sample"]
    alt = f"How unsure the decision of node {row['node']} is at each pixel of {image}"
    return [
        Picture(row["region"], f"Pixels of {image} that go to {name}", f"{image}: {name}"),
        Picture(row["doubt"], alt, "doubt"),
        *(Picture(row[m], f"Evidence for {name} in {image}", m) for m in methods),
    ]


def nodes(result: Result) -> Section:
    pictures = result.tables["exemplars"].where(lambda row: row["card"]).by("node")
    branches = {(row["node"], row["branch"]): row["name"] for row in result.tables["branches"].rows}
    pairs, none = result.tables["confusions"].by("first_wrong_node"), Table(())
    cards = []
    for row in result.tables["nodes"].rows:
        own, wrong = (each.get(row["node"], none).rows for each in (pictures, pairs))
        cards.append(_card(row, own, branches, wrong, result.notes["evidence"]))
    caption = (
        "In the order of the tree. For each branch: the pixels that take it, outlined; the doubt "
        "of the node's decision at every pixel, its entropy as a share of the largest there is "
        "(dark blue none, yellow an even split); and what the decision rests on in the image "
        "(brown for the branch, blue against it)."
    )
    return Section("nodes", "The nodes", caption, [Cards(cards, shown=SHOWN)])


def _card(
    row: Row,
    exemplars: Sequence[Row],
    branches: dict[tuple[int, int], str],
    pairs: Sequence[Row],
    methods: Sequence[str],
) -> Card:
    facts: list[tuple[str, Any]] = [
        ("Depth", row["depth"]),
        ("Right at", with_interval(row, ACCURACY)),
        ("Wrong pixels that go wrong here", with_interval(row, WRONG)),
        ("Confidence", row["confidence"]),
        ("Calibration error", row["calibration_error"]),
        ("Entropy", row["entropy"]),
        ("Support", row["support"]),
    ]
    if row["reads"]:
        facts.append(("Reads", row["reads"]))
    texts = [f"{p['true_class']} taken for {p['decided']} ({p['share']:.0%})" for p in pairs[:3]]
    shown = [shot for one in exemplars for shot in _shots(one, branches, methods)]
    badges = [f"{row['classes']} classes"]
    if row["support"] is not None and row["support"] < 0.5:
        badges.append("little support")
    text = ("Most wrong here: " + "; ".join(texts) + ".") if texts else ""
    title = f"Node {row['node']}: {row['question']}"
    return Card(title, facts, shown, badges, text, id=f"node-{row['node']}")
