"""From a file to its pixels: the module of `formats` that its suffix names, and what can go wrong.

A format is a module with `read(path, file, channels, max_pixels, mask) -> Raster`, and perhaps
`size`. It reads the open file, `path` being for messages. It does not choose: what a file holds is
handed on, and `images` decides by the manifest's rules.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from conceptseg.data.hashed import missing, opened
from conceptseg.data.raster import Raster
from conceptseg.errors import InputError

_FORMATS = {
    "pictures": (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"),
    "jpeg2000": (".jp2", ".j2k", ".jpx", ".j2c"),
    "netpbm": (".pbm", ".pgm", ".ppm", ".pnm"),
    "tiff": (".tif", ".tiff"),
    "npy": (".npy",),
    "dicom": (".dcm", ".dicom"),
}
SUFFIXES = {suffix: name for name, suffixes in _FORMATS.items() for suffix in suffixes}
"""Suffix -> the module that reads it, imported when the first such file is read."""

for _name in ("tifffile", "PIL", "pydicom"):
    # What they log would else come on the user's screen; who wants it takes it from the root.
    logging.getLogger(_name).addHandler(logging.NullHandler())


def decode(path: Path, channels: int, max_pixels: int, *, mask: bool) -> Raster:
    """The pixels of a file, which is hashed as it is read (:mod:`conceptseg.data.hashed`).

    Raises :class:`~conceptseg.errors.InputError` for a file that is missing, damaged, of another
    format than its suffix names, without pixels, or larger than `max_pixels`.
    """
    reader = _reader(path)
    with reading(path), opened(path) as file:
        raster: Raster = reader.read(path, file, channels, max_pixels, mask)
    if raster.values.size == 0:
        raise InputError(f"{path}: has no pixels")
    return raster


def header(path: Path, max_pixels: int) -> tuple[int, int, int] | None:
    """Height, width as stored, and orientation, where a header tells; None: decode the file."""
    reader = _reader(path)
    if not hasattr(reader, "size"):
        return None
    with reading(path):
        height, width, orientation = reader.size(path, max_pixels)
    return height, width, orientation


def orientation(path: Path, max_pixels: int) -> int:
    """EXIF's orientation of an image file, 1 to 8, by its header; 1 where the format has none."""
    told = header(path, max_pixels)
    if told is not None:
        return told[2]
    reader = _reader(path)
    with reading(path):
        return int(reader.orientation(path)) if hasattr(reader, "orientation") else 1


def _reader(path: Path) -> ModuleType:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES and _is_dicom(path):
        suffix = ".dcm"
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: {suffix or 'no suffix'} is not read; use {', '.join(SUFFIXES)}")
    return import_module(f"conceptseg.data.formats.{SUFFIXES[suffix]}")


def _is_dicom(path: Path) -> bool:
    """Whether a file says so itself: scanners name theirs without a suffix, or by numbers."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever a decoder raises becomes one line that names the file."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise missing(path) from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a file") from None
    except PermissionError:
        raise InputError(f"{path}: cannot be opened (permission denied)") from None
    except Exception as error:
        # A damaged file can make a decoder fail in any way (struct.error, IndexError, zlib.error,
        # SyntaxError from Pillow), and all of them mean the same to the user.
        says = " ".join(str(error).split()).replace(str(path), "it")[:200]
        raise InputError(
            f"{path}: damaged, or not what its name says ({says or type(error).__name__})"
        ) from None
