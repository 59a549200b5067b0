"""Reads TIFF files: any number of bands, 8 and 16 bit integers and floats.

Bands may lie in pixels (YXS), in planes (SYX) or in pages of one size (CYX and the like). What
tifffile cannot unpack by itself (LZW, JPEG, CCITT, ZSTD, LERC, ...) is read by imagecodecs (the
extra `imagecodecs`), or without it by Pillow where that is exact. What GDAL declares as no data in
its tag is handed on. A file holds one picture: smaller copies of it (a COG's, a thumbnail) are
passed over, others refused, and so is an OME-TIFF whose planes lie in further files, for no other
file is read than the one that is named.
"""

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from conceptseg.data.raster import Raster, arrange, check_pixels, stored
from conceptseg.errors import InputError
from conceptseg.extras import missing

_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_ORIENTATION, _GDAL_NODATA = 274, 42113
_MOST_PAGES = 10_000


def read(path: Path, file: BinaryIO, channels: int, max_pixels: int, mask: bool) -> Raster:
    """The picture in a TIFF file, palette and inverted grey resolved unless `mask`."""
    with _opened(path, file) as series:
        page: Any = series.keyframe
        check_pixels(path, page.imagelength, page.imagewidth, max_pixels)
        if np.prod(series.shape, dtype=float) > max_pixels * max(channels, 4):
            raise InputError(f"{path}: {series.shape} is more than max_pixels a channel")
        if page.photometric not in (_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR):
            colours = getattr(page.photometric, "name", page.photometric)
            raise InputError(f"{path}: colours of kind {colours}; save it as RGB")
        packed = str(getattr(page.compression, "name", page.compression))
        try:
            values = series.asarray()
        except (ValueError, NotImplementedError, ImportError) as error:
            if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
                raise
            values = _by_pillow(path, file, page, packed)
        else:
            values = _planes(values, series.axes, 3 if mask else channels, path)
            if page.photometric == _YCBCR and "JPEG" not in packed:
                # Unpacked as they are stored: brightness and two differences of colour.
                values = _by_pillow(path, file, page, packed)
        white = _white(path, page, values)
        if not mask:
            values = _as_seen(values, page, white)
        # A palette's and inverted grey's no data would be another value once they are resolved.
        plain = mask or page.photometric not in (_PALETTE, _MINISWHITE)
        return Raster(
            values,
            alpha=_has_alpha(page, values),
            white=white,
            orientation=orientation_of(page),
            nodata=_nodata(page) if plain else None,
            lossy=packed if any(word in packed for word in ("JPEG", "WEBP")) else None,
        )


@contextmanager
def _opened(path: Path, file: BinaryIO) -> Iterator[Any]:
    """The one series of an open TIFF file; no other file is looked for."""
    import tifffile

    try:
        # Of Micro-Manager's and NDTiff's series, too, only the pages that lie in this file.
        tiff = tifffile.TiffFile(file, _multifile=False, is_mmstack=False, is_ndtiff=False)
    except tifffile.TiffFileError:
        raise InputError(f"{path}: not a TIFF image, whatever its name says") from None
    with tiff:
        _check_chain(path, tiff)
        first, *others = tiff.series
        if tiff.is_ome and first.kind != "ome":
            raise InputError(
                f"{path}: an OME-TIFF whose description is damaged or names planes in further "
                "files, which are not read; save its planes in one file"
            )
        own = [one for one in others if not (one.keyframe.is_reduced or one.keyframe.is_mask)]
        if own:
            raise InputError(
                f"{path}: {len(own) + 1} pictures in one file, of {first.shape}, {own[0].shape}"
                f"{', ...' if own[1:] else ''}; save the one that is meant as a file of its own"
            )
        yield first


def _check_chain(path: Path, tiff: Any) -> None:
    """Refuse pages that lead back to one of them, which tifffile would follow for ever.

    Each page names where the next one begins; what ends too early is for tifffile to tell.
    """
    form, file, offset = tiff.tiff, tiff.filehandle, tiff.pages.first.offset
    seen: set[int] = set()
    while 0 < offset < file.size:
        if offset in seen or len(seen) == _MOST_PAGES:
            what = "pages in a circle" if offset in seen else f"more than {_MOST_PAGES} pages"
            raise InputError(f"{path}: {what}; save the one picture that is meant again")
        seen.add(offset)
        file.seek(offset)
        try:
            (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
            file.seek(offset + form.tagnosize + tags * form.tagsize)
            (offset,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
        except (struct.error, OSError, OverflowError):
            return


def orientation(path: Path) -> int:
    """EXIF's orientation of the picture; no pixels are read."""
    with path.open("rb") as file, _opened(path, file) as series:
        return orientation_of(series.keyframe)


def orientation_of(page: Any) -> int:
    """The tag Orientation, 1 to 8; 1 where none, or none that exists, is given."""
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def _nodata(page: Any) -> float | None:
    """What GDAL declares as no data in its tag, a number in ASCII; None for what is no number."""
    tag = page.tags.get(_GDAL_NODATA)
    try:
        return None if tag is None else float(str(tag.value).strip("\0 "))
    except ValueError:
        return None


def _planes(values: np.ndarray, axes: str, channels: int, path: Path) -> np.ndarray:
    """Any array with named axes -> [h, w] or [h, w, c]."""
    keep = [i for i, n in enumerate(values.shape) if n > 1 or axes[i] in "YX"]
    values = values.reshape([values.shape[i] for i in keep])
    axes = "".join(axes[i] for i in keep)
    if axes in ("YX", "YXS"):
        return values
    if axes == "SYX":
        return np.moveaxis(values, 0, 2)
    if len(axes) == 3 and axes.endswith("YX"):
        # Pages; a writer that was not told of bands stores [h, w, c] as h pages of w x c.
        return arrange(values, channels, path)
    raise InputError(f"{path}: axes {axes} of shape {values.shape}; save one plane, [h, w, c]")


def _white(path: Path, page: Any, values: np.ndarray) -> int | None:
    """The value of white where pixels have fewer bits than their type; None elsewhere."""
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise InputError(f"{path}: bands of {bits} bit; save them all with 8 or 16 bit")
    fewer = values.dtype.kind == "u" and bits < 8 * values.dtype.itemsize
    return 2**bits - 1 if fewer and page.photometric != _PALETTE else None


def _as_seen(values: np.ndarray, page: Any, white: int | None) -> np.ndarray:
    """Palette indices to colours, and white-is-zero grey turned round."""
    if page.photometric == _PALETTE:
        return np.moveaxis(page.colormap[:, values], 0, -1)
    if page.photometric == _MINISWHITE and values.dtype.kind in "ub":
        if values.dtype == bool:
            return values ^ True
        return values.dtype.type(white or np.iinfo(values.dtype).max) - values
    return values


def _has_alpha(page: Any, values: np.ndarray) -> bool:
    return values.ndim == 3 and any(int(extra) in (1, 2) for extra in page.extrasamples)


@cache
def _hush() -> None:
    """Keep libtiff, by which Pillow reads, from writing on the screen what is raised as well."""
    from PIL import _imaging

    with suppress(OSError, AttributeError):  # where it is built in, or none is there
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def _by_pillow(path: Path, file: BinaryIO, page: Any, packed: str) -> np.ndarray:
    """One page of 8 bit grey, colour or palette, or of 16 bit grey, which Pillow reads exactly; and
    of brightness and differences of colour, which it turns into colour."""
    from PIL import Image

    plain = packed == "NONE"
    what = f"pixels of {page.bitspersample} bit" if plain else f"compressed by {packed}"
    needs = InputError(
        missing(f"{path}: {what}, which", "imagecodecs")
        + f", or save the file {'with 8 or 16 bit' if plain else 'without compression'}"
    )
    _hush()
    file.seek(0)
    try:
        image = Image.open(file, formats=("TIFF",))
    except Exception:
        raise needs from None  # 12 bands of 16 bit, say, are no picture to Pillow
    with image:
        shown = image.convert("RGB") if image.mode == "YCbCr" else image
        wanted = ("L", "RGB", "P", "I;16", "I;16B", "F", "1")
        exact = shown.mode in wanted and page.photometric != _MINISWHITE
        exact = exact and len(shown.getbands()) == page.samplesperpixel
        deep = page.bitspersample not in (1, 8) and shown.mode in ("RGB", "L", "P")
        if not exact or deep or getattr(image, "n_frames", 1) > 1:
            raise needs
        return stored(np.asarray(shown), orientation_of(page))  # Pillow has turned it
