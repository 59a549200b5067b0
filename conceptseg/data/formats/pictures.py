"""Reads what Pillow reads: PNG, JPEG, GIF, BMP and WebP.

Of an animation no frame is chosen: it is refused. A palette is for the eye, and a mask's values are
its indices; but GIF knows no grey, and its writers order palettes as they like, so that a GIF mask
is grey where its palette is, and in colours otherwise.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from conceptseg.data.raster import Raster, check_pixels, most
from conceptseg.errors import InputError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
"""Pillow's names; the content decides which of them a file is, whatever its suffix says."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURED = (2, 4, 6)  # colour types with several samples a pixel
_ORIENTATION = 0x0112
_TOLD = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # chunks that may tell a PNG's orientation


def read(path: Path, file: BinaryIO, channels: int, max_pixels: int, mask: bool) -> Raster:
    """A PNG, JPEG, GIF, BMP or WebP file. Raises InputError for an animation."""
    with opened(path, file, max_pixels) as image:
        image.load()
        told: dict[str, Any] = {
            "orientation": orientation_of(image),
            "lossy": _lossy(file, image.format),
        }
        bits, colour = _png_header(file)
        if colour >= 0:
            _check_sums(path, file)
        if bits == 16 and colour in _PNG_COLOURED:
            values = _png_16bit(file, colour)
            if colour != 2 or "transparency" not in image.info:
                return Raster(values, alpha=colour != 2, **told)
            return Raster(_with_alpha(values, image.info["transparency"]), alpha=True, **told)
        through = image.info.get("transparency")
        if image.mode == "P" and mask and image.format == "GIF":
            grey = _grey_if_equal(np.asarray(image.convert("RGB")))
            if through is None:
                return Raster(grey, **told)
            return Raster(_with_alpha(grey, through, np.asarray(image)), alpha=True, **told)
        if image.mode == "P" and not mask:
            image = image.convert("RGB" if through is None else "RGBA")
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "I;16B"):
            raise InputError(f"{path}: colour mode {image.mode} is not read; convert it to RGB")
        values = np.asarray(image)
        if image.mode == "I" and bits == 16:
            values = values.astype(np.uint16)  # older versions of Pillow widen 16 bit grey
        raw = values
        if image.mode == "P":
            told["palette"] = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        if colour == 0 and bits in (2, 4):
            told |= {"white": 2**bits - 1} if mask else {}
            raw = values // (255 // (2**bits - 1))  # Pillow spreads them over 0 to 255
            values = raw if mask else values
        if through is not None and image.mode in ("1", "L", "I", "I;16", "I;16B", "RGB"):
            return Raster(_with_alpha(values, through, raw), alpha=True, **told)
        return Raster(values, alpha=image.mode in ("LA", "RGBA"), **told)


@contextmanager
def opened(
    path: Path, file: BinaryIO, max_pixels: int, formats: tuple[str, ...] = FORMATS
) -> Iterator[Any]:
    """An image file that Pillow reads, its header read, its size and number of frames checked."""
    from PIL import Image, UnidentifiedImageError

    image: Any
    try:
        with warnings.catch_warnings():
            # Our own limit, below, is the one that counts.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=formats)
    except UnidentifiedImageError:
        kinds = ", ".join(formats)
        raise InputError(f"{path}: not an image ({kinds}), whatever its name says") from None
    except Image.DecompressionBombError:
        raise InputError(
            f"{path}: more pixels than Pillow opens (a decompression bomb?); cut it into tiles or "
            "save it as TIFF or .npy"
        ) from None
    with image:
        check_pixels(path, image.height, image.width, max_pixels)
        # MPO is a JPEG with further views behind it, the first of which is the photograph.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise InputError(
                f"{path}: an animation of {image.n_frames} frames; save the frame that is meant "
                "as a file of its own"
            )
        yield image


def size(path: Path, max_pixels: int) -> tuple[int, int, int]:
    """Height, width (as stored) and orientation; little more than the header is read."""
    with path.open("rb") as file, opened(path, file, max_pixels) as image:
        plain = image.format == "PNG" and not _png_tells(path)
        return image.height, image.width, 1 if plain else orientation_of(image)


def orientation_of(image: Any) -> int:
    """EXIF's orientation, 1 to 8, from EXIF or XMP; 1 where none, or none that exists, is given."""
    found = image.getexif().get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _with_alpha(
    values: np.ndarray, through: int | Sequence[int], raw: np.ndarray | None = None
) -> np.ndarray:
    """[h, w, c + 1]: with alpha, which is 0 where `raw` (the values, if absent) is one colour.

    Of a file that declares this colour transparent and has no alpha of its own.
    """
    bands = values.reshape(*values.shape[:2], -1)
    raw = bands if raw is None else raw.reshape(*raw.shape[:2], -1)
    clear = (raw == np.asarray(through).astype(raw.dtype)).all(2)  # higher bits mean nothing
    alpha = np.where(clear, 0, most(values.dtype)).astype(values.dtype)
    return np.concatenate([bands, alpha[..., None]], 2)


def _grey_if_equal(rgb: np.ndarray) -> np.ndarray:
    grey = rgb[..., 0]
    return grey if (rgb == grey[..., None]).all() else rgb


def _lossy(file: BinaryIO, kind: str | None) -> str | None:
    if kind in ("JPEG", "MPO"):
        return "JPEG"
    return "WebP" if kind == "WEBP" and not _lossless_webp(file) else None


def _lossless_webp(file: BinaryIO) -> bool:
    """Whether the picture of a WebP file is in a chunk VP8L, and not in a lossy chunk VP8."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        file.seek(length + length % 2, 1)
    return False


def _png_tells(path: Path) -> bool:
    """Whether a PNG has a chunk that may tell its orientation; only chunks' heads are read."""
    with path.open("rb") as file:
        file.seek(len(_PNG))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind in _TOLD:
                return True
            file.seek(length + 4, 1)
    return False


def _png_header(file: BinaryIO) -> tuple[int, int]:
    """Bit depth and colour type of a PNG; (8, -1) for others."""
    file.seek(0)
    head = file.read(26)
    return (head[24], head[25]) if head.startswith(_PNG) else (8, -1)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, content and checksum of each chunk of a PNG."""
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, file.read(length), file.read(4)


def _check_sums(path: Path, file: BinaryIO) -> None:
    """Refuse a PNG whose pixels are not those that were written: Pillow does not look, and reads
    others without a word."""
    for kind, body, told in _chunks(file):
        if kind == b"IDAT" and zlib.crc32(kind + body).to_bytes(4, "big") != told:
            raise InputError(
                f"{path}: damaged: its pixels do not fit their checksum; copy it again"
            )


def _png_16bit(file: BinaryIO, colour: int) -> np.ndarray:
    """[h, w, c] uint16 of a colour type with several samples a pixel.

    Pillow opens these cut down to 8 bit. Its decoder is asked for one half of each number, then for
    the other; of grey with alpha, whose four bytes a pixel are as many as RGBA's, for all at once.
    """
    from PIL import Image

    pixels = bytearray()
    for kind, body, _ in _chunks(file):
        if kind == b"IHDR":
            width, height, interlaced = struct.unpack(">II4xB", body[:13])
        elif kind == b"IDAT":
            pixels += body
    mode = "RGB" if colour == 2 else "RGBA"
    ways = ["RGBA"] if colour == 4 else [f"{mode};16B", f"{mode};16L"]
    size, data = (width, height), bytes(pixels)
    found = [
        np.asarray(Image.frombytes(mode, size, data, "zip", way, interlaced)).astype(np.uint16)
        for way in ways
    ]
    high, low = found if len(found) == 2 else (found[0][..., ::2], found[0][..., 1::2])
    return high << 8 | low
