"""The maps of one image and class, as pictures with their scale and legend."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from conceptseg.report.colours import SCALES
from conceptseg.report.thumbnails import OUTLINE, ZERO, outlined, overlay, shared_limit

SIDE = 320
"""Pixels of a picture's longer side."""


@dataclass(frozen=True)
class Explanation:
    """The maps of one image and class. A notebook shows it as pictures.

    `attributions` by method: float32 [h, w], signed, unnormalised; `image` [c, h, w] in [0, 1];
    `region` bool [h, w], the pixels whose class was explained; `passes` by method: how many
    images went through the network; `remarks` by method: what a reader must know of its map, in
    sentences, such as that it is zero everywhere, which is no answer.
    """

    class_name: str
    image: np.ndarray
    region: np.ndarray
    attributions: dict[str, np.ndarray]
    passes: dict[str, dict[str, int]] = field(default_factory=dict)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def pictures(self, side: int = SIDE) -> dict[str, bytes]:
        """WebP pictures: "image" with the region outlined, then each method's map over it.

        Each map has a scale of its own, from minus to plus the 99.5 % quantile of its values; one
        that is zero everywhere says so.
        """
        found = {"image": outlined(self.image, self.region, side)}
        for method, one in self.attributions.items():
            limit = self._limit(method)
            found[method] = overlay(self.image, one, -limit, limit, mask=self.region, side=side)
        return found

    def save(self, path: Path | str) -> Path:
        """The pictures as one HTML file that loads nothing."""
        from conceptseg.result.folder import write_out

        path = Path(path)
        head = f"<!doctype html><meta charset=utf-8><title>{escape(self.class_name)}</title>"
        write_out(path, (head + self._repr_html_()).encode())
        return path

    @property
    def blank(self) -> tuple[str, ...]:
        """The methods whose map is zero everywhere: they say nothing of this image."""
        return tuple(name for name, one in self.attributions.items() if not one.any())

    def _caption(self, name: str) -> str:
        if name == "image":
            return f"{self.class_name}, outlined"
        return f"{name}: {ZERO}" if name in self.blank else name

    def _limit(self, method: str) -> float:
        """The value at both ends of a map's scale of colours."""
        return shared_limit([self.attributions[method]])

    def _bar(self, name: str) -> str:
        """The scale of a map's colours in its own numbers, and what the two ends mean."""
        if name == "image" or name in self.blank:
            return ""
        low, high = (f"{sign}{self._limit(name):.2g}" for sign in ("-", "+"))
        said = _text(f"Colours from {low}, against {self.class_name}, over 0 to {high}, for it")
        ramp = f"linear-gradient(to right,{','.join(SCALES['balance'])})"
        return (
            f'<div role="img" aria-label="{said}" style="display:flex;gap:6px;align-items:center">'
            f'<span>{low}</span><span style="flex:1;height:10px;background:{ramp}"></span>'
            f"<span>{high}</span></div>"
        )

    def _figure(self, name: str, picture: bytes) -> str:
        text = _text(self._caption(name))
        data = base64.b64encode(picture).decode()
        return (
            f'<figure style="margin:0"><img alt="{text}" style="max-width:100%" '
            f'src="data:image/webp;base64,{data}">{self._bar(name)}'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def _legend(self) -> str:
        """What the line and the colours mean."""
        brown, blue = SCALES["balance"][-1], SCALES["balance"][0]
        marks = (
            (OUTLINE, f"line: the region of {self.class_name} that is explained"),
            (brown, f"speaks for {self.class_name} there"),
            (blue, "speaks against it"),
        )
        square = "display:inline-block;width:10px;height:10px;background:"
        lines = [
            f'<span aria-hidden="true" style="{square}{colour}"></span> {_text(words)}'
            for colour, words in marks
        ]
        return f"<p>{'; '.join(lines)}. Each map has a scale of its own.</p>"

    def _repr_html_(self) -> str:
        cells = "".join(self._figure(name, data) for name, data in self.pictures().items())
        said = "".join(
            f"<p><b>{escape(name)}</b>: {escape('. '.join(lines))}</p>"
            for name, lines in self.remarks.items()
        )
        shown = f'<div style="display:flex;flex-wrap:wrap;gap:12px">{cells}</div>'
        return shown + self._legend() + said


def _text(words: str) -> str:
    return escape(words, quote=True)
