"""What lies in a folder: which files are images, which are their masks, and in which splits.

Names decide, as far as they tell: a folder `masks`, a file `tile_7_mask.png`. Nothing is opened.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from conceptseg.data.decode import SUFFIXES
from conceptseg.errors import InputError, few

MOST_FILES = 1_000_000
"""Files that are listed at most."""
LEAST_GROUPS = 6
"""Groups from which on a prefix of ids is taken for one: fewer could not carry a test."""


def _words_in(*texts: str) -> frozenset[str]:
    return frozenset(" ".join(texts).split())


MASKS = _words_in(
    "mask masks label labels annotation annotations annot anno seg segmentation segmentations gt",
    "groundtruth truth target targets lbl labelids",
)
"""Words in the names of folders and files that hold masks."""
IMAGES = _words_in("image images img imgs input inputs photo photos picture pictures")
OTHERS = _words_in("instance instances inst depth prediction predictions pred preds")
"""Words of what looks like masks and is none."""
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True)
class Series:
    """Files of one folder and suffix whose names differ in `ids` alone: `pattern` holds {id}."""

    pattern: str
    ids: tuple[str, ...]

    @property
    def folder(self) -> PurePosixPath:
        return PurePosixPath(self.pattern).parent

    def paths(self) -> list[str]:
        return [self.pattern.replace("{id}", one) for one in self.ids]


@dataclass(frozen=True)
class Part:
    """Images with their masks: one pattern, one for each class, or none.

    `split` is train, val or test where a folder is called so.
    """

    images: Series
    masks: Series | Mapping[str, Series] | None = None
    split: str | None = None

    @property
    def drawn(self) -> tuple[Series, ...]:
        """The series of masks."""
        if self.masks is None:
            return ()
        return (self.masks,) if isinstance(self.masks, Series) else tuple(self.masks.values())


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
    others = [one for one in series if _kind(one) == "other"]
    plain = [one for one in series if _kind(one) == "image"]
    if not plain:
        raise InputError(
            f"{root}: all images in it look like masks by their names ({few(_names(drawn), 3)}); "
            "name the folder that holds both"
        )
    parts, remarks = _paired(plain, drawn)
    if others:
        remarks.append(f"not taken, by their names: {few(_names(others), 3)}")
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


def _words(text: str) -> list[str]:
    """The words in a name: those of camel case and those between other characters."""
    return [word.lower() for word in _WORD.findall(text)]


def _series(files: Iterable[str]) -> list[Series]:
    """Files by folder, suffix, and the words of masks or images that stand around their ids."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in files:
        path = PurePosixPath(file)
        before, core, after = _around(path.stem)
        name = f"{_braced(before)}{{id}}{_braced(after)}{path.suffix}"
        found[(path.parent / name).as_posix()].append(core)
    return [Series(pattern, tuple(ids)) for pattern, ids in sorted(found.items())]


def _around(stem: str) -> tuple[str, str, str]:
    """A file's name without its suffix: the word of masks before it, the id, that behind it."""
    parts = re.split(r"([_\-. ]+)", stem)
    if len(parts) >= 3:
        last, first = parts[-1].lower(), parts[0].lower()
        if last in MASKS | OTHERS or "".join(_words(parts[-1])) in MASKS | OTHERS:
            return "", "".join(parts[:-2]), "".join(parts[-2:])
        if first in MASKS | OTHERS:
            return "".join(parts[:2]), "".join(parts[2:]), ""
    return "", stem, ""


def _braced(text: str) -> str:
    return text.replace("{", "").replace("}", "")


def _kind(series: Series) -> str:
    """Whether names call it a mask, something else that is drawn, or nothing: an image.

    What stands nearest to the file decides: `masks/images/` holds images.
    """
    path = PurePosixPath(series.pattern)
    for part in (path.name.replace("{id}", " ").removesuffix(path.suffix), *reversed(path.parts)):
        words = {*_words(part), "".join(_words(part))}
        if "{id}" in part:
            continue
        if words & OTHERS:
            return "other"
        if words & MASKS:
            return "mask"
        if words & IMAGES:
            return "image"
    return "image"


def _names(series: Iterable[Series]) -> list[str]:
    return [one.pattern for one in series]


def _split(series: Series) -> str | None:
    for part in reversed(series.folder.parts):
        for word in _words(part):
            if word in SPLITS:
                return SPLITS[word]
    return None


def _paired(plain: Sequence[Series], drawn: Sequence[Series]) -> tuple[list[Part], list[str]]:
    """Each series of images with the masks that share its ids; what is left of the masks."""
    parts, taken = [], set()
    for images in plain:
        fitting = [(_shared(images, one), _near(images, one), one) for one in drawn]
        fitting = [one for one in fitting if one[0] and _split(one[2]) in (None, _split(images))]
        masks: Series | dict[str, Series] | None = None
        if fitting:
            best = max(fitting, key=lambda one: one[:2])
            alike = [one for count, near, one in fitting if near == best[1]]
            masks = _by_class(alike) if len(alike) > 1 else best[2]
            taken |= {one.pattern for one in (alike if len(alike) > 1 else [best[2]])}
        parts.append(Part(images, masks, _split(images)))
    left = [one for one in drawn if one.pattern not in taken]
    remarks = [f"masks that no image shares an id with: {few(_names(left), 3)}"] if left else []
    if any(one.masks for one in parts) and any(one.masks is None for one in parts):
        bare = [one.images for one in parts if one.masks is None]
        remarks.append(f"images without masks, not taken: {few(_names(bare), 3)}")
        parts = [one for one in parts if one.masks is not None]
    return parts, remarks


def _shared(images: Series, masks: Series) -> int:
    return len(set(images.ids) & set(masks.ids))


def _near(one: Series, other: Series) -> tuple[int, int]:
    """How much of their folders' paths two series share; then how little one has beyond it."""
    a, b = one.folder.parts, other.folder.parts
    same = sum(x == y for x, y in zip(a, b, strict=False))
    behind = sum(x == y for x, y in zip(reversed(a), reversed(b), strict=False))
    return same + behind, -abs(len(a) - len(b))


def _by_class(series: Sequence[Series]) -> dict[str, Series] | Series:
    """One series for each class, by the name of its folder; the first where that does not tell."""
    names = {one.folder.name: one for one in series}
    return names if len(names) == len(series) else series[0]


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
    return same, [f"the same ids are in several folders; left out: {few(_names(left), 3)}"]


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
