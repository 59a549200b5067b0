"""Label Studio: polygons and brush strokes of a JSON export, painted in the order of the export.

A task must have one annotation that was not cancelled; a picture that was rotated in the tool is
refused. Boxes and the like outline nothing and are refused unless `boxes: skip`. A file's name is
the last part of the task's address; the eight letters that uploads put before it are dropped where
no file has them. Source: Label Studio's JSON export (points in percent of width and height; brush
masks in the bit-packed run lengths of thi.ng's rle-pack, four channels, the last of which counts).
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
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
from conceptseg.plain import plain_json

_UPLOADED = re.compile(r"[0-9a-f]{8}-")


class LabelStudioSpec(ExportSpec):
    """The keys of a Label Studio manifest."""

    field: str = Field("image", description="Key of a task's data that holds the image's address.")


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    keys, root, file, text = opened(LabelStudioSpec, path, spec, root_override)
    try:
        tasks = plain_json(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({error})") from None
    sound = isinstance(tasks, list) and all(isinstance(task, dict) for task in tasks)
    notes = [task.get("annotations") for task in tasks] if sound else [None]
    if not all(isinstance(own, list) and all(isinstance(n, dict) for n in own) for own in notes):
        raise InputError(f"{file}: no list of tasks with annotations; export as JSON, not JSON-MIN")
    return from_shapes(path, keys, root, [_sample(task, keys, root, file) for task in tasks])


def _sample(task: Mapping[str, Any], keys: LabelStudioSpec, root: Path, file: str) -> Sample:
    place = f"{file}: task {task.get('id')}"
    data = task.get("data")
    address = data.get(keys.field) if isinstance(data, dict) else None
    if not isinstance(address, str):
        raise InputError(f"{place}: no address of an image in data.{keys.field}; set field")
    try:
        parts = urlparse(address)
    except ValueError as error:
        raise InputError(f"{place}: data.{keys.field} is no address ({error})") from None
    local = parse_qs(parts.query).get("d", [""])[0]  # /data/local-files/?d=folder/name.jpg
    name = PurePosixPath(local or unquote(parts.path)).name
    folder = relative(keys.images, place)
    image = folder / relative(name, place)
    if not os.path.exists(root / image) and _UPLOADED.match(name):
        image = folder / relative(name[9:], place)
    kept = [one for one in task["annotations"] if not one.get("was_cancelled")]
    if len(kept) > 1:
        raise InputError(f"{place}: {len(kept)} annotations of one image; export one of them")
    results = kept[0].get("result") if kept else None
    drawing = None if results is None else _drawing(results, keys, place)
    return Sample(image.stem, (image,), split=keys.split, payload=drawing)


def _drawing(results: Any, keys: LabelStudioSpec, place: str) -> Drawing | None:
    """None for an annotation without any shape, which does not tell the image's size."""
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise InputError(f"{place}: its result is no list of shapes")
    drawing: Drawing | None = None
    shapes: list[Polygon | Runs] = []
    for result in results:
        kind, value = result.get("type"), result.get("value")
        if not isinstance(value, dict) or "original_width" not in result:
            continue  # a choice or a text of the whole picture
        if result.get("image_rotation"):
            raise InputError(f"{place}: rotated in the tool; rotate the file and annotate that")
        size = result.get("original_height"), result.get("original_width")
        drawing = drawing or sized(*size, keys.max_pixels, place)
        if (drawing.height, drawing.width) != size:
            raise InputError(f"{place}: shapes for pictures of two sizes")
        if kind not in ("polygonlabels", "brushlabels"):
            keys.skips(str(kind).removesuffix("labels"), place)
            continue
        names = value.get(kind)
        if not isinstance(names, list) or len(names) != 1:
            raise InputError(f"{place}: a shape with the labels {names}; it needs one")
        index = keys.index(str(names[0]), place)
        if index is None:
            continue
        shapes.append(
            _polygon(value, index, drawing, place)
            if kind == "polygonlabels"
            else _brush(value, index, drawing, place)
        )
    return None if drawing is None else dataclasses.replace(drawing, shapes=tuple(shapes))


def _polygon(value: Mapping[str, Any], index: int, drawn: Drawing, place: str) -> Polygon:
    try:
        points = [(x * drawn.width / 100, y * drawn.height / 100) for x, y in value["points"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"{place}: a polygon must be pairs of numbers") from None
    return outline(index, points, drawn, place)


def _brush(value: Mapping[str, Any], index: int, drawn: Drawing, place: str) -> Runs:
    packed = value.get("rle")
    sound = value.get("format") == "rle" and isinstance(packed, list)
    if not sound or not all(type(n) is int and 0 <= n < 256 for n in packed or ()):
        raise InputError(f"{place}: a brush mask that is not in run lengths")
    count = drawn.height * drawn.width * 4
    levels = unpack(np.array(packed, np.uint8), count, place).reshape(-1, 4)[:, 3]
    inside = np.concatenate([[False], levels > 0])  # runs begin with background
    ends = np.flatnonzero(np.diff(inside)).tolist()
    runs = np.diff([0, *ends, len(levels)]).tolist()
    return Runs(index, (0, 0, drawn.height, drawn.width), tuple(runs))


def unpack(packed: np.ndarray, count: int, place: str) -> np.ndarray:
    """Values [count] from bit-packed run lengths.

    32 bits count the values, 5 give the bits of a value (less one), four times 4 the bits of a
    length (less one). Then, for each run: one bit says whether a value is repeated, two which of
    the four lengths follows, the length (less one), and the value, or as many as the length says.
    """
    bits = np.unpackbits(packed)
    place_in = 0

    def number(size: int) -> int:
        nonlocal place_in
        if place_in + size > len(bits):
            raise InputError(f"{place}: the run lengths of a brush mask end early")
        place_in += size
        return int("".join(map(str, bits[place_in - size : place_in].tolist())) or "0", 2)

    if number(32) != count:
        raise InputError(f"{place}: a brush mask of another size than its picture")
    word = number(5) + 1
    lengths = [number(4) + 1 for _ in range(4)]
    values, done = np.zeros(count, np.int64), 0
    while done < count:
        repeated = number(1)
        end = done + 1 + number(lengths[number(2)])
        if end > count:
            raise InputError(f"{place}: the run lengths of a brush mask exceed its picture")
        values[done:end] = number(word) if repeated else [number(word) for _ in range(end - done)]
        done = end
    return values
