"""Units of a layer as cards, and what a saved dissection says of them, for every study's report.

A result that knows its units has a table `units` with a row for each: :data:`COLUMNS` at least. So
a study of the same layer can say what a unit detects wherever it shows one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptseg.errors import InputError
from conceptseg.report.blocks import Card, Picture
from conceptseg.result.joined import part_of, parts_of
from conceptseg.result.saved import Result, as_written, safe_key
from conceptseg.result.table import Table

COLUMNS = (
    "unit",
    "state",
    "label",
    "category",
    "formula",
    "iou",
    "normalised_iou",
    "overlap",
    "p_adjusted",
    "detector",
    "used_by",
)
"""What the table `units` holds at least; `unit` is the channel's number in the layer, where
several layers were dissected as one "layer:number"."""


@dataclass(frozen=True)
class KnownUnit:
    """What a dissection found of a unit; `label` is empty for one that detects nothing."""

    unit: int
    label: str
    formula: str
    overlap: float | None
    used_by: str

    @property
    def words(self) -> str:
        """A short name: "unit 13 (known context)"."""
        return f"unit {self.unit} ({self.label})" if self.label else f"unit {self.unit}"


def known_units(result: Result, layer: str, weights: str | None = None) -> dict[int, KnownUnit]:
    """By number, the units of a dissection of `layer`, that of the network with these `weights`.

    Raises InputError for a result without units, of another layer, or of another network.
    """
    if parts := parts_of(result):
        fitting = [one for one in parts.values() if one.provenance.get("weights") == weights]
        result = fitting[0] if fitting else part_of(result, None, "the units that are known")
    if not set(COLUMNS) <= set(result.tables.get("units", Table(())).columns):
        raise InputError(f"a result of {result.study!r} says nothing of units; give one of dissect")
    told = result.notes.get("layer")
    if told != layer:
        raise InputError(f"units of layer {told!r} are known, but {layer!r} is studied")
    if weights is not None and result.provenance.get("weights") not in (None, weights):
        raise InputError("the units that are known are those of a network with other weights")
    return {int(row["unit"]): _known(row) for row in result.tables["units"].rows}


def load_units(folder: Path | str, layer: str, weights: str | None = None) -> dict[int, KnownUnit]:
    """:func:`known_units` of the result in a folder."""
    try:
        with as_written(folder):
            return known_units(Result.load(folder), layer, weights)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(folder)) else f"{folder}: {text}") from None


def _known(row: Mapping[str, Any]) -> KnownUnit:
    label = row["label"] if row["detector"] else ""
    return KnownUnit(
        int(row["unit"]),
        label or "",
        row["formula"] or "",
        row["overlap"],
        row["used_by"] or "",
    )


def anchor(unit: int | str) -> str:
    """The id of a unit's card in a report."""
    return safe_key(f"unit-{unit}")


def unit_card(
    row: Mapping[str, Any],
    pictures: Sequence[Picture],
    facts: Sequence[tuple[str, Any]] = (),
    text: str = "",
) -> Card:
    """The card of a unit from its row of the table `units`, with its real top images.

    `facts` are further lines (a curve's points, a study's own numbers), `text` a sentence.
    """
    badges = [f"detects {row['label']}"] if row["detector"] else ["detects nothing named"]
    badges += [f"used by {name}" for name in filter(None, (row["used_by"] or "").split(", "))]
    own: list[tuple[str, Any]] = []
    if row["label"]:
        own.append(("Best concept", f"{row['label']} ({row['category']})"))
        own.append(
            ("IoU", f"{_short(row['iou'])}, {_short(row['normalised_iou'])} of what sizes allow")
        )
        own.append(("Overlap above chance", f"{_short(row['overlap'])}, p {_p(row['p_adjusted'])}"))
    if row["formula"] and row["formula"] != row["label"]:
        own.append(("Formula", row["formula"] + _gain(row)))
    unit = row["unit"]
    return Card(f"Unit {unit}", (*own, *facts), pictures, badges, text, id=anchor(unit))


def top_images(
    unit: int | str, rows: Sequence[Mapping[str, Any]], what: str = "where the unit is active"
) -> list[Picture]:
    """Pictures of a unit from rows with `sample`, `picture` and `outline` (SVG path or "")."""
    return [
        Picture(
            row["picture"],
            f"Image {row['sample']}, on which unit {unit} answers strongly; outlined is {what}",
            row["sample"],
            (row["outline"],) if row["outline"] else (),
        )
        for row in rows
    ]


def _gain(row: Mapping[str, Any]) -> str:
    """What the formula's IoU is on other images, where the row tells, and that of one concept."""
    if row.get("formula_iou") is None or row.get("single_iou") is None:
        return ""
    return f" (IoU {row['formula_iou']:.2f}, of one concept {row['single_iou']:.2f})"


def _short(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _p(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
