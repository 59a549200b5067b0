"""Zarr and OME-Zarr: planes of arrays, or windows of them, as samples.

`arrays` lists entries with `image`, the path of an array or of an OME-Zarr image (of whose
resolutions `level` is taken, 0 the finest), and perhaps `mask` (the same of its labels, on the
same grid), `id`, `split`, `group` and `metadata`. The axes are an OME-Zarr's own, or `axes`, such
as "tczyx"; without either they are the last of "cyx". y and x are the image, c its channels; every
other axis makes a sample of each place, unless `at` names one ({t: 0}). With `tile` planes are cut
into whole windows of so many pixels at every `stride` (`tile` if absent). The group of a sample is
its array, unless the entry gives one. Values become [0, 1] as those of other files do (`range`).
Of an array in a bucket all chunks are fetched when it is first read. Arrays of objects, which may
run code as they are unpacked, are refused. Needs zarr (the extra `zarr`). Source: OME-NGFF 0.4 and
0.5.
"""

import itertools
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import numpy as np
import zarr
from pydantic import Field, FiniteFloat

from conceptseg.data.decode import reading
from conceptseg.data.hashed import changed, missing
from conceptseg.data.images import as_mask, to_unit
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.places import place_of
from conceptseg.data.raster import Raster, check_pixels
from conceptseg.data.readers._files import FileSource, relative, resolve
from conceptseg.data.readers._ome import Attributes, Multiscale
from conceptseg.data.readers._spec import FilesSpec, LabelSpec, parse, root_of
from conceptseg.errors import InputError
from conceptseg.plain import plain_json
from conceptseg.strict import Strict

HEADS = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
"""Files that describe an array or a group, of either format."""
Spot = tuple[tuple[str, int], ...]


class ArraySpec(Strict):
    """An array, and what is drawn for it."""

    image: str = Field(description="Path of an array or an OME-Zarr image, below the root.")
    mask: str | None = Field(None, description="Path of the labels.")
    id: str | None = Field(None, description="The path's last name without .zarr when absent.")
    split: str | None = Field(None, description="train, val, test, ...")
    group: str | None = Field(None, description="What is not independent: patient, plate, ...")
    metadata: dict[str, FiniteFloat | str] = Field(default_factory=dict)


class ZarrSpec(FilesSpec):
    """The keys of a manifest of arrays."""

    labels: LabelSpec = Field(description="The label block over the masks' values.")
    arrays: tuple[Any, ...] = Field(min_length=1, description="Arrays and their masks.")
    level: int = Field(0, strict=True, ge=0, le=99, description="Resolution of an OME-Zarr.")
    axes: str | None = Field(
        None, pattern="^[a-z]{2,8}$", description="A letter for each axis, where no file tells."
    )
    at: dict[str, Annotated[int, Field(strict=True, ge=0)]] = Field(
        default_factory=dict, description="The one place that is taken of an axis."
    )
    tile: int | None = Field(None, strict=True, ge=8, le=65536, description="Side of a window.")
    stride: int | None = Field(
        None, strict=True, ge=1, description="Pixels from a window to the next; the side if absent."
    )


class Part(NamedTuple):
    """What of an array is a sample: its path, that of its mask and what the mask's axes are, the
    place on further axes, and rows and columns as half-open ranges."""

    image: str
    mask: str | None
    drawn: str | None
    at: Spot
    rows: tuple[int, int]
    columns: tuple[int, int]


class Grid(NamedTuple):
    """An array's axes, and how long each is."""

    axes: str
    shape: tuple[int, ...]

    def size(self, axis: str) -> int:
        return self.shape[self.axes.index(axis)]


@dataclass(frozen=True)
class ZarrSource(FileSource):
    """Parts of arrays below `root`; a sample's payload is its :class:`Part`."""

    axes: str | None

    def pixels(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        part, path = sample.payload, self.root / sample.payload.image
        values = _values(self.root, part.image, self.axes, part)
        image = to_unit(Raster(values), path, self.rules.channels, self.rules)
        return image, None

    def labels(self, sample: Sample) -> np.ndarray | None:
        return self.drawn(sample)

    def drawn(self, sample: Sample) -> np.ndarray | None:
        part = sample.payload
        if part.mask is None:
            return None
        path = self.root / part.mask
        mask = as_mask(Raster(_values(self.root, part.mask, part.drawn, part)), path, self.rules)
        return self.block.read(mask, str(path))

    def labelled(self, sample: Sample) -> bool:
        return sample.payload.mask is not None

    def orientation(self, sample: Sample) -> int:
        return 1

    def size(self, sample: Sample) -> tuple[int, int]:
        (top, bottom), (left, right) = sample.payload.rows, sample.payload.columns
        return bottom - top, right - left

    def stamp(self, sample: Sample) -> list[Any]:
        part = sample.payload
        names = [one for one in (part.image, part.mask) if one is not None]
        return [repr(part), *(_stamp(self.root, one) for one in names)]

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"axes": self.axes}


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    where = str(path)
    keys = parse(ZarrSpec, spec, where)
    root = root_of(path, keys, root_override)
    if isinstance(keys.nodata, float):
        raise InputError(f"{where}: nodata is not known in arrays; mark such pixels in the labels")
    _stamp.cache_clear()
    samples: list[Sample] = []
    for number, entry in enumerate(keys.arrays, 1):
        place = f"{where}: arrays, entry {number}"
        samples += _samples(parse(ArraySpec, entry, place), keys, root, place)
    block = keys.labels.block()
    source = ZarrSource(root, keys.rules(), block, keys.axes)
    return Manifest(
        keys.name or path.stem, block, keys.channels, tuple(samples), source, root, where
    )


def _samples(entry: ArraySpec, keys: ZarrSpec, root: Path, where: str) -> Iterator[Sample]:
    image = _level(root, relative(entry.image, where), keys.level)
    mask = drawn = None
    grid = _grid(root, image, keys.axes)
    height, width = grid.size("y"), grid.size("x")
    if entry.mask is not None:
        mask = _level(root, relative(entry.mask, where), keys.level)
        # Labels whose file does not tell have the axes of their image, but for the channels.
        plain = grid.axes.replace("c", "")
        like = {len(grid.axes): grid.axes, len(plain): plain}
        theirs = _grid(root, mask, like.get(_array(root, mask).ndim, "cyx"))
        drawn = theirs.axes
        if (theirs.size("y"), theirs.size("x")) != (height, width):
            raise InputError(
                f"{root / mask}: {theirs.size('y')} x {theirs.size('x')} pixels (h x w), its image "
                f"{root / image} has {height} x {width}; name labels of the same level"
            )
    name = entry.id or PurePosixPath(entry.image).name.removesuffix(".zarr")
    windows = list(_windows(height, width, keys, root / image))
    for at in _spots(grid, keys, root / image):
        ends = "".join(f"_{axis}{place}" for axis, place in at if axis not in keys.at)
        for rows, columns in windows:
            cut = "" if keys.tile is None else f"_y{rows[0]:05d}_x{columns[0]:05d}"
            yield Sample(
                f"{name}{ends}{cut}",
                split=entry.split,
                group=entry.group or name,
                metadata={**entry.metadata, **{axis: float(place) for axis, place in at}},
                payload=Part(image, mask, drawn, at, rows, columns),
            )


def _spots(grid: Grid, keys: ZarrSpec, path: Path) -> Iterator[Spot]:
    """The places on all axes but rows, columns and channels."""
    others = [axis for axis in grid.axes if axis not in "cyx"]
    if unknown := set(keys.at) - set(others):
        raise InputError(f"{path}: at: no axis {min(unknown)!r}; its axes are {grid.axes}")
    for axis, place in keys.at.items():
        if place >= grid.size(axis):
            raise InputError(f"{path}: at: {axis} is {place}, of {grid.size(axis)} places")
    ranges = [[keys.at[axis]] if axis in keys.at else range(grid.size(axis)) for axis in others]
    for places in itertools.product(*ranges):
        yield tuple(zip(others, places, strict=True))


def _windows(
    height: int, width: int, keys: ZarrSpec, path: Path
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    side = keys.tile
    if side is None:
        check_pixels(path, height, width, keys.max_pixels)
        yield (0, height), (0, width)
        return
    check_pixels(path, side, side, keys.max_pixels)
    if min(height, width) < side:
        raise InputError(f"{path}: {height} x {width} pixels, less than a tile of {side}")
    step = keys.stride or side
    for row in range(0, height - side + 1, step):
        for column in range(0, width - side + 1, step):
            yield (row, row + side), (column, column + side)


def _level(root: Path, path: Path, level: int) -> str:
    """The path of an array, or of the level of an OME-Zarr image."""
    found = _multiscales(root, path)
    if found is None:
        return path.as_posix()
    if level >= len(found.datasets):
        raise InputError(f"{root / path}: level {level}, but it has {len(found.datasets)}")
    own = relative(found.datasets[level].path, str(root / path))
    return (path / own).as_posix()


def _multiscales(root: Path, path: Path) -> Multiscale | None:
    """What an OME-Zarr image says of itself; None of what is none."""
    for head in ("zarr.json", ".zattrs"):
        file = resolve(root, path / head)
        if file.is_file():
            with reading(file):
                told = Attributes.of(_json(file))
            if told.multiscales:
                return told.multiscales[0]
    return None


def _json(file: Path) -> dict[str, Any]:
    with reading(file):
        content = plain_json(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no mapping")
        return content


def _grid(root: Path, path: str, axes: str | None) -> Grid:
    shape = tuple(map(int, _array(root, path).shape))
    image = _multiscales(root, Path(path).parent) if Path(path).parent != Path(".") else None
    if image is not None and image.axes:
        axes = "".join((one if isinstance(one, str) else one.name)[:1] for one in image.axes)
    axes = axes or "cyx"[-len(shape) :]
    if len(axes) != len(shape) or len(set(axes)) < len(axes) or not {"y", "x"} <= set(axes):
        raise InputError(
            f"{root / path}: an array of {len(shape)} axes, which {axes!r} does not name; give "
            "axes, with a letter for each, y and x among them"
        )
    return Grid(axes, shape)


def _array(root: Path, path: str) -> Any:
    """The array, opened; whatever could run code as it is unpacked is refused before."""
    _stamp(root, path)
    folder = root / path
    heads = [folder / head for head in HEADS[:2] if (folder / head).is_file()]
    if not heads:
        raise missing(folder)
    if _names_pickle(_json(heads[0])):
        raise InputError(f"{folder}: packed as objects, which may run code; save it as numbers")
    with reading(folder):
        array = zarr.open_array(store=str(folder), mode="r")
    if array.dtype.kind not in "iufb":
        raise InputError(f"{folder}: values of {array.dtype}; save it as numbers")
    return array


def _names_pickle(content: Any) -> bool:
    if isinstance(content, Mapping):
        return any(map(_names_pickle, content.values()))
    if isinstance(content, Sequence) and not isinstance(content, str):
        return any(map(_names_pickle, content))
    return isinstance(content, str) and "pickle" in content.lower()


def _values(root: Path, path: str, axes: str | None, part: Part) -> np.ndarray:
    """The part of an array, [h, w] or [h, w, c], as stored; its files may not change meanwhile."""
    array, grid = _array(root, path), _grid(root, path, axes)
    at = dict(part.at)
    spot = {"y": slice(*part.rows), "x": slice(*part.columns), "c": slice(None)}
    # Of labels, which need not have all axes of their image, those that they have.
    index = tuple(spot.get(axis, at.get(axis, 0)) for axis in grid.axes)
    before = _state(root, path)
    with reading(root / path):
        values = np.asarray(array[index])
    if _state(root, path) != before:
        raise changed(str(root / path))
    left = [axis for axis in grid.axes if axis in "cyx"]
    values = np.moveaxis(values, [left.index(axis) for axis in "yx"], [0, 1])
    return np.ascontiguousarray(values[..., 0] if values.shape[2:] == (1,) else values)


def _state(root: Path, path: str) -> tuple[int, ...]:
    """What the file system says of an array's description, which all writers touch or replace."""
    file = next(file for head in HEADS if (file := root / path / head).is_file())
    about = os.stat(file)
    return about.st_ino, about.st_size, about.st_mtime_ns


@lru_cache(maxsize=4096)
def _stamp(root: Path, path: str) -> tuple[tuple[str, int, int | str], ...]:
    """Name, size and time of each file of an array, once in a process; in a bucket they are
    fetched, with versions in the times' place.

    Raises :class:`~conceptseg.errors.InputError` for a link, and for what is not there.
    """
    place = place_of(root)
    if place is not None:
        heads = [f"{path}/{head}" for head in HEADS]
        found = []
        for one in sorted({*place.below(path), *heads}):
            about = place.about(one)
            if about is not None:
                place.bring(one)
                found.append((one, about.size, about.version))
        return tuple(found)
    top = resolve(root, Path(path))
    told = []
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(folder, name)
            state = os.lstat(file)
            if not stat.S_ISREG(state.st_mode):
                raise InputError(
                    f"{file}: a link, a device or a pipe in an array; put a file there"
                )
            told.append((os.path.relpath(file, root), state.st_size, state.st_mtime_ns))
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise InputError(f"{os.path.join(folder, name)}: a link in an array")
    if not told:
        raise missing(top)
    return tuple(told)
