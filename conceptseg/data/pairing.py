"""Series of image files, and which of them are the masks of which, by their names alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath

from conceptseg.errors import few


def words_in(*texts: str) -> frozenset[str]:
    return frozenset(" ".join(texts).split())


MASKS = words_in(
    "mask masks label labels annotation annotations annot anno seg segmentation segmentations gt",
    "groundtruth truth target targets lbl labelids manual",
)
"""Words in the names of folders and files that hold masks."""
IMAGES = words_in("image images img imgs input inputs photo photos picture pictures")
OTHERS = words_in("instance instances inst depth prediction predictions pred preds")
"""Words of what looks like masks and is none."""
COPIES = words_in("color colors colour colours rgb object objects vis visual overlay")
"""Words that, beside those of masks, name other copies of them."""
WHOLE = MASKS | words_in("class classes raw id ids")
"""Words of folders that hold the masks of all classes."""
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
KINDS = IMAGES | MASKS | SPLITS.keys() | words_in("im frame left bit fine coarse sat rgb ortho")
"""Words around ids that tell what a file is, not which."""
SIGNS = "_-. "
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


def words_of(text: str) -> list[str]:
    """The words in a name: those of camel case and those between other characters."""
    return [word.lower() for word in _WORD.findall(text)]


def braced(text: str) -> str:
    return text.replace("{", "").replace("}", "")


def patterns_of(series: Iterable[Series]) -> list[str]:
    return [one.pattern for one in series]


def split_of(series: Series) -> str | None:
    for part in reversed(series.folder.parts):
        for word in words_of(part):
            if word in SPLITS:
                return SPLITS[word]
    return None


def paired(plain: Sequence[Series], drawn: Sequence[Series]) -> tuple[list[Part], list[str]]:
    """Each series of images with the masks that share its ids; what is left of the masks."""
    parts, taken = [], set()
    found = {one.pattern: _fitting(one, drawn) for one in plain}
    manual = {d.pattern for fitting in found.values() for _, _, d in fitting if _is_manual(d)}
    for images in plain:
        fitting = found[images.pattern]
        if any(masks.pattern in manual for _, _, masks in fitting):
            # Retinal data sets call the field of view a mask, and masks manual.
            fitting = [one for one in fitting if one[2].pattern in manual]
        masks: Series | dict[str, Series] | None = None
        if fitting:
            best = max(fitting, key=_closeness)
            images, near = best[1], _near(best[1], best[2])
            alike = [one for one in fitting if one[1] == images and _near(*one[1:]) == near]
            alike.sort(key=lambda one: one[0], reverse=True)
            masks = _by_class([one[2] for one in alike]) if len(alike) > 1 else best[2]
            taken |= {one.pattern for one in Part(images, masks).drawn}
        parts.append(Part(images, masks, split_of(images)))
    left = [one for one in drawn if one.pattern not in taken]
    known = {one for part in parts if part.masks for one in part.images.ids}
    further = [one for one in left if known & set(one.ids)]
    remarks = _remarks([one for one in left if one not in further], further, parts)
    if any(one.masks for one in parts) and any(one.masks is None for one in parts):
        bare = [one.images for one in parts if one.masks is None]
        remarks.append(f"images without masks, not taken: {few(patterns_of(bare), 3)}")
        parts = [one for one in parts if one.masks is not None]
    return parts, remarks


def _remarks(lost: Sequence[Series], further: Sequence[Series], parts: Iterable[Part]) -> list[str]:
    remarks = []
    if lost:
        remarks.append(f"masks that no image shares an id with: {few(patterns_of(lost), 3)}")
    if further:
        remarks.append(
            f"further masks of the same images, not taken: {few(patterns_of(further), 3)} "
            f"({sum(len(one.ids) for one in further)} files); join them with those that are, or "
            "leave these images out, if they show more of the same"
        )
    for part in parts:
        if isinstance(part.masks, Series):
            lacking = sorted(set(part.images.ids) - set(part.masks.ids))
            if lacking:
                remarks.append(
                    f"{len(lacking)} of {len(part.images.ids)} images have no mask "
                    f"{part.masks.pattern} ({few(lacking, 3)}): move them, or list the others in "
                    "a text file and name it by the key ids"
                )
    return remarks


Fitting = tuple[int, Series, Series]
"""How many ids are shared, the images (perhaps by shorter ids), and masks."""


def _fitting(images: Series, drawn: Sequence[Series]) -> list[Fitting]:
    """The masks that share ids with images: as they are, else without words of kinds around them.

    `img_1.png` and `mask_1.png`, `21_training.tif` and `21_manual1.gif` share what is left.
    """
    found = []
    for masks in drawn:
        if split_of(masks) not in (None, split_of(images)):
            continue
        for one, other in product(_shorter(images), _shorter(masks)):
            if count := _shared(one, other):
                found.append((count, one, other))
                break
    return found


def _shorter(series: Series) -> list[Series]:
    """The same files: by their ids, and by these without the end, the start, and both of them, that
    all have and that tell of a kind alone."""
    ids = series.ids
    first = os.path.commonprefix(ids) if len(ids) > 1 else ""
    last = os.path.commonprefix([one[::-1] for one in ids])[::-1] if len(ids) > 1 else ""
    first = first[: max(first.rfind(sign) for sign in SIGNS) + 1]
    last = last[min((last.find(sign) for sign in SIGNS if sign in last), default=len(last)) :]
    first, last = (one if {*words_of(one)} <= KINDS else "" for one in (first, last))
    ways = {}
    for start, end in (("", ""), ("", last), (first, ""), (first, last)):
        cut = tuple(one[len(start) : len(one) - len(end)] for one in ids)
        if all(cut):
            middle = f"{braced(start)}{{id}}{braced(end)}"
            ways[middle] = Series(series.pattern.replace("{id}", middle), cut)
    return list(ways.values())


def _closeness(one: Fitting) -> tuple[int, tuple[int, int]]:
    return one[0], _near(one[1], one[2])


def _is_manual(masks: Series) -> bool:
    return "manual" in words_of(masks.pattern)


def _shared(images: Series, masks: Series) -> int:
    return len(set(images.ids) & set(masks.ids))


def _near(one: Series, other: Series) -> tuple[int, int]:
    """How much of their folders' paths two series share; then how little one has beyond it."""
    a, b = one.folder.parts, other.folder.parts
    same = sum(x == y for x, y in zip(a, b, strict=False))
    behind = sum(x == y for x, y in zip(reversed(a), reversed(b), strict=False))
    return same + behind, -abs(len(a) - len(b))


def _by_class(series: Sequence[Series]) -> dict[str, Series] | Series:
    """One series for each class, by the name of its folder; the first where that does not tell.

    A folder that is called masks and no more holds those of all classes.
    """
    names = {one.folder.name: one for one in series}
    whole = [one for one in series if {*words_of(one.folder.name)} <= WHOLE]
    return names if len(names) == len(series) and not whole else (whole or series)[0]
