"""Reads image and mask files: PNG, JPEG, TIFF and .npy, 8 and 16 bit, one or more channels.

Nothing is guessed. What a file holds is scaled by its type (8 bit / 255, 16 bit / 65535, floats
must lie in [0, 1]) unless a range is declared; a grey file becomes three equal channels when three
are declared; alpha is dropped only when that is declared; pixels are taken as stored, so an EXIF
orientation is not applied (masks are drawn on stored pixels). Anything else is an
:class:`~conceptseg.errors.InputError` that names the file and the cure.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from conceptseg.data.raster import MAX_PIXELS, Raster, Rules, arrange, check_pixels
from conceptseg.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURED = (2, 4, 6)  # colour types with several samples a pixel


def read_image(paths: Sequence[Path], rules: Rules) -> np.ndarray:
    """The image in a file, or in several files stacked as channels: float32 [c, h, w] in [0, 1].

    Raises :class:`~conceptseg.errors.InputError` for a file that is missing, damaged, larger than
    `rules.max_pixels`, or not of the declared channels and range.
    """
    each, rest = divmod(rules.channels, len(paths))
    if rest or not each:
        raise InputError(
            f"{paths[0]}: one of {len(paths)} files of a sample, which cannot make up "
            f"{rules.channels} channels; set channels to a multiple of {len(paths)}"
        )
    parts = [_scaled(_bands(path, each, rules), path, rules) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.shape != parts[0].shape:
            raise InputError(
                f"{path}: {part.shape[1]} x {part.shape[2]} pixels (h x w), but {paths[0]}, of the "
                f"same sample, has {parts[0].shape[1]} x {parts[0].shape[2]}"
            )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_mask(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The raw values of a mask file: integers [h, w], or uint8 [h, w, 3] if it is in colours.

    An indexed file gives its indices (its palette is for the eye), a grey one its stored values,
    at 2 and 4 bits too. Raises :class:`~conceptseg.errors.InputError` for a lossy file, floats,
    and transparency.
    """
    raster = _decode(path, 1, max_pixels, mask=True)
    values = raster.values
    if raster.alpha:
        if values[..., -1].min() < np.iinfo(values.dtype).max:
            raise InputError(f"{path}: a mask with transparent pixels; save it without alpha")
        values = values[..., :-1]
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if values.dtype.kind not in "iu":
        raise InputError(f"{path}: a mask of {values.dtype}; save it as integers")
    if values.ndim == 3 and (values.shape[2] != 3 or values.dtype != np.uint8):
        raise InputError(
            f"{path}: a mask of {values.shape[2]} channels of {values.dtype}; save it as one "
            "channel of class indices, or as 8 bit RGB with labels.colours"
        )
    return values


def image_size(paths: Sequence[Path], rules: Rules) -> tuple[int, int]:
    """Height and width in pixels; of PNG and JPEG only the header is read."""
    if paths[0].suffix.lower() in (".png", ".jpg", ".jpeg"):
        with _reading(paths[0]), _opened(paths[0], rules.max_pixels) as image:
            return image.height, image.width
    height, width = read_image(paths, rules).shape[1:]
    return height, width


def _bands(path: Path, channels: int, rules: Rules) -> np.ndarray:
    """[h, w, channels], unscaled."""
    raster = _decode(path, channels, rules.max_pixels, mask=False)
    values = raster.values if raster.values.ndim == 3 else raster.values[..., None]
    found = values.shape[2]
    if raster.alpha and found != channels:
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


def _scaled(values: np.ndarray, path: Path, rules: Rules) -> np.ndarray:
    """[h, w, c] of any type -> float32 [c, h, w] in [0, 1]."""
    bands = values.transpose(2, 0, 1)
    kind, size = values.dtype.kind, values.dtype.itemsize
    if rules.range is None and kind == "u" and size <= 2:
        whole = np.float32(255 if size == 1 else 65535)
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
        raise InputError(f"{path}: holds NaN or infinite values; replace them")
    if not rules.clip and (least < low or most > high):
        cure = "widen it or set clip: true" if rules.range else "give range: [lowest, highest]"
        raise InputError(
            f"{path}: values from {least:g} to {most:g} leave the range [{low:g}, {high:g}]; {cure}"
        )
    unit = (bands.astype(np.float64) - low) / (high - low)
    return np.ascontiguousarray(np.clip(unit, 0.0, 1.0), np.float32)


def _decode(path: Path, channels: int, max_pixels: int, *, mask: bool) -> Raster:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: {suffix or 'no suffix'} is not read; use {', '.join(SUFFIXES)}")
    decoders: dict[str, Callable[[Path, int, int, bool], Raster]] = {".npy": _npy}
    if suffix in (".tif", ".tiff"):
        from conceptseg.data.tiff import read_tiff

        decoders[suffix] = read_tiff
    with _reading(path):
        raster = decoders.get(suffix, _pillow)(path, channels, max_pixels, mask)
    if raster.values.size == 0:
        raise InputError(f"{path}: has no pixels")
    return raster


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a decoder raises becomes one line that names the file."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; is the root right (manifest key root, or --data-root)?"
        ) from None
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


@contextmanager
def _opened(path: Path, max_pixels: int):  # type: ignore[no-untyped-def]
    """A PNG or JPEG, its header read and its size checked."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Our own limit, below, is the one that counts.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=("PNG", "JPEG"))
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a PNG or JPEG image, whatever its name says") from None
    except Image.DecompressionBombError:
        raise InputError(
            f"{path}: more pixels than Pillow opens (a decompression bomb?); cut it into tiles or "
            "save it as TIFF or .npy"
        ) from None
    with image:
        check_pixels(path, image.height, image.width, max_pixels)
        yield image


def _pillow(path: Path, channels: int, max_pixels: int, mask: bool) -> Raster:
    with _opened(path, max_pixels) as image:
        if mask and image.format == "JPEG":
            raise InputError(
                f"{path}: a JPEG mask; JPEG changes values, so save masks as PNG, TIFF or .npy"
            )
        image.load()
        bits, colour = _png_header(path)
        if bits == 16 and colour in _PNG_COLOURED:
            return Raster(_png_16bit(path), alpha=colour != 2)
        see_through = "transparency" in image.info
        if image.mode == "P" and not mask:
            image = image.convert("RGBA" if see_through else "RGB")
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "I;16B"):
            raise InputError(f"{path}: colour mode {image.mode} is not read; convert it to RGB")
        values = np.asarray(image)
        if image.mode == "I" and bits == 16:
            values = values.astype(np.uint16)  # older versions of Pillow widen 16 bit grey
        if mask and colour == 0 and bits in (2, 4):
            values = values // (255 // (2**bits - 1))  # Pillow spreads them over 0 to 255
        alpha = image.mode in ("LA", "RGBA")
        if see_through and not alpha and not mask:
            # One colour is declared transparent: alpha all the same, to be refused or dropped.
            bands = values.reshape(*values.shape[:2], -1)
            return Raster(np.concatenate([bands, np.zeros_like(bands[..., :1])], 2), True)
        return Raster(values, alpha)


def _png_header(path: Path) -> tuple[int, int]:
    """Bit depth and colour type of a PNG; (8, -1) for a JPEG."""
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if head.startswith(_PNG) else (8, -1)


def _png_16bit(path: Path) -> np.ndarray:
    """[h, w, c] uint16, by torchvision: Pillow would cut coloured 16 bit PNGs down to 8 bit."""
    from torchvision.io import ImageReadMode, decode_image, read_file

    decoded = decode_image(read_file(str(path)), mode=ImageReadMode.UNCHANGED)
    values = decoded.permute(1, 2, 0).numpy()
    if values.dtype != np.uint16:
        raise InputError(f"{path}: 16 bit colour, which this torchvision cannot read; update it")
    return values


def _npy(path: Path, channels: int, max_pixels: int, mask: bool) -> Raster:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(f"{path}: not a .npy file, whatever its name says")
    # Mapped first, so that the shape is known before anything is read; objects are never loaded.
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    bands = 3 if mask else channels
    planes = arrange(mapped, bands, path)
    check_pixels(path, planes.shape[0], planes.shape[1], max_pixels)
    return Raster(np.array(planes))
