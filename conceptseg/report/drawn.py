"""A chart as the page draws it: its data, and controls of the page's own instead of Plotly's.

Plotly's menus cannot be reached from the keyboard and lie over what is drawn. So they are taken out
of the figure, and the page shows buttons (of few choices) or a list, which do what they did.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

from conceptseg.report.blocks import FigureBlock, Picture, Shown
from conceptseg.result.encoding import plain
from conceptseg.result.saved import Result, safe_key

BUTTONS = 4
"""Choices that are shown as buttons; of more a list is made."""


def file_name(result: Result, what: str) -> str:
    """What a file that is taken out of a report is called: study, network and what it shows."""
    parts = (result.study, str(result.notes.get("model", "")), what)
    return "-".join(safe_key(part.lower()) for part in parts if part)


def figure(block: FigureBlock, store: Callable[[str], str]) -> dict[str, Any]:
    """Its height in px, whether dragging selects points, its controls, and what draws it.

    `store` puts a picture on the page and returns its id.
    """
    import plotly.graph_objects as go

    drawn = block.figure if isinstance(block.figure, go.Figure) else go.Figure(block.figure)
    menus = [plain(menu.to_plotly_json()) for menu in drawn.layout.updatemenus]
    drawn = go.Figure(drawn)
    drawn.layout.updatemenus = ()
    hover = [_beside(shown, store) for shown in block.hover]
    layout = drawn.layout
    return {
        "height": int(layout.height or 400),
        "lasso": layout.dragmode == "lasso",
        "menus": [[html.unescape(one["label"]) for one in menu["buttons"]] for menu in menus],
        "buttons": BUTTONS,
        "content": {
            "figure": json.loads(drawn.to_json(engine="json")),
            "hover": plain(hover),
            "menus": [menu["buttons"] for menu in menus],
        },
    }


def _beside(shown: Shown, store: Callable[[str], str]) -> list[Any] | None:
    """What is shown beside the pointer: pictures, each with its outlines, and the words."""
    pictures = (shown,) if isinstance(shown, Picture) else shown
    if not pictures:
        return None
    return [[[store(one.key), *one.outlines] for one in pictures], pictures[0].caption]
