"""COCO: polygons and run lengths of an annotation file, drawn as one label map per image.

Objects are painted from the largest to the smallest (by the area that the file gives, then by
annotation id), so what lies in front is mostly kept; crowd regions are ignored pixels unless
`crowd: paint`. Pixels of no object are background. Needs pycocotools (the extra `coco`), whose
rasterisation of polygons is COCO's own. Source: Lin et al. 2014, Microsoft COCO, and its API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rasteriser
from pydantic import Field

from conceptseg.data.labels import IGNORE, LabelBlock
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.readers._files import FileSource, read_text, relative
from conceptseg.data.readers._spec import FilesSpec, parse, root_of
from conceptseg.errors import InputError, nearest
from conceptseg.plain import plain_json
from conceptseg.strict import Strict


class PartSpec(Strict):
    """An annotation file and the folder of its images."""

    annotations: str = Field(description="JSON file of instances, below the root.")
    images: str = Field(description="Folder of the images, below the root.")
    split: str | None = Field(None, description="Split of these samples.")


class CocoSpec(FilesSpec):
    """The keys of a COCO manifest."""

    parts: tuple[Any, ...] = Field(min_length=1, description="Annotation files with their images.")
    categories: tuple[str, ...] | None = Field(
        None, description="Categories that become classes, in this order; all by id when absent."
    )
    unlisted: Literal["background", "ignore"] = Field(
        "background", description="What objects of other categories become."
    )
    crowd: Literal["ignore", "paint"] = Field("ignore", description="What crowd regions become.")
    background: str = Field("background", description="Name of the class of all other pixels.")


@dataclass(frozen=True)
class Shape:
    """One object: the class it is painted as, its outline as the file gives it, and its place in
    messages."""

    index: int
    outline: Any
    where: str = field(repr=False)


@dataclass(frozen=True)
class Annotated:
    """An image's size and its objects in the order of painting."""

    height: int
    width: int
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class CocoSource(FileSource):
    """Images in files, labels drawn from annotations (the samples' payloads)."""

    def drawn(self, sample: Sample) -> np.ndarray:
        drawing: Annotated = sample.payload
        labels = np.zeros((drawing.height, drawing.width), np.int64)
        for shape in drawing.shapes:
            if shape.index not in self.painted:
                continue
            labels[draw(shape.outline, drawing.height, drawing.width, shape.where)] = shape.index
        return labels

    def labelled(self, sample: Sample) -> bool:
        return True


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    where = str(path)
    keys = parse(CocoSpec, spec, where)
    root = root_of(path, keys, root_override)
    parts = [
        parse(PartSpec, part, f"{where}: parts, entry {number}")
        for number, part in enumerate(keys.parts, 1)
    ]
    contents = [_load(root, part.annotations, where) for part in parts]
    names = _names(contents[0], root / parts[0].annotations)
    chosen = _chosen(keys, names, where)
    samples: list[Sample] = []
    for part, content in zip(parts, contents, strict=True):
        file = root / part.annotations
        if _names(content, file) != names:
            raise InputError(f"{file}: its categories differ from those of {parts[0].annotations}")
        samples += _samples(content, part, keys, names, chosen, str(file))
    block = LabelBlock((keys.background, *chosen), background=keys.background)
    return Manifest(
        name=keys.name or path.stem,
        block=block,
        channels=keys.channels,
        samples=tuple(samples),
        source=CocoSource(root, keys.rules(), block),
        root=root,
        where=where,
    )


def _load(root: Path, file: str, where: str) -> dict[str, Any]:
    try:
        content = plain_json(read_text(root, file, where))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{root / file}: not JSON ({error})") from None
    lists = ("images", "annotations", "categories")
    for key in lists:
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{root / file}: no list {key!r}; expected COCO's instances format")
    return content


def _names(content: Mapping[str, Any], file: Path) -> dict[int, str]:
    """Category id -> name, by id."""
    names: dict[int, str] = {}
    place = f"{file}: categories"
    for entry in content["categories"]:
        number, name = _get(entry, "id", int, place), _get(entry, "name", str, place)
        if number in names:
            raise InputError(f"{place}: {names[number]!r} and {name!r} both have the id {number}")
        names[number] = name
    return dict(sorted(names.items()))


def _chosen(keys: CocoSpec, names: Mapping[int, str], where: str) -> tuple[str, ...]:
    chosen = keys.categories if keys.categories is not None else tuple(names.values())
    for name in chosen:
        if name not in names.values():
            raise InputError(f"{where}: no category {name!r}; {nearest(name, names.values())}")
    twice = sorted({name for name in chosen if (keys.background, *chosen).count(name) > 1})
    if twice:
        raise InputError(f"{where}: the class {twice[0]!r} is there twice; set background or list")
    return chosen


def _samples(
    content: Mapping[str, Any],
    part: PartSpec,
    keys: CocoSpec,
    names: Mapping[int, str],
    chosen: Sequence[str],
    file: str,
) -> list[Sample]:
    objects: dict[int, list[dict[str, Any]]] = {}
    for entry in content["annotations"]:
        place = f"{file}: annotation {entry.get('id')}"
        if _get(entry, "category_id", int, place) not in names:
            raise InputError(f"{place}: category_id {entry['category_id']} is not in the file")
        objects.setdefault(_get(entry, "image_id", int, place), []).append(entry)
    samples: list[Sample] = []
    seen: set[int] = set()
    for entry in content["images"]:
        place = f"{file}: image {entry.get('id')}"
        number = _get(entry, "id", int, place)
        if number in seen:
            raise InputError(f"{place}: two images have this id")
        seen.add(number)
        name = _get(entry, "file_name", str, place)
        height, width = _get(entry, "height", int, place), _get(entry, "width", int, place)
        if height < 1 or width < 1 or height * width > keys.max_pixels:
            raise InputError(f"{place}: {height} x {width} pixels; max_pixels is {keys.max_pixels}")
        ordered = sorted(objects.get(number, ()), key=lambda one: _order(one, file))
        shapes = [_shape(one, keys, names, chosen, file) for one in ordered]
        samples.append(
            Sample(
                PurePosixPath(name).stem,
                (relative(part.images, place) / relative(name, place),),
                split=part.split,
                payload=Annotated(height, width, tuple(s for s in shapes if s is not None)),
            )
        )
    return samples


def _order(entry: Mapping[str, Any], file: str) -> tuple[bool, float, int]:
    """Crowds first, so that objects lie on them; then large before small."""
    place = f"{file}: annotation {entry.get('id')}"
    area = entry.get("area", 0.0)
    # No picture is so large, and whole numbers can be larger than any other.
    if type(area) not in (int, float) or not abs(area) < 1e18:
        raise InputError(f"{place}: area is {area!r}; expected a number")
    return not entry.get("iscrowd"), -float(area), _get(entry, "id", int, place)


def _shape(
    entry: Mapping[str, Any],
    keys: CocoSpec,
    names: Mapping[int, str],
    chosen: Sequence[str],
    file: str,
) -> Shape | None:
    name = names[entry["category_id"]]
    place = f"{file}: annotation {entry['id']}"
    if entry.get("iscrowd") and keys.crowd == "ignore":
        index = IGNORE
    elif name in chosen:
        index = chosen.index(name) + 1
    elif keys.unlisted == "ignore":
        index = IGNORE
    else:
        return None  # background shows through; it hides nothing of the classes behind it
    if "segmentation" not in entry:
        raise InputError(f"{place}: no segmentation (boxes alone make no labels)")
    return Shape(index, entry["segmentation"], place)


def draw(outline: Any, height: int, width: int, where: str) -> np.ndarray:
    """Polygons [[x, y, x, y, ...], ...] or run lengths {counts, size} -> boolean [h, w].

    Raises :class:`~conceptseg.errors.InputError` for what is not of that form or does not fit the
    image: the C code that rasterises does not look.
    """
    if isinstance(outline, dict):
        if outline.get("size") != [height, width]:
            raise InputError(
                f"{where}: run lengths of size {outline.get('size')}, image [{height}, {width}]"
            )
        return _runs(outline.get("counts"), height, width, where)
    if not isinstance(outline, list):
        raise InputError(f"{where}: segmentation is neither polygons nor run lengths")
    reach = 2 * max(height, width)
    for polygon in outline:
        sound = (
            isinstance(polygon, list)
            and len(polygon) >= 6
            and len(polygon) % 2 == 0
            and all(type(number) in (int, float) and abs(number) <= reach for number in polygon)
        )
        if not sound:
            raise InputError(
                f"{where}: a polygon must be [x, y, ...] of three or more points near the image"
            )
    if not outline:
        return np.zeros((height, width), bool)
    runs = rasteriser.merge(rasteriser.frPyObjects(outline, height, width))
    return rasteriser.decode(runs).astype(bool)


def _runs(counts: Any, height: int, width: int, where: str) -> np.ndarray:
    """Lengths of runs of 0 and 1 in turn, down the columns; as a list or as COCO's string."""
    if isinstance(counts, str):
        counts = _unpack(counts, where)
    sound = isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts)
    if not sound or sum(counts) != height * width:
        raise InputError(f"{where}: run lengths do not add up to {height} x {width} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _unpack(text: str, where: str) -> list[int]:
    """COCO's string of run lengths: 5 bits a character from '0' on, bit 6 says more follow, the
    last is signed, and from the third run on each is a difference to the one before the last."""
    counts: list[int] = []
    value, place = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or place > 60:
            raise InputError(f"{where}: run lengths hold {character!r}; not COCO's string form")
        value |= (code & 31) << place
        place += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << place
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, place = 0, 0
    if place:
        raise InputError(f"{where}: the string of run lengths ends early")
    return counts


def _get(entry: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = entry.get(key)
    if type(value) is not kind:
        raise InputError(f"{where}: {key} is {value!r}; expected {kind.__name__}")
    return value
