"""A page on which cells of an image are painted, and the map of what is painted is seen at once.

It loads nothing and asks nobody: the maps of all cells lie in it, in 8 bits each, and are added as
cells are painted. `total` is the same sum in Python.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg.report.thumbnails import outlined

LEVELS = 127
"""Steps of a cell's map, on either side of zero."""
MOST_PX = 96
"""Longer side of the maps in the page; they are means of the image's pixels."""
REPORT_PX = 64
"""The same in a report, which holds other things as well."""
TEMPLATE = Path(__file__).parent / "templates" / "brush.html"


def held(
    codes: np.ndarray,
    step: np.ndarray,
    grid: Sequence[int],
    *,
    ratio: float,
    side: int,
    picture: str,
) -> dict[str, Any]:
    """What `brush.js` reads: int8 `codes` [q, y, x] in steps of `step` [q] for cells in a `grid`;
    the picture's height per width, its width in px, and its address or the id of its element."""
    return {
        "cells": list(grid),
        "size": list(codes.shape[1:]),
        "ratio": ratio,
        "step": step.tolist(),
        "codes": base64.b64encode(np.ascontiguousarray(codes, np.int8).tobytes()).decode(),
        "picture": picture,
        "side": side,
    }


@dataclass(frozen=True)
class Painting:
    """What the page holds: `image` [c, h, w] in [0, 1], the `grid` (down, across) of its cells, and
    their maps [q, h, w], signed, of an explained class by a method. `region` [h, w] is outlined."""

    image: np.ndarray
    region: np.ndarray
    maps: np.ndarray
    grid: tuple[int, int]
    class_name: str
    method: str
    side: int = field(default=420)
    most_px: int = MOST_PX

    @cached_property
    def small(self) -> np.ndarray:
        """The maps as means over blocks, [q, y, x], at most `most_px` along an axis."""
        h, w = self.maps.shape[1:]
        block = -(-max(h, w) // self.most_px)
        down, across = -(-h // block), -(-w // block)
        padded = np.full((len(self.maps), down * block, across * block), np.nan)
        padded[:, :h, :w] = self.maps
        blocks = padded.reshape(len(self.maps), down, block, across, block)
        return np.asarray(np.nanmean(blocks, axis=(2, 4)))

    @cached_property
    def coded(self) -> tuple[np.ndarray, np.ndarray]:
        """int8 [q, y, x] and the size of one step of each cell, [q]."""
        step = np.abs(self.small).max((1, 2)) / LEVELS
        safe = np.where(step > 0, step, 1.0)
        return np.rint(self.small / safe[:, None, None]).astype(np.int8), step

    def total(self, weights: Sequence[float]) -> np.ndarray:
        """The map [y, x] that the page shows for cells of weights [q]: 1 painted, -1 left out."""
        codes, step = self.coded
        return np.einsum("q,qyx->yx", np.asarray(weights, np.float64) * step, codes.astype(float))

    def bound(self, weights: Sequence[float]) -> float:
        """By how much rounding may move any pixel of such a map."""
        return float(np.abs(np.asarray(weights)) @ self.coded[1]) / 2

    def content(self) -> dict[str, Any]:
        picture = base64.b64encode(outlined(self.image, self.region, self.side)).decode()
        return held(
            *self.coded,
            self.grid,
            ratio=self.image.shape[1] / self.image.shape[2],
            side=self.side,
            picture=f"data:image/webp;base64,{picture}",
        )

    def page(self) -> str:
        """The page. No text of whoever named classes can run in it."""
        text = json.dumps(self.content()).replace("<", "\\u003c")
        page = TEMPLATE.read_text(encoding="utf-8")
        for key, value in (("class", self.class_name), ("method", self.method)):
            page = page.replace(f"@@{key}@@", escape(value))
        script = TEMPLATE.with_suffix(".js").read_text(encoding="utf-8")
        return page.replace("@@script@@", script).replace("@@content@@", text)

    def save(self, path: Path | str) -> Path:
        """The page as one file that loads nothing."""
        from conceptseg.result.folder import write_out

        write_out(Path(path), self.page().encode())
        return Path(path)

    def _repr_html_(self) -> str:
        title = escape(f"Brush: {self.class_name}", quote=True)
        height = round(self.side * self.content()["ratio"]) + 190
        return (
            f'<iframe title="{title}" sandbox="allow-scripts" '
            f'style="width:100%;height:{height}px;border:1px solid" '
            f'srcdoc="{escape(self.page(), quote=True)}"></iframe>'
        )
