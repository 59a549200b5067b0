"""Samples whose pixels lie in files below a root, which no path may leave."""

import dataclasses
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg.data.decode import orientation
from conceptseg.data.hashed import missing, opened
from conceptseg.data.images import image_size, lacking, read_mask_raster, read_with_gaps
from conceptseg.data.labels import IGNORE, LabelBlock
from conceptseg.data.manifest import Sample, Source
from conceptseg.data.places import place_of
from conceptseg.data.raster import Rules, turned
from conceptseg.data.readers._per_class import compose
from conceptseg.data.rows import Rows
from conceptseg.errors import InputError, check_regular


def relative(text: str, where: str) -> Path:
    """A path written in a manifest, if it is relative and does not climb.

    Raises :class:`~conceptseg.errors.InputError` for absolute paths, drives, `..` and characters
    that do not print.
    """
    if not text.strip() or not text.isprintable():
        raise InputError(f"{where}: {text[:80]!r} is not a path")
    # By hand, for the rules of every system at once, and because lists can be long.
    if text[0] in "/\\" or text[1:2] == ":" or ".." in re.split(r"[/\\]", text):
        raise InputError(
            f"{where}: the path {text!r} leaves the root; write paths relative to the root, "
            "without '..', and set the root itself with the key root or --data-root"
        )
    return Path(text)


def resolve(root: Path, path: Path) -> Path:
    """Where a relative path lies, if that is still below the root once links are followed.

    Of a root that is elsewhere (:mod:`conceptseg.data.places`) the file is fetched.

    Raises :class:`~conceptseg.errors.InputError` if it is not, and for a device or a pipe.
    """
    full = root / path
    if (place := place_of(root)) is not None:
        place.bring(path.as_posix())
    real = os.path.realpath(full)
    top = os.path.realpath(root)
    if os.path.commonpath([top, real]) != top:
        raise InputError(
            f"{full}: a link that leaves the root {root}; put the file there, or set the root to "
            "a folder that holds both"
        )
    check_regular(full)
    return full


def read_lines(root: Path, text: str, where: str) -> list[str]:
    """The lines of a text file below the root, stripped, without the empty ones."""
    lines = (line.strip() for line in read_text(root, text, where).splitlines())
    return [line for line in lines if line]


def read_text(root: Path, text: str, where: str) -> str:
    """A UTF-8 file below the root, without its byte order mark."""
    path = resolve(root, relative(text, where))
    with told_if_unreadable(path, where), opened(path) as file:
        return TextIOWrapper(file, encoding="utf-8-sig").read()


@contextmanager
def told_if_unreadable(path: Path, where: str) -> Iterator[None]:
    """Within it, a file that cannot be read, which `where` names, is an InputError."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file, which {where} names; is the root right (manifest key root, "
            "or --data-root)?"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


@dataclass(frozen=True)
class FileSource(Source):
    """Images and masks in files below `root`, read by `rules` and `block`.

    With `only`, masks of one file for each class are read as if there were no other classes.
    """

    root: Path
    rules: Rules
    block: LabelBlock
    only: frozenset[str] | None = field(default=None, kw_only=True)

    def alone(self, names: frozenset[str]) -> Source:
        return dataclasses.replace(self, only=names)

    @property
    def painted(self) -> frozenset[int]:
        """The classes of shapes that are painted, and what is ignored."""
        names = self.block.names
        drawn = names if self.only is None else [name for name in names if name in self.only]
        return frozenset([IGNORE, *map(names.index, drawn)])

    def _paths(self, sample: Sample) -> list[Path]:
        return [resolve(self.root, path) for path in sample.image]

    def image(self, sample: Sample) -> np.ndarray:
        return self.pixels(sample)[0]

    def pixels(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        """The image, and where it lacks data: bool [h, w], None where nothing declares such."""
        return read_with_gaps(self._paths(sample), self.rules)

    def labels(self, sample: Sample) -> np.ndarray | None:
        """The drawn labels, turned with their image if the rules say so, ignored without data."""
        if not self.labelled(sample):
            return None
        return self._shown_labels(sample, lacking(self._paths(sample), self.rules))

    def pair(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        image, hidden = self.pixels(sample)
        return image, self._shown_labels(sample, hidden)

    def _shown_labels(self, sample: Sample, hidden: np.ndarray | None) -> np.ndarray | None:
        labels = self.drawn(sample)
        if labels is None:
            return None
        labels = self.as_shown(sample, labels)
        if hidden is not None and hidden.shape == labels.shape:
            labels[hidden] = IGNORE
        return labels

    def drawn(self, sample: Sample) -> np.ndarray | None:
        """int64 [h, w] as the mask is drawn; None when the sample has no mask."""
        if sample.masks:
            files = [(name, resolve(self.root, path)) for name, path in sample.masks]
            block = self.block
            if self.only is not None:
                files = [(name, path) for name, path in files if name in self.only]
                block = dataclasses.replace(block, overlap="last")
            return compose(files, block, self.rules, self.size_as_drawn(sample))
        if sample.mask is None:
            return None
        path = resolve(self.root, sample.mask)
        mask = read_mask_raster(path, self.rules, self.block.graded)
        return self.block.read(mask, str(path))

    def size_as_drawn(self, sample: Sample) -> tuple[int, int]:
        """Of the image as its masks are drawn: before it is turned if they are turned along."""
        height, width = self.size(sample)
        along = self.rules.orientation == "apply_to_masks"
        return (width, height) if along and self.orientation(sample) > 4 else (height, width)

    def orientation(self, sample: Sample) -> int:
        if self.rules.orientation == "ignore":
            return 1
        return orientation(self._paths(sample)[0], self.rules.max_pixels)

    def as_shown(self, sample: Sample, drawn: np.ndarray) -> np.ndarray:
        if self.rules.orientation != "apply_to_masks":
            return drawn
        return np.ascontiguousarray(turned(drawn, self.orientation(sample)))

    def labelled(self, sample: Sample) -> bool:
        return sample.mask is not None or bool(sample.masks)

    def labelled_each(self, samples: Sequence[Sample]) -> np.ndarray:
        return samples.labelled if isinstance(samples, Rows) else super().labelled_each(samples)

    def size(self, sample: Sample) -> tuple[int, int]:
        return image_size(self._paths(sample), self.rules)

    def stamp(self, sample: Sample) -> list[Any]:
        files = [*sample.image, *([] if sample.mask is None else [sample.mask])]
        told: list[Any] = [repr(sample.payload), *(stamp_file(self.root, path) for path in files)]
        for name, path in sample.masks:
            absent = self.block.missing == "absent" and not is_there(self.root, path)
            told.append([name, None if absent else stamp_file(self.root, path)])
        return told

    def settings(self) -> dict[str, Any]:
        # The limit on pixels decides whether a file is read, never what is read.
        rules = dataclasses.asdict(self.rules)
        return {key: value for key, value in rules.items() if key != "max_pixels"}


def stamp_file(root: Path, path: Path) -> tuple[str, int, int | str]:
    """Name, size in bytes and time of modification (ns) of a file below the root; none is opened.

    Of a root that is elsewhere, what that says of the file's version stands in the time's place.

    Raises :class:`~conceptseg.errors.InputError` for one that is missing, that leaves the root by a
    link, and for what is no regular file.
    """
    name = _name(path)
    if (place := place_of(root)) is not None:
        told = place.about(path.as_posix())
        if told is None:
            raise missing(Path(f"{place.name}/{path.as_posix()}"))
        return path.as_posix(), told.size, told.version
    about = _stat(root, path, name)
    if about is None:
        raise missing(root / path)
    check_regular(root / path, about)
    if stat.S_ISDIR(about.st_mode):
        raise InputError(f"{root / path}: a folder, not a file")
    return name.replace(os.sep, "/"), about.st_size, about.st_mtime_ns


def is_there(root: Path, path: Path) -> bool:
    """Whether something of this name lies below the root; nothing is opened.

    Raises :class:`~conceptseg.errors.InputError` for a link that leaves the root.
    """
    if (place := place_of(root)) is not None:
        return place.about(path.as_posix()) is not None
    return _stat(root, path, _name(path)) is not None


def is_file(root: Path, path: Path) -> bool:
    """Whether it is a regular file."""
    if place_of(root) is not None:
        return is_there(root, path)
    about = _stat(root, path, _name(path))
    return about is not None and stat.S_ISREG(about.st_mode)


def _stat(root: Path, path: Path, name: str) -> os.stat_result | None:
    top = str(root)
    full = f"{top}{os.sep}{name}"
    try:
        about = os.lstat(full)
        # Most files are no links, in folders that hold many: these are looked at once.
        if stat.S_ISLNK(about.st_mode) or not _inside(top, full.rpartition(os.sep)[0]):
            about = os.stat(resolve(root, path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{full}: cannot be read ({error.strerror})") from None
    return about


def _name(path: Path) -> str:
    # Of a copy: a path keeps the text that it was once asked for, and there are millions of them.
    return str(Path() / path)


@lru_cache(maxsize=1 << 16)
def _inside(root: str, folder: str) -> bool:
    top = os.path.realpath(root)
    return os.path.commonpath([top, os.path.realpath(folder)]) == top
