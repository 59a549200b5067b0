"""GeoTIFF: windows of large scenes as samples; the group of a window is its scene.

`scenes` names scenes and their masks by patterns, as a native manifest's `folders` do; several
patterns of images are stacked as channels (one band each, or several). A scene and its mask must
lie on one grid: size and affine are compared. Windows are squares of `tile` pixels at every
`stride` pixels, `tile` if absent; of those that would reach beyond the scene the last is moved
back to its edge if `edges` is "moved", and left out otherwise. Only the window is decoded. Pixels
without data are known as of other GeoTIFFs (`nodata`), and windows that hold nothing else are left
out on demand (`empty: drop`, which reads all scenes once). Needs rasterio (the extra `geotiff`).
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import rasterio
from pydantic import Field
from rasterio.enums import ColorInterp, Compression
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from conceptseg.data.decode import reading
from conceptseg.data.hashed import unchanged
from conceptseg.data.images import as_mask, stacked
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.raster import Raster, check_pixels
from conceptseg.data.readers._files import FileSource, resolve
from conceptseg.data.readers._folders import FolderSpec, find
from conceptseg.data.readers._spec import FilesSpec, LabelSpec, parse, root_of
from conceptseg.errors import InputError

DRIVER = "GTiff"
"""What a file may be: others, such as VRT, name further files and places."""


class GeoTiffSpec(FilesSpec):
    """The keys of a manifest of GeoTIFF scenes."""

    labels: LabelSpec = Field(description="The label block over the masks' values.")
    scenes: tuple[Any, ...] = Field(min_length=1, description="Patterns of scenes and masks.")
    tile: int = Field(512, strict=True, ge=8, le=65536, description="Side of a window, pixels.")
    stride: int | None = Field(
        None, strict=True, ge=1, description="Pixels from a window to the next; the side if absent."
    )
    edges: Literal["moved", "dropped"] = Field(
        "dropped", description="What windows are that would reach beyond the scene."
    )
    empty: Literal["keep", "drop"] = Field(
        "keep", description="Windows without any data: drop reads all scenes to find them."
    )


class Place(NamedTuple):
    """Where a window lies in its scene: its first row and column, and its side."""

    row: int
    column: int
    side: int

    @property
    def window(self) -> Window:
        return Window(self.column, self.row, self.side, self.side)


@dataclass(frozen=True)
class GeoTiffSource(FileSource):
    """Windows of scenes below `root`; a sample's payload is its :class:`Place`."""

    def pixels(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        paths = self._paths(sample)
        return stacked([_cut(path, sample.payload) for path in paths], paths, self.rules)

    def labels(self, sample: Sample) -> np.ndarray | None:
        return self.pair(sample)[1]

    def drawn(self, sample: Sample) -> np.ndarray | None:
        if sample.mask is None:
            return None
        path = resolve(self.root, sample.mask)
        raster = _cut(path, sample.payload)
        mask = as_mask(raster, path, self.rules, self.block.graded)
        return self.block.read(mask, str(path))

    def orientation(self, sample: Sample) -> int:
        return 1

    def size(self, sample: Sample) -> tuple[int, int]:
        return sample.payload.side, sample.payload.side


def read(path: Path, spec: Mapping[str, Any], root_override: Path | None = None) -> Manifest:
    """The manifest that the keys `spec` of the file `path` describe."""
    where = str(path)
    keys = parse(GeoTiffSpec, spec, where)
    root = root_of(path, keys, root_override)
    block = keys.labels.block()
    source = GeoTiffSource(root, keys.rules(), block)
    check_pixels(path, keys.tile, keys.tile, keys.max_pixels)
    samples: list[Sample] = []
    for number, entry in enumerate(keys.scenes, 1):
        place = f"{where}: scenes, entry {number}"
        for scene in find(parse(FolderSpec, entry, place), root, place):
            if scene.masks:
                raise InputError(f"{place}: masks is one pattern, of the mask of a scene")
            samples += _windows(scene, keys, root)
    if keys.empty == "drop":
        samples = [one for one in samples if _filled(source, one)]
    if not samples:
        raise InputError(f"{where}: no window holds data; set empty: keep, or see to nodata")
    name = keys.name or path.stem
    return Manifest(name, block, keys.channels, tuple(samples), source, root, where)


def _windows(scene: Sample, keys: GeoTiffSpec, root: Path) -> Iterator[Sample]:
    """A sample for each window; the files of a scene must lie on one grid."""
    first, *others = [resolve(root, one) for one in scene.image]
    (height, width), affine = _grid(first)
    for path in [*others, *([] if scene.mask is None else [resolve(root, scene.mask)])]:
        size, placed = _grid(path)
        if size != (height, width) or not np.allclose(placed, affine, rtol=1e-6, atol=1e-9):
            raise InputError(
                f"{path}: lies on another grid ({size[0]} x {size[1]} pixels, or another affine) "
                f"than {first} ({height} x {width}); resample one to the other"
            )
    if min(height, width) < keys.tile:
        raise InputError(
            f"{first}: {height} x {width} pixels, less than a window of {keys.tile}; set tile lower"
        )
    digits = len(str(max(height, width)))
    for row in _starts(height, keys):
        for column in _starts(width, keys):
            yield replace(
                scene,
                id=f"{scene.id}_y{row:0{digits}d}_x{column:0{digits}d}",
                payload=Place(row, column, keys.tile),
                metadata={**scene.metadata, "row": float(row), "column": float(column)},
            )


def _starts(size: int, keys: GeoTiffSpec) -> Sequence[int]:
    starts = list(range(0, size - keys.tile + 1, keys.stride or keys.tile))
    if keys.edges == "moved" and starts[-1] < size - keys.tile:
        starts.append(size - keys.tile)
    return starts


def _filled(source: GeoTiffSource, sample: Sample) -> bool:
    hidden = source.pixels(sample)[1]
    return hidden is None or not hidden.all()


def _grid(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Height and width, and the affine as a row; only the header is read."""
    with reading(path), _alone(), rasterio.open(path, driver=DRIVER) as scene:
        return (scene.height, scene.width), np.array(scene.transform[:6])


def _cut(path: Path, place: Place) -> Raster:
    """The window of a scene as it is stored, [h, w] or [h, w, bands]."""
    with reading(path), unchanged(path), _alone(), rasterio.open(path, driver=DRIVER) as scene:
        values = scene.read(window=place.window)
        packed = scene.compression
        alpha = scene.count > 1 and scene.colorinterp[-1] == ColorInterp.alpha
        nodata = scene.nodata
    bands = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    lossy = "JPEG" if packed in (Compression.jpeg, Compression.webp) else None
    return Raster(np.ascontiguousarray(bands), alpha=alpha, nodata=nodata, lossy=lossy)


@contextmanager
def _alone() -> Iterator[None]:
    """Nothing is taken from files beside the scene, which nobody hashes; that it says no place on
    earth is nobody's concern here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
            yield
