"""CVAT for images: polygons and masks of an XML export, painted by their z order.

Of one z order, what the file lists later lies on top. Boxes, lines and points outline nothing and
are refused unless `boxes: skip`. XML with a document type or entities is refused unread. Source:
CVAT's XML annotation format 1.1 (polygon points "x,y;x,y" in pixels; masks as run lengths along
rows of their box, beginning with background).
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from pydantic import Field

from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers._files import relative
from conceptseg.data.readers._shapes import (
    Drawing,
    ExportSpec,
    Polygon,
    Runs,
    from_shapes,
    opened,
    outline,
    sized,
)
from conceptseg.errors import InputError

_NO_OUTLINE = ("box", "polyline", "points", "cuboid", "skeleton", "ellipse")


class CvatSpec(ExportSpec):
    """The keys of a CVAT manifest."""

    annotations: str = Field("annotations.xml", description="The XML file, below the root.")
    images: str = Field("images", description="Folder of the images, below the root.")
    split: str | None = Field(None, description="Split of these samples; else the export's subset.")


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    keys, root, file, text = opened(CvatSpec, path, spec, root_override)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{file}: XML with a document type or entities, which no export has")
    try:
        content = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{file}: not XML ({error})") from None
    if content.tag != "annotations" or content.find("track") is not None:
        raise InputError(f"{file}: not an export of the kind 'CVAT for images 1.1'")
    samples = [_sample(image, keys, file) for image in content.iter("image")]
    return from_shapes(path, keys, root, samples)


def _sample(image: ElementTree.Element, keys: CvatSpec, file: str) -> Sample:
    place = f"{file}: image {image.get('id')}"
    name = image.get("name") or ""
    empty = sized(
        _whole(image, "height", place), _whole(image, "width", place), keys.max_pixels, place
    )
    shapes: list[tuple[int, Polygon | Runs]] = []
    for element in image:
        if element.tag in _NO_OUTLINE:
            keys.skips(element.tag, place)
        elif element.tag in ("polygon", "mask"):
            index = keys.index(element.get("label") or "", place)
            if index is not None:
                make = _polygon if element.tag == "polygon" else _runs
                order = _whole(element, "z_order", place, "0")
                shapes.append((order, make(element, index, empty, place)))
        elif element.tag != "tag":
            raise InputError(f"{place}: a shape {element.tag!r}, which is not known")
    shapes.sort(key=lambda pair: pair[0])
    return Sample(
        PurePosixPath(name).stem,
        (relative(keys.images, place) / relative(name, place),),
        split=keys.split or image.get("subset"),
        payload=dataclasses.replace(empty, shapes=tuple(shape for _, shape in shapes)),
    )


def _polygon(element: ElementTree.Element, index: int, drawn: Drawing, place: str) -> Polygon:
    points = [pair.split(",") for pair in (element.get("points") or "").split(";")]
    return outline(index, points, drawn, place)


def _runs(element: ElementTree.Element, index: int, drawn: Drawing, place: str) -> Runs:
    box = [_whole(element, key, place) for key in ("top", "left", "height", "width")]
    top, left, height, width = box
    words = [word.strip() for word in (element.get("rle") or "").split(",")]
    inside = min(box) >= 0 and top + height <= drawn.height and left + width <= drawn.width
    sound = inside and all(word.isdecimal() and len(word) < 10 for word in words)
    if not sound or sum(map(int, words)) != height * width:
        raise InputError(f"{place}: a mask whose run lengths do not fill its box in the image")
    return Runs(index, (top, left, height, width), tuple(map(int, words)))


def _whole(element: ElementTree.Element, key: str, place: str, default: str = "") -> int:
    text = element.get(key, default).strip()
    if not text.lstrip("-").isdecimal() or len(text) > 9:
        raise InputError(f"{place}: {key} is {text[:20]!r}; expected a whole number")
    return int(text)
