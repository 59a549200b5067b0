"""Reads image and mask files of every format in `formats`, by the manifest's rules.

Nothing is guessed. What a file holds is scaled by its type (8 bit / 255, 16 bit / 65535, floats
must lie in [0, 1]) unless a range is declared; a grey file becomes three equal channels when three
are declared; alpha is dropped only when that is declared. A picture with an EXIF orientation is
turned as viewers show it, which is what masks are drawn on, unless `orientation` says otherwise.
Anything else is an :class:`~conceptseg.errors.InputError` that names the file and the cure.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from conceptseg.data.decode import decode, header
from conceptseg.data.raster import MAX_PIXELS, Raster, Rules, most, turned, without_data
from conceptseg.errors import InputError


def read_image(paths: Sequence[Path], rules: Rules) -> np.ndarray:
    """The image in a file, or in several files stacked as channels: float32 [c, h, w] in [0, 1].

    Pixels without data (see :func:`lacking`) are 0. Raises
    :class:`~conceptseg.errors.InputError` for a file that is missing, damaged, larger than
    `rules.max_pixels`, or not of the declared channels and range.
    """
    return read_with_gaps(paths, rules)[0]


def read_with_gaps(paths: Sequence[Path], rules: Rules) -> tuple[np.ndarray, np.ndarray | None]:
    """The image, and where it lacks data as :func:`lacking` says; each file is decoded once."""
    each = channels_each(paths, rules)
    return stacked(
        [decode(path, each, rules.max_pixels, mask=False) for path in paths], paths, rules
    )


def channels_each(paths: Sequence[Path], rules: Rules) -> int:
    """Channels that each of a sample's files holds."""
    each, rest = divmod(rules.channels, len(paths))
    if rest or not each:
        raise InputError(
            f"{paths[0]}: one of {len(paths)} files of a sample, which cannot make up "
            f"{rules.channels} channels; set channels to a multiple of {len(paths)}"
        )
    return each


def stacked(
    rasters: Sequence[Raster], paths: Sequence[Path], rules: Rules
) -> tuple[np.ndarray, np.ndarray | None]:
    """What was decoded of the files of one image, as :func:`read_with_gaps` returns it."""
    pairs = list(zip(rasters, paths, strict=True))
    each = rules.channels // len(paths)
    parts = [to_unit(raster, path, each, rules) for raster, path in pairs]
    for path, part in zip(paths, parts, strict=True):
        if part.shape != parts[0].shape:
            raise InputError(
                f"{path}: {part.shape[1]} x {part.shape[2]} pixels (h x w), but {paths[0]}, of the "
                f"same sample, has {parts[0].shape[1]} x {parts[0].shape[2]}"
            )
    image = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return image, _together(_gaps(raster, rules) for raster, path in pairs if _tells(path, rules))


def lacking(paths: Sequence[Path], rules: Rules) -> np.ndarray | None:
    """Where any file of an image holds no data: bool [h, w]; None where no file declares such.

    What counts as none is the number `rules.nodata`, or with "file" what a file declares itself.
    """
    each = rules.channels // len(paths)
    return _together(
        _gaps(decode(path, each, rules.max_pixels, mask=False), rules)
        for path in paths
        if _tells(path, rules)
    )


def _tells(path: Path, rules: Rules) -> bool:
    """Whether a file may say where it lacks data: of itself only a TIFF can."""
    declared = rules.nodata == "file" and path.suffix.lower() in (".tif", ".tiff")
    return declared or not isinstance(rules.nodata, str)


def _gaps(raster: Raster, rules: Rules) -> np.ndarray | None:
    return _hidden(_shown(raster, rules), raster, rules)


def _together(gaps: Iterable[np.ndarray | None]) -> np.ndarray | None:
    found = [one for one in gaps if one is not None]
    return np.logical_or.reduce(found) if found else None


def read_mask(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The raw values of a mask file: integers [h, w], or uint8 [h, w, 3] if it is in colours.

    An indexed file gives its indices (its palette is for the eye, but see
    :meth:`~conceptseg.data.labels.LabelBlock.read`), a grey one its stored values, at 2 and 4 bits
    too. Raises :class:`~conceptseg.errors.InputError` for a lossy file, floats,
    and transparency.
    """
    return read_mask_raster(path, Rules(max_pixels=max_pixels)).values


def read_mask_raster(path: Path, rules: Rules, graded: bool = False) -> Raster:
    """A mask's raw values, turned by its own orientation if `rules.orientation` is "apply".

    `graded` admits lossy files and floats, for masks that are read by a threshold or with a
    tolerance. Raises :class:`~conceptseg.errors.InputError` as :func:`read_mask` does.
    """
    return as_mask(decode(path, 1, rules.max_pixels, mask=True), path, rules, graded)


def as_mask(raster: Raster, path: Path, rules: Rules, graded: bool = False) -> Raster:
    """What was decoded of a mask file, checked as :func:`read_mask_raster` says."""
    if raster.lossy and not graded:
        raise InputError(
            f"{path}: a {raster.lossy} mask; {raster.lossy} changes values, so save masks as PNG, "
            "TIFF or .npy, or give labels.threshold (grey) or labels.tolerance (colours)"
        )
    values, white = raster.values, raster.white
    if raster.alpha:
        if values[..., -1].min() < most(values.dtype):
            raise InputError(f"{path}: a mask with transparent pixels; save it without alpha")
        values = values[..., :-1]
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype == bool:
        values, white = values.astype(np.uint8), 1
    if values.dtype.kind not in ("iuf" if graded else "iu"):
        raise InputError(
            f"{path}: a mask of {values.dtype}; save it as integers, or give labels.threshold"
        )
    if values.ndim == 3 and (values.shape[2] != 3 or values.dtype != np.uint8):
        raise InputError(
            f"{path}: a mask of {values.shape[2]} channels of {values.dtype}; save it as one "
            "channel of class indices, or as 8 bit RGB with labels.colours"
        )
    if rules.orientation == "apply":
        values = turned(values, raster.orientation)
    nodata = raster.nodata if rules.nodata == "file" else None
    return Raster(values, nodata=nodata, white=white, palette=raster.palette)


def image_size(paths: Sequence[Path], rules: Rules) -> tuple[int, int]:
    """Height and width in pixels, as turned; of PNG, JPEG and the like only the header is read."""
    told = header(paths[0], rules.max_pixels)
    if told is None:
        height, width = read_image(paths, rules).shape[1:]
        return height, width
    height, width, orientation = told
    across = rules.orientation != "ignore" and orientation > 4
    return (width, height) if across else (height, width)


def to_unit(raster: Raster, path: Path, channels: int, rules: Rules) -> np.ndarray:
    """What was decoded -> float32 [channels, h, w] in [0, 1], turned; 0 where there are no data."""
    values = _shown(raster, rules)
    hidden = _hidden(values, raster, rules)
    bands = _bands(values, raster.alpha, path, channels, rules)
    return _scaled(bands, path, rules, raster.white, hidden)


def _shown(raster: Raster, rules: Rules) -> np.ndarray:
    turn = 1 if rules.orientation == "ignore" else raster.orientation
    return turned(raster.values, turn)


def _hidden(values: np.ndarray, raster: Raster, rules: Rules) -> np.ndarray | None:
    """Where there are no data: bool [h, w]; alpha says nothing of it."""
    if rules.nodata == "none":
        return None
    wanted = raster.nodata if rules.nodata == "file" else float(rules.nodata)
    return without_data(values[..., :-1] if raster.alpha else values, wanted)


def _bands(values: np.ndarray, alpha: bool, path: Path, channels: int, rules: Rules) -> np.ndarray:
    """[h, w, channels], unscaled."""
    values = values if values.ndim == 3 else values[..., None]
    found = values.shape[2]
    if alpha and found != channels:
        if rules.alpha != "drop":
            raise InputError(
                f"{path}: has an alpha channel; set alpha: drop to ignore it, or save without it"
            )
        values, found = values[..., :-1], found - 1
    if found == 1 and channels == 3:
        return np.repeat(values, 3, axis=2)
    if found != channels:
        raise InputError(
            f"{path}: {found} channel{'s' if found > 1 else ''}, expected {channels}; set "
            f"channels: {found} in the manifest or convert the file"
        )
    return values


def _scaled(
    values: np.ndarray,
    path: Path,
    rules: Rules,
    white: float | None,
    hidden: np.ndarray | None,
) -> np.ndarray:
    """[h, w, c] of any type -> float32 [c, h, w] in [0, 1]; 0 where `hidden`."""
    if hidden is not None and hidden.any():
        lowest = rules.range[0] if rules.range else 0
        wide = np.result_type(values.dtype, np.min_scalar_type(lowest))
        values = np.where(hidden[..., None], np.asarray(lowest, wide), values)
    bands = values.transpose(2, 0, 1)
    kind, size = values.dtype.kind, values.dtype.itemsize
    if rules.range is None and kind == "u" and size <= 2:
        whole = np.float32(white or (255 if size == 1 else 65535))
        return np.divide(bands, whole, dtype=np.float32, order="C")
    if rules.range is None and kind == "b":
        return np.ascontiguousarray(bands, np.float32)
    if rules.range is None and kind != "f":
        raise InputError(
            f"{path}: values of {values.dtype}, which have no natural range; "
            "give the manifest range: [lowest, highest]"
        )
    if kind not in "fiub":
        raise InputError(f"{path}: values of {values.dtype} are not an image; save real numbers")
    low, high = rules.range or (0.0, 1.0)
    least, most = float(bands.min()), float(bands.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise InputError(
            f"{path}: holds NaN or infinite values; replace them, or set nodata: .nan if they "
            "mark pixels without data"
        )
    if not rules.clip and (least < low or most > high):
        cure = "widen it or set clip: true" if rules.range else "give range: [lowest, highest]"
        raise InputError(
            f"{path}: values from {least:g} to {most:g} leave the range [{low:g}, {high:g}]; "
            f"{cure}, or set nodata: VALUE if one of them marks pixels without data"
        )
    unit = np.empty(bands.shape, np.float32)
    for band, target in zip(bands, unit, strict=True):  # one at a time, for they can be large
        target[:] = np.clip((band.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return unit
