"""YOLO segmentation: a text file of polygons for each image, painted as one label map.

A line is a class's index and its outline as x y pairs, in shares of the image's width and height.
Larger polygons are painted first, so that what lies in front is mostly kept. An image without a
text file shows nothing but background, as the format has it; a folder without any is refused. Lines
of boxes (four numbers) make no labels. Source: the format of Ultralytics' segmentation data sets.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import Field

from conceptseg.data.decode import SUFFIXES
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers._files import FileSource, read_text, relative, resolve
from conceptseg.data.readers._shapes import (
    Drawing,
    Polygon,
    ShapesSpec,
    from_shapes,
    outline,
    paint,
    sized,
)
from conceptseg.data.readers._spec import parse, root_of
from conceptseg.errors import InputError
from conceptseg.strict import Strict


class PartSpec(Strict):
    """A folder of images and the folder of their text files."""

    images: str = Field(description="Folder of the images, below the root.")
    labels: str = Field(description="Folder of the text files, below the root.")
    split: str | None = Field(None, description="Split of these samples.")


class YoloSpec(ShapesSpec):
    """The keys of a YOLO manifest; `classes` are the names of the data set's YAML, by index."""

    parts: tuple[Any, ...] = Field(min_length=1, description="Folders of images and labels.")


@dataclass(frozen=True)
class YoloSource(FileSource):
    """Images in files, labels painted from text files (the samples' masks), read when asked for."""

    keys: YoloSpec

    def drawn(self, sample: Sample) -> np.ndarray:
        height, width = self.size_as_drawn(sample)
        drawing = sized(height, width, self.rules.max_pixels, str(sample.image[0]))
        if sample.mask is not None:
            text = read_text(self.root, str(sample.mask), "labels")
            drawing = _drawing(text, drawing, self.keys, str(self.root / sample.mask))
        return paint(drawing, self.painted)

    def labelled(self, sample: Sample) -> bool:
        return True

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"yolo": self.keys.boxes}


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    where = str(path)
    keys = parse(YoloSpec, spec, where)
    root = root_of(path, keys, root_override, listed=True)
    samples: list[Sample] = []
    for number, entry in enumerate(keys.parts, 1):
        place = f"{where}: parts, entry {number}"
        samples += _part(parse(PartSpec, entry, place), root, place)
    plain = from_shapes(path, keys, root, samples)
    source = YoloSource(root, keys.rules(), plain.block, keys)
    return dataclasses.replace(plain, source=source)


def _part(part: PartSpec, root: Path, where: str) -> list[Sample]:
    folder = resolve(root, relative(part.images, where))
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; is the root right (key root, or --data-root)?")
    files = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    samples, there = [], 0
    for name in files:
        text = relative(part.labels, where) / f"{PurePosixPath(name).stem}.txt"
        found = os.path.isfile(root / text)
        there += found
        image = relative(part.images, where) / relative(name, where)
        samples.append(Sample(image.stem, (image,), text if found else None, part.split))
    if not there:
        raise InputError(
            f"{where}: none of {len(files)} images of {part.images!r} has a text file in "
            f"{part.labels!r} below {root}"
        )
    return samples


def _drawing(text: str, drawing: Drawing, keys: YoloSpec, file: str) -> Drawing:
    """The polygons of a text file, the largest first."""
    shapes = []
    for number, line in enumerate(text.splitlines(), 1):
        words, place = line.split(), f"{file}, line {number}"
        if not words or (len(words) == 5 and keys.skips("box", place)):
            continue
        whole = words[0].isdecimal() and len(words[0]) < 10
        if not whole or int(words[0]) >= len(keys.classes):
            raise InputError(
                f"{place}: class {words[0][:20]}, but classes are 0 to {len(keys.classes) - 1}"
            )
        if len(words) % 2 == 0:
            raise InputError(f"{place}: {len(words) - 1} numbers are no pairs of x and y")
        try:
            numbers = [float(word) for word in words[1:]]
        except ValueError:
            raise InputError(f"{place}: not numbers") from None
        if not all(-0.01 <= number <= 1.01 for number in numbers):
            raise InputError(f"{place}: numbers must be shares of the image, 0 to 1")
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        points = [(x * drawing.width, y * drawing.height) for x, y in pairs]
        shapes.append(outline(int(words[0]) + 1, points, drawing, place))
    shapes.sort(key=_area, reverse=True)
    return dataclasses.replace(drawing, shapes=tuple(shapes))


def _area(shape: Polygon) -> float:
    """In square pixels, by the shoelace formula."""
    ends = shape.points[1:] + shape.points[:1]
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(shape.points, ends, strict=True))) / 2
