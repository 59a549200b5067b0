"""The keys that manifests share, and how they become a label block and a root."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, Field, StrictInt, field_validator, model_validator

from conceptseg.data import shards
from conceptseg.data.bucket import located
from conceptseg.data.labels import LabelBlock, wrong_names
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.places import place_of
from conceptseg.data.raster import MAX_PIXELS, Rules
from conceptseg.data.readers._files import FileSource, relative
from conceptseg.data.readers._matching import Matcher
from conceptseg.errors import InputError, nearest
from conceptseg.settings import validate
from conceptseg.strict import Strict, one_or_more

M = TypeVar("M", bound=BaseModel)

LARGEST = 2**63 - 1
"""Of whole numbers: values of masks have 64 bits at most."""
Level = Annotated[int, Field(strict=True, ge=0, le=255)]
RGB = tuple[Level, Level, Level]


class LabelSpec(Strict):
    """The label block: what the values of a mask mean. Nothing outside it is accepted."""

    largest: ClassVar[int] = LARGEST

    names: tuple[str, ...] = Field(min_length=1, description="Class names, by index.")
    colours: tuple[RGB, ...] | None = Field(
        None, description="One [r, g, b] per class, 0 to 255; by these RGB masks are read."
    )
    ignore: Annotated[tuple[StrictInt, ...], one_or_more(int)] = Field(
        (), description="Raw value, or values, of pixels that are left out."
    )
    ignore_colours: tuple[RGB, ...] = Field(
        (), description="Colours of pixels that are left out, in RGB masks."
    )
    background: str | None = Field(None, description="Name of the class that is background.")
    remap: dict[StrictInt, StrictInt | str] = Field(
        default_factory=dict,
        description="Raw value -> class (index or name). When given, it lists every raw value.",
    )

    first: int = Field(
        0, strict=True, description="Raw value of the first class, where masks do not count from 0."
    )
    threshold: Annotated[tuple[float, ...], one_or_more(float)] = Field(
        (),
        description="Least grey value of the second class, or rising values of the second, third, "
        "...; JPEG masks and floats can be read so. Of one mask per class: its least grey value.",
    )
    tolerance: int = Field(
        0,
        strict=True,
        ge=0,
        le=255,
        description="How far, in each channel, a pixel may be from its class's colour; JPEG masks "
        "can be read so.",
    )

    overlap: Literal["refuse", "last"] = Field(
        "refuse",
        description="Of one mask per class: what pixels of several are; last: the one listed last.",
    )
    missing: Literal["refuse", "absent"] = Field(
        "refuse", description="Of one mask per class: what a missing file means."
    )

    @field_validator("names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := wrong_names(names):
            raise ValueError(wrong)
        return names

    @model_validator(mode="after")
    def _agree(self) -> LabelSpec:
        if self.colours is not None and len(self.colours) != len(self.names):
            raise ValueError(
                f"labels.colours lists {len(self.colours)} colours for {len(self.names)} names; "
                "give one per class"
            )
        colours = (*(self.colours or ()), *self.ignore_colours)
        if len(set(colours)) < len(colours):
            twice = next(colour for colour in colours if colours.count(colour) > 1)
            raise ValueError(f"labels.colours: {list(twice)} is given twice")
        if self.background is not None and self.background not in self.names:
            raise ValueError(
                f"labels.background: no class {self.background!r}; "
                f"{nearest(self.background, self.names)}"
            )
        self._check_values()
        both = sorted(set(self.remap) & set(self.ignore))
        if both:
            raise ValueError(f"labels: the raw value {both[0]} is in both remap and ignore")
        for raw, target in self.remap.items():
            self._index(raw, target)
        return self

    def _check_values(self) -> None:
        """What says which raw value is which class says it once, and takes no class away."""
        ways = [key for key in ("remap", "first", "threshold") if getattr(self, key)]
        if len(ways) > 1:
            raise ValueError(
                f"labels: {ways[0]} and {ways[1]} both say what raw values mean; give one"
            )
        if self.threshold:
            if len(self.threshold) not in (1, len(self.names) - 1):
                raise ValueError(
                    f"labels.threshold: {len(self.threshold)} values part "
                    f"{len(self.threshold) + 1} classes, but there are {len(self.names)} names"
                )
            steps = (-float("inf"), *self.threshold, float("inf"))
            if not all(low < high for low, high in zip(steps, steps[1:], strict=False)):
                raise ValueError("labels.threshold: values must rise and be finite")
        if self.tolerance and self.colours is None:
            raise ValueError("labels.tolerance: is for masks in colours; give labels.colours")
        own = [raw for raw in self.ignore if 0 <= raw - self.first < len(self.names)]
        if own and not self.remap and not self.threshold:
            name = self.names[own[0] - self.first]
            shift = (
                f"If the masks count classes from {own[0] + 1} on, set labels.first: "
                f"{own[0] + 1}; if"
                if own == [self.first]
                else "If"
            )
            raise ValueError(
                f"labels.ignore: {own[0]} is the raw value of the class {name!r} itself. {shift} "
                f"{name!r} is to be left out, list the others' values in labels.remap"
            )

    def _index(self, raw: int, target: int | str) -> int:
        if isinstance(target, str):
            if target not in self.names:
                raise ValueError(
                    f"labels.remap.{raw}: no class {target!r}; {nearest(target, self.names)}"
                )
            return self.names.index(target)
        if not 0 <= target < len(self.names):
            raise ValueError(
                f"labels.remap.{raw}: class {target}, but classes are 0 to {len(self.names) - 1}; "
                "list raw values to leave out under labels.ignore"
            )
        return target

    def block(self) -> LabelBlock:
        return LabelBlock(
            names=self.names,
            colours=self.colours,
            ignore=self.ignore,
            ignore_colours=self.ignore_colours,
            background=self.background,
            remap={raw: self._index(raw, target) for raw, target in self.remap.items()},
            first=self.first,
            threshold=self.threshold,
            tolerance=self.tolerance,
            overlap=self.overlap,
            missing=self.missing,
        )


class FilesSpec(Strict):
    """The keys of every manifest whose images are files."""

    largest: ClassVar[int] = LARGEST

    name: str | None = Field(None, description="Name in reports; the file's own when absent.")
    root: str | None = Field(
        None,
        description="Folder that holds the data, relative to this manifest (its own folder when "
        "absent), or s3://, gs://, az:// or hf:// with bucket and folder; overridden by "
        "--data-root.",
    )
    shards: str | None = Field(
        None,
        description="Pattern of tar files below the root, as train-*.tar: their members are then "
        "the files.",
    )
    channels: int = Field(3, strict=True, ge=1, description="Channels of an image.")
    alpha: Literal["refuse", "drop"] = Field(
        "refuse", description="What to do with an alpha channel."
    )
    range: tuple[float, float] | None = Field(
        None, description="File values of black and white, where the type does not tell."
    )
    clip: bool = Field(False, description="Clip values that leave `range` rather than refuse.")
    window: tuple[float, float] | None = Field(
        None,
        description="[level, width] as radiologists say it: the range around level, clipped, in "
        "the file's units (Hounsfield units of CT).",
    )
    max_pixels: int = Field(
        MAX_PIXELS, strict=True, ge=1, description="Larger images are refused unread."
    )

    orientation: Literal["apply", "apply_to_masks", "ignore"] = Field(
        "apply",
        description="What EXIF orientation does: apply turns the image as viewers show it, and "
        "masks are drawn on that; apply_to_masks turns masks along, which are drawn on pixels as "
        "stored; ignore turns neither.",
    )
    nodata: Literal["file", "none"] | Annotated[float, Field(allow_inf_nan=True)] = Field(
        "file",
        description="Value of pixels without data, which become 0 and are ignored in labels; file: "
        "what a GeoTIFF declares itself; none: there is none.",
    )

    @field_validator("range")
    @classmethod
    def _rising(cls, span: tuple[float, float] | None) -> tuple[float, float] | None:
        # The difference of two finite numbers can be infinite, which makes every image black.
        if span is not None and not 0 < span[1] - span[0] < math.inf:
            raise ValueError("the lowest value must be below the highest, both finite, and near")
        return span

    @model_validator(mode="after")
    def _one_range(self) -> FilesSpec:
        if self.window is None:
            return self
        if self.range is not None:
            raise ValueError("range and window both say what black and white are; give one")
        low, high = self._span or (0.0, 0.0)
        if not 0 < high - low < math.inf:
            raise ValueError(
                "window: [level, width], both finite, the width above 0 and not lost beside the "
                "level"
            )
        return self

    @property
    def _span(self) -> tuple[float, float] | None:
        if self.window is None:
            return self.range
        level, width = self.window
        return level - width / 2, level + width / 2

    def rules(self) -> Rules:
        return Rules(
            self.channels,
            self.alpha,
            self._span,
            self.clip or self.window is not None,
            self.max_pixels,
            self.orientation,
            self.nodata,
        )


def parse(model: type[M], content: Mapping[str, Any], where: str) -> M:
    """A manifest, or an entry of one, checked; errors are one line that begins with `where`."""
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: {str(content)[:60]!r} is no mapping; write 'key: value' pairs")
    return validate(model, content, where)


def root_of(path: Path, keys: FilesSpec, override: Path | None, *, listed: bool = False) -> Path:
    """The folder of the data: the override, else `root` relative to the manifest's folder; one that
    stands for it where the root is elsewhere, or in shards.

    `listed` says that a format lists its folders itself, which have to be here. Raises
    :class:`~conceptseg.errors.InputError` if it is not a folder.
    """
    folder = _folder(path, keys.root, override)
    if keys.shards is not None:
        relative(keys.shards, f"{path}: shards")
        folder = shards.gathered(folder, keys.shards, str(path))
    if listed and (place := place_of(folder)) is not None:
        raise InputError(
            f"{path}: folders of this format are listed, which {place.name} does not allow; "
            "describe the files by format: native, with a table or folders"
        )
    return folder


def _folder(path: Path, root: str | None, override: Path | None) -> Path:
    if override is None and root and "://" in root:
        return located(root)
    own = os.path.expanduser(root or ".")  # pathlib's raises where there is no such user
    folder = override if override is not None else path.parent / own
    if not os.path.isdir(folder):
        source = "--data-root (data.root)" if override is not None else f"{path}: root"
        raise InputError(f"{source} is {folder}: no such folder; say where the images lie")
    return folder


def from_files(
    path: Path,
    spec: FilesSpec,
    root: Path,
    block: LabelBlock,
    samples: Sequence[Sample],
) -> Manifest:
    """A manifest whose samples are files below `root`."""
    return Manifest(
        name=spec.name or path.stem,
        block=block,
        channels=spec.channels,
        samples=samples,
        source=FileSource(root, spec.rules(), block),
        root=root,
        where=str(path),
    )


class Grouping:
    """The groups of ids: of each the first that a regular expression captures at its start.

    Raises :class:`~conceptseg.errors.InputError` for an id without one, and when the matching takes
    too long.
    """

    def __init__(self, pattern: str, where: str) -> None:
        self._what = f"{where}: group {pattern!r}"
        self._matcher = Matcher(pattern, self._what)

    def __call__(self, ids: Sequence[str]) -> list[str]:
        found = self._matcher.all(ids)
        return [self._group(one, match) for one, match in zip(ids, found, strict=True)]

    def _group(self, sample_id: str, found: re.Match[str] | None) -> str:
        if found is None or not found[1]:
            raise InputError(
                f"{self._what} finds nothing in the id {sample_id!r}; it must capture the group in "
                "parentheses, for example '([^_]+)_'"
            )
        return found[1]
