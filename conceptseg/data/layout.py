"""What lies in a folder: which files are images, which are their masks, and in which splits.

Names decide, as far as they tell: a folder `masks`, a file `tile_7_mask.png`. Nothing is opened.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from conceptseg.data.decode import SUFFIXES
from conceptseg.data.pairing import (
    COPIES,
    IMAGES,
    MASKS,
    OTHERS,
    Part,
    Series,
    braced,
    paired,
    patterns_of,
    words_of,
)
from conceptseg.errors import InputError, few

MOST_FILES = 1_000_000
"""Files that are listed at most."""
KNOWN = {
    "voc": ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"),
    "cityscapes": ("leftImg8bit", "gtFine"),
}
"""Formats of manifests, and the folders by which their layouts are known."""
LEAST_GROUPS = 6
"""Groups from which on a prefix of ids is taken for one: fewer could not carry a test."""


@dataclass(frozen=True)
class Layout:
    """The parts of a folder, the groups that their ids tell of, and what was left aside.

    `group` is a regular expression whose first capture is the group of an id; `remarks` are
    sentences on what was seen and not taken.
    """

    parts: tuple[Part, ...]
    group: str | None = None
    groups: int = 0
    remarks: tuple[str, ...] = field(default=())

    @property
    def ids(self) -> list[str]:
        return [one for part in self.parts for one in part.images.ids]


def look(root: Path) -> Layout:
    """The layout of what lies below `root`.

    Raises InputError for a folder without images, and for one whose ids are given twice in one
    split or none.
    """
    files = _listed(root)
    if not files:
        raise InputError(
            f"{root}: no image lies in it (known suffixes are {', '.join(sorted(SUFFIXES))})"
        )
    series = _series(files)
    drawn = [one for one in series if _kind(one) == "mask"]
    drawn = drawn or [one for one in series if _kind(one) == "copy"]
    others = [one for one in series if _kind(one) in ("other", "copy") and one not in drawn]
    plain = [one for one in series if _kind(one) == "image"]
    if not plain:
        named = few(patterns_of(drawn), 3)
        raise InputError(
            f"{root}: all images in it look like masks by their names ({named}); "
            "name the folder that holds both"
        )
    parts, remarks = paired(plain, drawn)
    for name, folders in KNOWN.items():
        if all((root / one).is_dir() for one in folders):
            remarks.append(f"this is the layout of format: {name}, which knows its classes")
    if others:
        remarks.append(f"not taken, by their names: {few(patterns_of(others), 3)}")
    parts, twice = _once(parts)
    group, groups = grouping([one for part in parts for one in part.images.ids])
    return Layout(tuple(parts), group, groups, (*remarks, *twice))


def _listed(root: Path) -> list[str]:
    """The image files below a folder, relative to it, sorted; hidden ones and links are left."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; name the one that holds images and masks")
    found, seen = [], 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen += len(names)
        if seen > MOST_FILES:
            raise InputError(f"{root}: more than {MOST_FILES} files; name a folder within it")
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                found.append((Path(folder) / name).relative_to(root).as_posix())
    return sorted(found)


def _series(files: Iterable[str]) -> list[Series]:
    """Files by folder, suffix, and the words of masks or images that stand around their ids."""
    found: dict[str, list[str]] = defaultdict(list)
    paths = [PurePosixPath(file) for file in files]
    stems = {path.stem for path in paths}
    for path in paths:
        before, core, after = _further(path.stem, stems) or _around(path.stem)
        name = f"{braced(before)}{{id}}{braced(after)}{path.suffix}"
        found[(path.parent / name).as_posix()].append(core)
    return [Series(pattern, tuple(ids)) for pattern, ids in sorted(found.items())]


def _further(stem: str, stems: Set[str]) -> tuple[str, str, str] | None:
    """The parts of the name of an image's second mask and others, `scan_mask_1`; else None."""
    parts = re.split(r"([_\-. ]+)", stem)
    core = "".join(parts[:-4])
    if len(parts) >= 5 and parts[-1].isdecimal() and parts[-3].lower() in MASKS and core in stems:
        return "", core, "".join(parts[-4:])
    return None


def _around(stem: str) -> tuple[str, str, str]:
    """A file's name without its suffix: the word of masks before it, the id, that behind it."""
    parts = re.split(r"([_\-. ]+)", stem)
    if len(parts) >= 3:
        last, first = parts[-1].lower(), parts[0].lower()
        if last in MASKS | OTHERS or "".join(words_of(parts[-1])) in MASKS | OTHERS:
            return "", "".join(parts[:-2]), "".join(parts[-2:])
        if first in MASKS | OTHERS:
            return "".join(parts[:2]), "".join(parts[2:]), ""
    return "", stem, ""


def _kind(series: Series) -> str:
    """Whether names call it a mask, something else that is drawn, or nothing: an image.

    What stands nearest to the file decides: `masks/images/` holds images.
    """
    path = PurePosixPath(series.pattern)
    for part in (path.name.replace("{id}", " ").removesuffix(path.suffix), *reversed(path.parts)):
        words = {*words_of(part), "".join(words_of(part))}
        if "{id}" in part:
            continue
        if words & OTHERS:
            return "other"
        if words & MASKS:
            return "copy" if words & COPIES else "mask"
        if words & IMAGES:
            return "image"
    return "image"


def _once(parts: Sequence[Part]) -> tuple[list[Part], list[str]]:
    """Ids are names of samples: where two splits share some, the one that is studied is kept."""
    ids = [one for part in parts for one in part.images.ids]
    if len(set(ids)) == len(ids):
        return list(parts), []
    order = ("test", "val", None, "train")
    first = min(parts, key=lambda one: order.index(one.split))
    same = [one for one in parts if one.split == first.split]
    own = [one for part in same for one in part.images.ids]
    if len(set(own)) < len(own):
        same, own = [first], list(first.images.ids)
    left = [one.images for one in parts if one not in same]
    return same, [f"the same ids are in several folders; left out: {few(patterns_of(left), 3)}"]


def grouping(ids: Sequence[str]) -> tuple[str | None, int]:
    """What is not independent, as far as ids tell: a regular expression, and how many groups.

    An id such as `patient07_slice12` names one: what stands before the first separator, or before
    the last, where it holds a number, all ids have it, and it makes at least
    :data:`LEAST_GROUPS` groups of two images in the mean.
    """
    for pattern in (r"([^_\-]*\d[^_\-]*)[_\-]", r"(.*\d.*)[_\-][^_\-]*\d[^_\-]*$"):
        found = [re.match(pattern, one) for one in ids]
        groups = {one[1] for one in found if one is not None}
        if all(found) and LEAST_GROUPS <= len(groups) <= len(ids) / 2:
            return pattern, len(groups)
    return None, 0
