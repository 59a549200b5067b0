"""A report's blocks -> HTML: what the templates need, worked out beforehand.

The templates (`templates/`) only place text. Here ids are made unique and safe, numbers are
formatted, pictures are gathered so that each is embedded once, and the page's scripts are hashed
for its content security policy.
"""

import base64
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from conceptseg.errors import InputError, nearest
from conceptseg.report import blocks, brushed, drawn, ending, examined, tabled, told
from conceptseg.report.cite import citations
from conceptseg.report.colours import SCALES
from conceptseg.report.scripts import (
    asset,
    environment,
    plotly_script,
    policy,
    script_text,
)
from conceptseg.report.thumbnails import picture_size
from conceptseg.result.encoding import plain
from conceptseg.result.folder import replace_file
from conceptseg.result.saved import Result, image_type, safe_key
from conceptseg.result.table import Table
from conceptseg.stats.intervals import ALPHA

LARGE_MB = 25
SMALL_PICTURE_PX, SMALL_PANELS_PX = 128, 96
"""Longer side of a picture, and shorter of one of several panels, whose pixels are shown as they
are where the page enlarges it."""
BRUSH_PX = 320
"""Width of a picture that is painted on, and of its map; they shrink with the page."""
_MIME = {"webp": "image/webp", "png": "image/png", "jpg": "image/jpeg"}
ALTERED = blocks.Notice(
    "Numbers, claims and names on this page may be those of whoever edited it, and not what the "
    "study has found. Restore the file or run the study again before you rely on anything here.",
    "warning",
    "result.json was edited since this result was saved",
)
_log = logging.getLogger(__name__)


def render(report: blocks.Report, result: Result) -> str:
    """The report as one HTML text; the same report and result give the same text.

    Raises InputError when the report shows a picture that the result lacks.
    """
    sections = ending.sections(report, result)
    view = _View(result, {_anchor(section.id) for section in sections}, drawn.file_name(result, ""))
    shown = [view.section(section) for section in sections]
    library, ours = plotly_script(view.kinds()), _script()
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            study=result.study,
            verdict=report.verdict,
            date=result.finished,
            cover=ending.cover(result),
            alpha=ALPHA,
            sections=shown,
            view=view,
            altered=view.altered(),
            doubts=view.doubts(),
            findings=view.findings(report.illustrate),
            n_shown=report.findings_shown,
            citations=citations(result, report.title),
            digest="" if result.altered else result.digest,
            words=ending.WORDS,
            rows=Markup(tabled.packed(view.tables)),
            charts=Markup(tabled.packed(view.contents)),
            style=Markup(asset("report.css") + tabled.aligned(view.widest())),
            library=Markup(library.packed),
            script=Markup(ours),
            policy=policy([library.text, ours]),
        )
    )
    if len(html) > LARGE_MB * 1e6:
        _log.warning("the report has %.0f MB; show fewer or smaller pictures", len(html) / 1e6)
    return html


def _script() -> str:
    """All of the page's own script."""
    return script_text("".join(asset(name) for name in ("report.js", "tools.js", "brush.js")))


@dataclass
class _View:
    """What has been placed on the page so far: ids in use, and pictures in their order."""

    result: Result
    ids: set[str]
    name: str
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    outlines: dict[str, str] = field(default_factory=dict)
    cards: dict[str, tuple[blocks.Picture, ...]] = field(default_factory=dict)
    places: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, Any] = field(default_factory=dict)

    def section(self, section: blocks.Section) -> dict[str, Any]:
        anchor = _anchor(section.id)
        blocks = [block for block in section.blocks if block is not None]
        return {
            "id": anchor,
            "shows": self._place(anchor),
            "title": section.title,
            "intro": section.intro,
            "blocks": [
                self._block(block, f"{anchor}-{number}") for number, block in enumerate(blocks, 1)
            ],
        }

    def kinds(self) -> set[str]:
        """The kinds of traces in the charts of what has been placed; empty without a chart."""
        figures = [held["figure"] for held in self.contents.values() if "figure" in held]
        kinds = {trace.get("type", "scatter") for one in figures for trace in one["data"]}
        return kinds | {"scatter"} if figures else kinds

    def widest(self) -> int:
        """Columns of the table with most of them."""
        return max((len(one["columns"]) for one in self.tables.values()), default=0)

    def altered(self) -> dict[str, Any] | None:
        """That the result was edited: nothing on the page is what the study has found."""
        return self._block(ALTERED, "altered") if self.result.altered else None

    def doubts(self) -> dict[str, Any] | None:
        """What the examination of the network doubts: whoever reads findings reads it first."""
        notice = examined.doubts(self.result)
        return None if notice is None else self._block(notice, "doubts")

    def findings(self, illustrate: told.Illustrate | None) -> list[dict[str, Any]]:
        """What was found, equal findings as one, each with pictures and links to its evidence."""
        reach = told.reaches(self.result.findings)
        shown = []
        for members in told.groups(self.result):
            pictures = told.pictures(members, illustrate, self.cards)
            each = [self._linked(told.numbers(n, finding, reach)) for n, finding in members]
            shown.append(
                {
                    "plain": members[0][1].plain,
                    "weak": each[0]["weak"],
                    "members": each,
                    "pictures": [self._picture(picture) for picture in pictures],
                }
            )
        return shown

    def _linked(self, finding: dict[str, Any]) -> dict[str, Any]:
        """The finding with the id of its evidence, which then links back to it."""
        place = self.places.get(_anchor(finding["it"].evidence))
        if place is not None:
            finding["link"] = f"evidence-{finding['number']}"
            place.append(finding)
        return finding

    def _block(self, block: blocks.Block, fallback: str) -> dict[str, Any]:
        anchor = self._new_id(block.id or fallback)
        shown: dict[str, Any] = {
            "kind": block.kind,
            "id": anchor,
            "it": block,
            "shows": self._place(anchor),
        }
        if isinstance(block, blocks.TableBlock):
            shown["table"] = self._table(block.table, block.limit, anchor, block.heading)
        elif isinstance(block, blocks.FigureBlock):
            shown["table"] = self._table(block.table, 200, anchor, block.heading)
            shown |= drawn.figure(block, lambda key: self._store(key)["id"])
            self.contents[anchor] = shown.pop("content")
        elif isinstance(block, blocks.OneOf):
            shown["blocks"] = [
                self._block(one, f"{anchor}-{number}") for number, one in enumerate(block.blocks, 1)
            ]
        elif isinstance(block, blocks.Cards):
            shown["cards"] = [
                self._card(card, f"{shown['id']}-{number}")
                for number, card in enumerate(block.cards, start=1)
            ]
        elif isinstance(block, blocks.Gallery):
            shown["rows"] = [
                (name, [picture and self._picture(picture) for picture in cells])
                for name, cells in block.rows
            ]
            shown["colours"] = ", ".join(SCALES[block.bar.scale]) if block.bar else ""
        elif isinstance(block, blocks.PixelPaths):
            shown["views"] = [self._picture(one.picture) for one in block.views]
            self.contents[anchor] = self._paths(block)
        elif isinstance(block, blocks.Brush):
            image = self._store(block.picture.key)
            ratio = image["height"] / image["width"]
            self.contents[anchor] = brushed.held(
                block.codes, block.step, block.grid, ratio=ratio, side=BRUSH_PX, picture=image["id"]
            )
        return shown

    def _card(self, card: blocks.Card, fallback: str) -> dict[str, Any]:
        anchor = self._new_id(card.id or fallback)
        self.cards[card.id or fallback] = (*card.pictures, *card.beside)
        return {
            "it": card,
            "id": anchor,
            "shows": self._place(anchor),
            "rows": [
                [self._picture(picture) for picture in row]
                for row in (card.pictures, card.beside)
                if row
            ],
        }

    def _place(self, anchor: str) -> list[dict[str, Any]]:
        """The findings that this place is the evidence of; filled when they are linked."""
        return self.places.setdefault(anchor, [])

    def _table(self, table: Table, limit: int, anchor: str, heading: str) -> dict[str, Any]:
        name = f"{self.name}-{safe_key((heading or anchor).lower())}"
        self.tables[anchor] = tabled.whole(table, limit)
        return {**tabled.shown(table, limit), "id": anchor, "file": name}

    def _paths(self, block: blocks.PixelPaths) -> Any:
        steps = [
            [[one.key, one.question, one.answer, one.link and _anchor(one.link)] for one in path]
            for path in block.paths
        ]
        views = [
            {
                "rows": view.rows,
                "columns": view.columns,
                "leaf": view.leaf,
                "readings": list(view.readings.items()),
                "sure": view.sure,
                "start": view.first,
                "evidence": {key: self._store(at)["id"] for key, at in view.evidence.items()},
            }
            for view in block.views
        ]
        return plain({"classes": list(block.classes), "paths": steps, "views": views})

    def _picture(self, picture: blocks.Picture) -> dict[str, Any]:
        """The picture and its outlines, each of which is on the page once and referred to."""
        ids = [
            self.outlines.setdefault(path, f"outline-{len(self.outlines)}")
            for path in picture.outlines
        ]
        return {"it": picture, "image": self._store(picture.key), "outlines": ids}

    def _store(self, key: str) -> dict[str, Any]:
        """The picture's place on the page; its bytes are embedded where it is first stored."""
        if key not in self.pictures:
            if key not in self.result.images:
                raise InputError(
                    f"the result has no picture {key!r} that its report shows; "
                    f"{nearest(key, self.result.images)}; run the study again"
                )
            data = self.result.images[key]
            width, height = picture_size(key, data)
            uri = f"data:{_MIME[image_type(data)]};base64,{base64.b64encode(data).decode()}"
            self.pictures[key] = {
                "id": f"picture-{len(self.pictures)}",
                "width": width,
                "height": height,
                "uri": uri,
                "small": max(width, height) <= SMALL_PICTURE_PX
                or min(width, height) <= SMALL_PANELS_PX,
            }
        return self.pictures[key]

    def _new_id(self, text: str) -> str:
        anchor = _anchor(text)
        if anchor in self.ids:
            raise ValueError(f"the id {text!r} is given twice in one report")
        self.ids.add(anchor)
        return anchor


def _anchor(text: str) -> str:
    """A text as an id: safe in links, and never beginning with a digit."""
    key = safe_key(text)
    return key if key[0].isalpha() else f"id-{key}"


def write(report: blocks.Report, result: Result, path: Path | str) -> Path:
    """Render into the file `path` in one step; InputError when it cannot be written."""
    path = Path(path)
    replace_file(path, render(report, result).encode())
    return path
