"""What the examination of the network found, as a report shows it."""

from collections.abc import Mapping
from typing import Any

from conceptseg.report import blocks
from conceptseg.result.saved import Result
from conceptseg.result.table import Table

WEIGHED = {
    "layer": "layer",
    "channels": "channels",
    "grid": "grid",
    "prediction": "of the prediction",
    "logits": "of the logits' variation",
    "exchanged": "with another image's output",
    "images": "images",
    "of_best": "of what the best loses",
    "of_best_low": "from",
    "of_best_high": "to",
    "reach_px": "acts on pixels up to",
    "mark": "remark",
}
LABELS = {"output": "output", "class": "counts as", "masks": "in the masks", "iou": "IoU"}


def doubts(result: Result) -> blocks.Notice | None:
    """The doubts whether the network was read as it is meant to be; None where there are none."""
    points = tuple(f"{one['what']}: {one['found']}" for one in _kept(result).get("doubts", ()))
    if not points:
        return None
    return blocks.Notice(
        "Findings hold for the network as it was read. Settle this before you rely on them.",
        "warning",
        "It is doubtful whether the network was read as it is meant to be",
        points,
    )


def section(result: Result) -> blocks.Section | None:
    """How the network's output was read, tried before the first pass."""
    kept = _kept(result)
    if not kept:
        return None
    rows = [{"what": what, "found": text} for what, text in kept["verdicts"].items()]
    classes = Table(list(kept["classes"]), tuple(LABELS), labels=LABELS)
    weighed = _weighed(result)
    return blocks.Section(
        "reading",
        "How the network was read",
        f"Tried on {kept['images']} images before the first pass.",
        [
            blocks.TableBlock(Table(rows), "What it puts out"),
            blocks.TableBlock(classes, "Its classes", limit=1000, folded=True),
            *([] if weighed is None else [weighed]),
        ],
    )


AND = " + "


def layer(result: Result, name: str) -> str:
    """A layer's name, and what it is worth to the decision where that was measured."""
    kept = _worth(result)
    worth = {row["layer"]: row.get("worth", row[kept["by"]]) for row in kept.get("layers", ())}
    if name not in worth:
        return name
    other = kept["runner_up"] if name == kept["auto"] else kept["auto"]
    beside = "runner-up" if name == kept["auto"] else "auto takes"
    what = "of the prediction" if kept["by"] == "prediction" else "of the logits' variation"
    said = f"{name}, worth {worth[name]:.2f} {what}"
    said = f"{said}; {beside} {other}, {worth[other]:.2f}" if other else said
    joint = AND.join(kept.get("levels", ()))
    if name != kept["auto"] or joint not in worth or joint == name:
        return said
    return (
        f"{said}; no single layer carries it as well as {joint}, {worth[joint]:.2f} (layers: auto)"
    )


def _weighed(result: Result) -> blocks.TableBlock | None:
    """What each layer that was weighed is worth, the chosen one marked."""
    kept = _worth(result)
    if not kept:
        return None
    marks = {kept["best"]: "loses most", kept["runner_up"]: "runner-up", kept["auto"]: "auto"}
    rows = [{**row, "mark": marks.get(row["layer"], "")} for row in kept["layers"]]
    known = set().union(*rows)  # earlier versions kept fewer, and not all studies ask for all
    columns = tuple(name for name in WEIGHED if name in known)
    rows = [dict.fromkeys(columns) | row for row in rows]
    return blocks.TableBlock(
        Table(rows, columns, labels={name: WEIGHED[name] for name in columns}),
        f"What is lost without a layer: set to its mean over images, {kept['images']} at most",
        limit=1000,
        folded=True,
    )


def _worth(result: Result) -> Mapping[str, Any]:
    """What layers are worth, as a result keeps it; empty where it was not measured.

    A result joined of several classes keeps it by class, and each part tells its own.
    """
    found = result.provenance.get("worth")
    return found if isinstance(found, Mapping) and "layers" in found else {}


def _kept(result: Result) -> Mapping[str, Any]:
    """What a result keeps of the examination, empty in those that were saved without one."""
    found = result.provenance.get("examination")
    return found if isinstance(found, Mapping) else {}
