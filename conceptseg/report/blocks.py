"""A report: sections of blocks, rendered from a saved result into one self-contained HTML file.

A study's `report(result)` says what is shown, in which order; this module knows how. The page
loads nothing: plotly.js is inlined once, each picture is embedded once however often it is shown,
and its content security policy forbids the network and every script but its own. All text is
plain text; it is escaped, whatever it contains.

Findings come first and coverage, timings and provenance last; all these are taken from the result
itself. A chart is never alone: it has a heading, a caption, a description for those who cannot
see it, and a table of its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from conceptseg.result.finding import Finding
from conceptseg.result.table import Table
from conceptseg.result.verdict import Verdict

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Picture:
    """A picture of the result (its key in `Result.images`), shown whole.

    `outlines` are drawn over it, the first solid (the region that is meant), the others dashed
    (context, such as the predicted class): paths of
    :func:`conceptseg.report.thumbnails.outline`. So one embedded photo serves for all regions that
    lie in it.
    """

    key: str
    alt: str
    caption: str = ""
    outlines: tuple[str, ...] = ()


Shown: TypeAlias = Picture | Sequence[Picture] | None
"""What is shown beside the pointer: one picture, several, or nothing."""


@dataclass(frozen=True)
class Prose:
    """Paragraphs, then perhaps a list. `heading` may be empty in every block."""

    kind: ClassVar[str] = "prose"
    text: str = ""
    points: tuple[str, ...] = ()
    heading: str = ""
    id: str = ""


@dataclass(frozen=True)
class Notice:
    """A boxed remark. `level`: "note", "limit" (what the result cannot say) or "warning"."""

    kind: ClassVar[str] = "notice"
    text: str
    level: str = "note"
    heading: str = ""
    points: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True)
class Facts:
    """Labels and their values, as a list."""

    kind: ClassVar[str] = "facts"
    items: Sequence[tuple[str, Any]]
    heading: str = ""
    id: str = ""


@dataclass(frozen=True)
class TableBlock:
    """A table, sortable by its column heads. Rows past `limit` are left to `result.json`."""

    kind: ClassVar[str] = "table"
    table: Table
    heading: str = ""
    caption: str = ""
    id: str = ""
    limit: int = 200
    folded: bool = False


@dataclass(frozen=True)
class FigureBlock:
    """A chart with its heading, caption, description and table; drawn when scrolled to.

    If `hover` holds one Picture, several, or None per point of the figure's traces, in their order,
    they are shown beside the pointer under the first one's caption, and a slider walks through the
    points from the keyboard. Where dragging draws a lasso, the pictures of all points inside of it
    are shown below the chart.
    """

    kind: ClassVar[str] = "figure"
    figure: go.Figure | Mapping[str, Any]
    heading: str
    alt: str
    caption: str
    table: Table
    id: str = ""
    hover: Sequence[Shown] = ()

    def __post_init__(self) -> None:
        if self.caption and (self.caption in self.alt or self.alt in self.caption):
            raise ValueError(f"chart {self.heading!r}: the alternative text repeats the caption")


@dataclass(frozen=True)
class OneOf:
    """Charts of the same kind, one of which is shown at a time, chosen from a list by heading.

    `label` says what is chosen ("Class"). All are printed.
    """

    kind: ClassVar[str] = "one"
    blocks: Sequence[FigureBlock]
    label: str
    heading: str = ""
    caption: str = ""
    id: str = ""


@dataclass(frozen=True)
class Card:
    """One thing (a concept): title, badges, facts, a sentence, a row of pictures, perhaps two."""

    title: str
    facts: Sequence[tuple[str, Any]] = ()
    pictures: Sequence[Picture] = ()
    badges: Sequence[str] = ()
    text: str = ""
    id: str = ""
    beside: Sequence[Picture] = ()
    """Pictures of another kind, in a row of their own."""


@dataclass(frozen=True)
class Cards:
    """Cards below each other; those past `shown` are folded away."""

    kind: ClassVar[str] = "cards"
    cards: Sequence[Card]
    heading: str = ""
    caption: str = ""
    id: str = ""
    shown: int = 40
    key: Sequence[tuple[str, str]] = ()
    """What the colours in the pictures mean: (name, colour)."""


@dataclass(frozen=True)
class ColourBar:
    """The scale that all pictures of a gallery share: `scale` names one of `colours.SCALES`."""

    scale: str
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Gallery:
    """Rows and columns of pictures with headings; None leaves a cell empty."""

    kind: ClassVar[str] = "gallery"
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Picture | None]]]
    heading: str = ""
    caption: str = ""
    bar: ColourBar | None = None
    id: str = ""
    key: Sequence[tuple[str, str]] = ()
    """What the colours in the pictures mean: (name, colour)."""


@dataclass(frozen=True)
class PathView:
    """An image whose pixels can be asked for: a grid of them, and the decisions taken at each.

    `leaf` and the `readings` (what others say of the same pixel, by name) hold class numbers, -1
    for none, in rows from the top; `sure` [depth][cell] the probability in percent of the branch
    taken at each depth, -1 below the leaf. `evidence` maps a step's key to that of a
    picture. The keyboard starts at the cell `start`, by default the middle one.
    """

    picture: Picture
    rows: int
    columns: int
    leaf: Sequence[int]
    readings: Mapping[str, Sequence[int]]
    sure: Sequence[Sequence[int]]
    evidence: Mapping[str, str] = field(default_factory=dict)
    start: int | None = None

    @property
    def first(self) -> int:
        """The cell at which the keyboard starts."""
        middle = self.rows // 2 * self.columns + self.columns // 2
        return middle if self.start is None else self.start


@dataclass(frozen=True)
class PathStep:
    """A decision on the way to a class: the question, the answer taken, and a link to more."""

    key: str
    question: str
    answer: str
    link: str = ""


@dataclass(frozen=True)
class PixelPaths:
    """Images on which a pixel is chosen by pointer or arrow keys, and the path of its decision.

    `paths` has the steps to each class, in the order of `classes`.
    """

    kind: ClassVar[str] = "paths"
    classes: Sequence[str]
    paths: Sequence[Sequence[PathStep]]
    views: Sequence[PathView]
    heading: str = ""
    caption: str = ""
    id: str = ""


@dataclass(frozen=True)
class Brush:
    """A picture of which cells are painted, by pointer or keys, beside the sum of the maps of what
    is painted (:mod:`conceptseg.report.brushed`): `codes` int8 [q, y, x] in steps of `step` [q] for
    the cells of a `grid` (down, across)."""

    kind: ClassVar[str] = "brush"
    picture: Picture
    grid: tuple[int, int]
    codes: np.ndarray
    step: np.ndarray
    class_name: str
    heading: str = ""
    caption: str = ""
    id: str = ""


Block = (
    Prose | Notice | Facts | TableBlock | FigureBlock | OneOf | Cards | Gallery | PixelPaths | Brush
)


@dataclass(frozen=True)
class Section:
    """A part of the report under its own heading; `id` is its anchor (Finding.evidence).

    A block that is None, because there is nothing to show, is left out.
    """

    id: str
    title: str
    intro: str = ""
    blocks: Sequence[Block | None] = ()


@dataclass(frozen=True)
class Report:
    """What is said about a result. `facts` stand on the cover, `lead` sums up in plain words.

    A section that is None, because there is nothing to tell, is left out.
    """

    title: str
    subtitle: str = ""
    lead: str = ""
    facts: Sequence[tuple[str, Any]] = ()
    sections: Sequence[Section | None] = ()
    limits: Sequence[str] = ()
    findings_shown: int = 12
    verdict: Verdict | None = None
    illustrate: Callable[[Finding, Sequence[Picture]], Sequence[Picture]] | None = None
    """The pictures of a finding, from it and those of the card that is its evidence, which are
    taken without it."""
    key: Sequence[tuple[str, str]] = ()
    """What the colours in findings' pictures mean: (name, colour)."""
