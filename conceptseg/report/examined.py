"""What the examination of the network found, as a report shows it."""

from collections.abc import Mapping
from typing import Any

from conceptseg.report import blocks
from conceptseg.result.saved import Result
from conceptseg.result.table import Table

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
    return blocks.Section(
        "reading",
        "How the network was read",
        f"Tried on {kept['images']} images before the first pass.",
        [
            blocks.TableBlock(Table(rows), "What it puts out"),
            blocks.TableBlock(classes, "Its classes", limit=1000, folded=True),
        ],
    )


def _kept(result: Result) -> Mapping[str, Any]:
    """What a result keeps of the examination, empty in those that were saved without one."""
    found = result.provenance.get("examination")
    return found if isinstance(found, Mapping) else {}
