"""A report's blocks -> HTML: what the templates need, worked out beforehand.

The templates (`templates/`) only place text. Here ids are made unique and safe, numbers are
formatted, pictures are gathered so that each is embedded once, and the page's scripts are hashed
for its content security policy.
"""

import base64
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from conceptseg.errors import InputError, nearest
from conceptseg.report import blocks, examined
from conceptseg.report.colours import SCALES
from conceptseg.report.scripts import asset, environment, in_script, policy, script_text
from conceptseg.report.thumbnails import picture_size
from conceptseg.result.encoding import plain
from conceptseg.result.finding import Finding
from conceptseg.result.folder import replace_file
from conceptseg.result.saved import Result, image_type, safe_key
from conceptseg.result.table import Table
from conceptseg.result.wording import is_number, number, p_value, words
from conceptseg.stats.intervals import ALPHA

LARGE_MB = 25
SMALL_PICTURE_PX = 128
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
    from plotly.offline import get_plotlyjs

    sections = _sections(report, result)
    view = _View(result, {_anchor(section.id) for section in sections})
    shown = [view.section(section) for section in sections]
    scripts = [script_text(text) for text in (get_plotlyjs(), asset("report.js"))]
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            study=result.study,
            alpha=ALPHA,
            sections=shown,
            view=view,
            altered=view.altered(),
            doubts=view.doubts(),
            findings=view.findings(),
            n_shown=report.findings_shown,
            style=Markup(asset("report.css")),
            scripts=[Markup(text) for text in scripts],
            policy=policy(scripts),
        )
    )
    if len(html) > LARGE_MB * 1e6:
        _log.warning("the report has %.0f MB; show fewer or smaller pictures", len(html) / 1e6)
    return html


@dataclass
class _View:
    """What has been placed on the page so far: ids in use, and pictures in their order."""

    result: Result
    ids: set[str]
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def section(self, section: blocks.Section) -> dict[str, Any]:
        anchor = _anchor(section.id)
        blocks = [block for block in section.blocks if block is not None]
        return {
            "id": anchor,
            "title": section.title,
            "intro": section.intro,
            "blocks": [
                self._block(block, f"{anchor}-{number}") for number, block in enumerate(blocks, 1)
            ],
        }

    def altered(self) -> dict[str, Any] | None:
        """That the result was edited: nothing on the page is what the study has found."""
        return self._block(ALTERED, "altered") if self.result.altered else None

    def doubts(self) -> dict[str, Any] | None:
        """What the examination of the network doubts: whoever reads findings reads it first."""
        notice = examined.doubts(self.result)
        return None if notice is None else self._block(notice, "doubts")

    def findings(self) -> list[dict[str, Any]]:
        """The findings with their link and a drawing of the interval, on one scale per effect."""
        reach: dict[str, float] = {}
        for finding in self.result.findings:
            name = str(finding.details.get("effect_name", "effect"))
            ends = [abs(end) for end in (finding.effect or 0.0, *(finding.ci or ()))]
            reach[name] = max(reach.get(name, 0.0), *ends)
        return [self._finding(finding, reach) for finding in self.result.findings]

    def _finding(self, finding: Finding, reach: Mapping[str, float]) -> dict[str, Any]:
        name = str(finding.details.get("effect_name", "effect"))
        anchor = _anchor(finding.evidence)
        return {
            "it": finding,
            "effect_name": name,
            "link": anchor if anchor in self.ids else None,
            "weak": finding.standing in ("no evidence", "not testable"),
            "bar": _interval_bar(finding, reach[name] or 1.0),
        }

    def _block(self, block: blocks.Block, fallback: str) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "kind": block.kind,
            "id": self._new_id(block.id or fallback),
            "it": block,
        }
        if isinstance(block, blocks.TableBlock):
            shown["table"] = _table(block.table, block.limit)
        elif isinstance(block, blocks.FigureBlock):
            shown["table"] = _table(block.table, 200)
            shown["height"], shown["lasso"], shown["data"] = self._figure(block)
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
            shown["data"] = self._paths(block)
        return shown

    def _card(self, card: blocks.Card, fallback: str) -> dict[str, Any]:
        return {
            "it": card,
            "id": self._new_id(card.id or fallback),
            "rows": [
                [self._picture(picture) for picture in row]
                for row in (card.pictures, card.beside)
                if row
            ],
        }

    def _figure(self, block: blocks.FigureBlock) -> tuple[int, bool, Markup]:
        """Its height in px, whether dragging selects points, and what draws it."""
        import plotly.graph_objects as go

        figure = block.figure if isinstance(block.figure, go.Figure) else go.Figure(block.figure)
        hover = [
            picture and [self._store(picture.key)["id"], picture.caption, *picture.outlines]
            for picture in block.hover
        ]
        text = json.dumps(plain(hover), ensure_ascii=False, separators=(",", ":"))
        data = f'{{"figure":{figure.to_json(engine="json")},"hover":{text}}}'
        layout = figure.layout
        return int(layout.height or 400), layout.dragmode == "lasso", in_script(data)

    def _paths(self, block: blocks.PixelPaths) -> Markup:
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
        content = plain({"classes": list(block.classes), "paths": steps, "views": views})
        return in_script(json.dumps(content, ensure_ascii=False, separators=(",", ":")))

    def _picture(self, picture: blocks.Picture) -> dict[str, Any]:
        return {"it": picture, "image": self._store(picture.key)}

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
                "small": max(width, height) <= SMALL_PICTURE_PX,
            }
        return self.pictures[key]

    def _new_id(self, text: str) -> str:
        anchor = _anchor(text)
        if anchor in self.ids:
            raise ValueError(f"the id {text!r} is given twice in one report")
        self.ids.add(anchor)
        return anchor


def _sections(report: blocks.Report, result: Result) -> list[blocks.Section]:
    """The study's sections, then what every report ends with."""
    ends: list[blocks.Section | None] = [_coverage(result)]
    if report.limits:
        limits = blocks.Notice("", level="limit", points=tuple(report.limits))
        ends.append(blocks.Section("limits", "Limits", "What this report cannot say.", [limits]))
    ends += [examined.section(result), _provenance(result)]
    sections = [section for section in (*report.sections, *ends) if section is not None]
    twice = [name for name, count in Counter(s.id for s in sections).items() if count > 1]
    if twice or any(section.id == "findings" for section in sections):
        raise ValueError(f"the section id {(twice or ['findings'])[0]!r} is taken")
    return sections


def _coverage(result: Result) -> blocks.Section:
    if not result.skipped:
        return blocks.Section("coverage", "Coverage and skipped samples", "Nothing was skipped.")
    reasons: Counter[str] = Counter()
    for entry in result.skipped:
        reasons[str(entry.get("reason", "no reason given"))] += int(entry.get("count", 1))
    rows = [{"reason": reason, "number": count} for reason, count in reasons.most_common()]
    columns = sorted(
        {column for entry in result.skipped for column in entry},
        key=lambda column: (column not in ("sample", "id"), column),
    )
    return blocks.Section(
        "coverage",
        "Coverage and skipped samples",
        f"Skipped entries: {sum(reasons.values())}. They count in no number of this report.",
        [
            blocks.TableBlock(Table(rows), "By reason"),
            blocks.TableBlock(Table(list(result.skipped), columns), "Each one", folded=True),
        ],
    )


def _provenance(result: Result) -> blocks.Section:
    apart = ("examination", "worth")
    made_with = {key: value for key, value in result.provenance.items() if key not in apart}
    rows = [{"what": name, "value": value} for name, value in _flat(made_with)]
    times = [{"step": name, "value": value} for name, value in _flat(result.timings)]
    config = [{"key": name, "value": value} for name, value in _flat(result.config)]
    tables = [
        ("From what this was computed", rows, False),
        ("Configuration", config, True),
        ("Time taken", times, True),
    ]
    return blocks.Section(
        "provenance",
        "Provenance",
        "Everything needed to compute this again.",
        [
            blocks.TableBlock(Table(found), heading, limit=1000, folded=folded)
            for heading, found, folded in tables
            if found
        ],
    )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves with their dotted names, by name: a saved mapping has no other order."""
    for key, value in sorted(tree.items(), key=lambda item: str(item[0])):
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _table(table: Table, limit: int) -> dict[str, Any]:
    """Headings, which columns are numbers, and the cells: the text, and what it sorts by."""
    rows = table.rows[:limit]
    numeric = {column: all(is_number(row.get(column)) for row in rows) for column in table.columns}
    cells = [[_cell(column, row.get(column)) for column in table.columns] for row in rows]
    heads = [
        {"text": table.labels.get(column, words(column)), "numeric": numeric[column]}
        for column in table.columns
    ]
    return {"heads": heads, "rows": cells, "total": len(table.rows), "caption": table.caption}


def _cell(column: str, value: Any) -> tuple[str, str]:
    value = plain(value)
    if isinstance(value, float) and (column == "p" or column.startswith("p_")):
        return p_value(value), f"{value:.9g}"
    text = number(value)
    sortable = is_number(value) and value is not None
    return text, f"{value:.9g}" if sortable and text != str(value) else ""


def _interval_bar(finding: Finding, reach: float) -> dict[str, float] | None:
    """Where the interval's parts lie on a line from 0 to 100, zero in the middle."""
    if finding.effect is None:
        return None
    low, high = finding.ci or (finding.effect, finding.effect)
    place = [round(50 + 46 * value / reach, 2) for value in (low, finding.effect, high)]
    return dict(zip(("low", "at", "high"), place, strict=True))


def _anchor(text: str) -> str:
    """A text as an id: safe in links, and never beginning with a digit."""
    key = safe_key(text)
    return key if key[0].isalpha() else f"id-{key}"


def write(report: blocks.Report, result: Result, path: Path | str) -> Path:
    """Render into the file `path` in one step; InputError when it cannot be written."""
    path = Path(path)
    replace_file(path, render(report, result).encode())
    return path
