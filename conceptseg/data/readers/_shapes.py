"""Labels painted from outlines: what readers of annotation tools share.

A pixel belongs to a polygon if its centre lies inside. Shapes are painted in the order given, each
over those before; pixels of none are background.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from conceptseg.data.labels import IGNORE, LabelBlock
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers._files import FileSource, read_text
from conceptseg.data.readers._spec import FilesSpec, parse, root_of
from conceptseg.errors import InputError, nearest


class ShapesSpec(FilesSpec):
    """The keys of every manifest whose labels are outlines with names."""

    classes: tuple[str, ...] = Field(
        min_length=1, description="Names of the classes in this order, without the background."
    )
    background: str = Field("background", description="Name of the class of all other pixels.")
    unlisted: Literal["refuse", "background", "ignore"] = Field(
        "refuse", description="What shapes of other names become."
    )
    boxes: Literal["refuse", "skip"] = Field(
        "refuse", description="What boxes, lines and points become, which outline nothing."
    )

    @model_validator(mode="after")
    def _distinct(self) -> ShapesSpec:
        names = (self.background, *self.classes)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the class {twice[0]!r} is there twice; set background or classes")
        return self

    def index(self, name: str, where: str) -> int | None:
        """The class that a shape is painted as; None where it is left to the background."""
        if name in self.classes:
            return self.classes.index(name) + 1
        if self.unlisted == "refuse":
            raise InputError(
                f"{where}: no class {name!r} in classes ({nearest(name, self.classes)}); list it, "
                "or set unlisted: background or ignore"
            )
        return IGNORE if self.unlisted == "ignore" else None

    def skips(self, kind: str, where: str) -> bool:
        """True for a shape that is no outline, if such may be skipped."""
        if self.boxes == "refuse":
            raise InputError(
                f"{where}: a {kind} outlines nothing; set boxes: skip to leave such shapes out"
            )
        return True


class ExportSpec(ShapesSpec):
    """Those of a manifest that reads one file, which a tool exported."""

    annotations: str = Field(description="The exported file, below the root.")
    images: str = Field(description="Folder of the images, below the root.")
    split: str | None = Field(None, description="Split of these samples.")


Export = TypeVar("Export", bound=ExportSpec)


def opened(
    kind: type[Export], path: Path, spec: Mapping[str, Any], root_override: Path | None
) -> tuple[Export, Path, str, str]:
    """The keys, the root, and the exported file's name and text."""
    where = str(path)
    keys = parse(kind, spec, where)
    root = root_of(path, keys, root_override)
    return keys, root, str(root / keys.annotations), read_text(root, keys.annotations, where)


@dataclass(frozen=True)
class Polygon:
    """A class and its outline ((x, y), ...) in pixels from the upper left corner."""

    index: int
    points: tuple[tuple[float, float], ...]

    def paint(self, labels: np.ndarray) -> None:
        from skimage.draw import polygon

        x, y = np.array(self.points, float).T
        labels[polygon(y - 0.5, x - 0.5, labels.shape)] = self.index


@dataclass(frozen=True)
class Runs:
    """A class and lengths of runs of 0 and 1 in turn, along rows of the box [top, left, h, w]."""

    index: int
    box: tuple[int, int, int, int]
    runs: tuple[int, ...]

    def paint(self, labels: np.ndarray) -> None:
        top, left, height, width = self.box
        inside = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs).reshape(height, width)
        labels[top : top + height, left : left + width][inside] = self.index


@dataclass(frozen=True)
class Drawing:
    """An image's size in pixels and its shapes in the order of painting."""

    height: int
    width: int
    shapes: tuple[Polygon | Runs, ...]


@dataclass(frozen=True)
class ShapesSource(FileSource):
    """Images in files, labels painted from drawings (the samples' payloads)."""

    def drawn(self, sample: Sample) -> np.ndarray | None:
        drawing: Drawing | None = sample.payload
        return None if drawing is None else paint(drawing, self.painted)

    def labelled(self, sample: Sample) -> bool:
        return sample.payload is not None


def paint(drawing: Drawing, classes: frozenset[int]) -> np.ndarray:
    """int64 [h, w], of the shapes of these classes alone."""
    labels = np.zeros((drawing.height, drawing.width), np.int64)
    for shape in drawing.shapes:
        if shape.index in classes:
            shape.paint(labels)
    return labels


def outline(index: int, points: Iterable[Sequence[Any]], drawn: Drawing, where: str) -> Polygon:
    """A polygon whose points are checked.

    Raises :class:`~conceptseg.errors.InputError` for fewer than three points, what is no number,
    and points far outside of the image.
    """
    try:
        pairs = tuple((float(x), float(y)) for x, y in points)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: a polygon must be pairs of numbers") from None
    reach = 2 * max(drawn.height, drawn.width)
    if len(pairs) < 3 or not all(math.isfinite(n) and abs(n) <= reach for p in pairs for n in p):
        raise InputError(f"{where}: a polygon must be three or more points near the image")
    return Polygon(index, pairs)


def sized(height: Any, width: Any, max_pixels: int, where: str) -> Drawing:
    """An empty drawing of a size that is checked."""
    for number in (height, width):
        if type(number) is not int or number < 1:
            raise InputError(f"{where}: {height!r} x {width!r} pixels is no size")
    if height * width > max_pixels:
        raise InputError(f"{where}: {height} x {width} pixels; max_pixels is {max_pixels}")
    return Drawing(height, width, ())


def from_shapes(path: Path, keys: ShapesSpec, root: Path, samples: Sequence[Sample]) -> Manifest:
    """A manifest whose labels are the samples' drawings."""
    block = LabelBlock((keys.background, *keys.classes), background=keys.background)
    return Manifest(
        name=keys.name or path.stem,
        block=block,
        channels=keys.channels,
        samples=tuple(samples),
        source=ShapesSource(root, keys.rules(), block),
        root=root,
        where=str(path),
    )
