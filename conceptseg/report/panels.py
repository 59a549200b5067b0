"""An image with its labels and its prediction beside it, as one picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from conceptseg.report.colours import CATEGORIES
from conceptseg.report.thumbnails import encode, to_rgb
from conceptseg.result.saved import Result

GAP = 3
COLOUR = re.compile("#[0-9a-f]{6}")
GROUND = (70, 70, 70)


class Known(Protocol):
    """Classes, their colours where these are given, and which is the background: a manifest."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def colours(self) -> tuple[tuple[int, int, int], ...] | None: ...
    @property
    def background(self) -> str | None: ...


@dataclass(frozen=True)
class Palette:
    """A colour, uint8 [k + 1, 3], for each class; the last for pixels that are not labelled."""

    colours: np.ndarray

    @classmethod
    def of(cls, known: Known, classes: Sequence[str]) -> Palette:
        """The data set's colours, by class name, where it gives them; else distinct ones.

        A background without a colour is dark grey.
        """
        by_name = dict(zip(known.classes, known.colours or (), strict=False))
        plain = {known.background: GROUND} if known.background else {}
        rows = [
            by_name.get(name) or plain.get(name) or _distinct(c) for c, name in enumerate(classes)
        ]
        return cls(np.array([*rows, (0, 0, 0)], dtype=np.uint8))


def _distinct(number: int) -> tuple[int, int, int]:
    """A colour for a class without one: the categories in turn, darker at each round."""
    text = CATEGORIES[number % len(CATEGORIES)]
    shade = 0.7 ** (number // len(CATEGORIES))
    red, green, blue = (round(shade * int(text[at : at + 2], 16)) for at in (1, 3, 5))
    return red, green, blue


def noted(known: Known, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Classes and their colours as "#rrggbb", for a study's notes (`class_colours`)."""
    rows = Palette.of(known, classes).colours[:-1].tolist()
    return [
        (name, "#{:02x}{:02x}{:02x}".format(*row)) for name, row in zip(classes, rows, strict=True)
    ]


def key_of(result: Result) -> list[tuple[str, str]]:
    """What the colours of panels mean; empty for results of earlier versions."""
    pairs = [(str(name), str(colour)) for name, colour in result.notes.get("class_colours", ())]
    if bad := [colour for _, colour in pairs if not COLOUR.fullmatch(colour)]:
        raise ValueError(f"class_colours holds {bad[0][:40]!r}, which is no colour")
    return pairs


def panels(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    palette: Palette,
    side: int,
) -> bytes:
    """WebP of image [c, h, w], labels and prediction [h, w] side by side, each `side` px at most.

    Classes are shown in their colours; unlabelled pixels are black, and without labels the middle
    panel is left out. Small images stay as they are, for pages enlarge them without a blur.
    """
    parts = [to_rgb(image)]
    if truth is not None and (truth >= 0).any():
        parts.append(palette.colours[truth])
    parts.append(palette.colours[prediction])
    height, width = parts[0].shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    joined = Image.new("RGB", (len(parts) * (size[0] + GAP) - GAP, size[1]), "#ffffff")
    for place, part in enumerate(parts):
        how = Image.Resampling.NEAREST if place else Image.Resampling.LANCZOS
        joined.paste(Image.fromarray(part).resize(size, how), (place * (size[0] + GAP), 0))
    return encode(joined)
