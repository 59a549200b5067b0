"""A run on a page of several: the pictures that show its findings, embedded one by one."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from conceptseg.report import told
from conceptseg.report.blocks import Cards, Picture, Report
from conceptseg.result.finding import Finding
from conceptseg.result.saved import Result, image_type

MOST = 4
"""Pictures of a finding."""


@dataclass(frozen=True)
class Run:
    """A finished run: what it is called, its result, and its report."""

    name: str
    result: Result
    report: Report

    def pictures(self, finding: Finding | None, most: int = MOST) -> list[dict[str, Any]]:
        """The pictures that show a finding, as the report has them, ready to be embedded."""
        if finding is None:
            return []
        cards = {
            card.id: card.pictures
            for section in self.report.sections
            if section is not None
            for block in section.blocks
            if isinstance(block, Cards)
            for card in block.cards
        }
        chosen = told.pictures([(0, finding)], self.report.illustrate, cards)
        known = [one for one in chosen if one.key in self.result.images]
        return [_embedded(one, self.result.images[one.key]) for one in known[:most]]


def _embedded(picture: Picture, data: bytes) -> dict[str, Any]:
    kind = {"jpg": "jpeg"}.get(image_type(data), image_type(data))
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    about = {"caption": picture.caption, "alt": picture.alt, "outlines": picture.outlines}
    return {"uri": uri, **about}
