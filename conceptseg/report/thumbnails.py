"""Images, regions and attribution maps -> encoded pictures for a report.

Every picture shows the whole image. Bytes depend only on what is drawn (and on the WebP library).
Shapes: image [c, h, w] in [0, 1], mask bool [h, w], attribution [h, w].
"""

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from conceptseg.errors import InputError
from conceptseg.report.colours import paint
from conceptseg.result.saved import image_type

SIDE = 256
LARGEST_PX = 2**25
"""Pixels of a picture in a report, at most."""
OUTLINE = "#ffd60a"
ZERO, NO_MAP = "zero everywhere", "no map"
"""What is written on the picture of a map that is so."""
FAINT = 0.05
"""Share of the scale up to which colours can hardly be told from none."""
TOLERANCE = 0.003
"""What a drawn border may depart from a region's, of the longer side."""
CLEAR = 3
"""Pixels, on a picture of `SIDE`, between a thin region and a line that is drawn around it."""
HIDDEN = 0.5
"""Share of a region that a line on its border may hide; else one is drawn around it."""


def to_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] as shown to a reader; values outside of [0, 1] are clipped.

    One channel is shown as grey, two as the grey of their mean, three as red, green and blue, and
    of more channels the first three (order them so in the manifest if others tell more).
    """
    image = np.asarray(image, dtype=np.float64)
    if image.ndim != 3 or not image.shape[0]:
        raise ValueError(f"an image is [c, h, w], not {list(image.shape)}")
    channels = image[:3] if image.shape[0] >= 3 else np.repeat(image.mean(0, keepdims=True), 3, 0)
    return np.rint(np.clip(np.nan_to_num(channels), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def encode(rgb: np.ndarray | Image.Image, quality: int = 82) -> bytes:
    """WebP bytes of uint8 [h, w, 3]."""
    picture = rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def photo(image: np.ndarray, side: int = SIDE) -> bytes:
    """The image itself, its longer side at most `side` pixels (small ones keep their size)."""
    return encode(_fit(Image.fromarray(to_rgb(image)), side, enlarge=False))


def outlined(image: np.ndarray, mask: np.ndarray, side: int = SIDE, colour: str = OUTLINE) -> bytes:
    """The image with a region's border drawn into it: `colour` on a black line, seen on any ground.

    Small images are enlarged by a whole factor first, so that the line does not hide them. Around
    regions so thin that the line would hide most of them, a line of one pixel lies outside.
    """
    _check_mask(image, mask)
    return encode(_draw(_fit(Image.fromarray(to_rgb(image)), side), mask, colour))


def overlay(
    image: np.ndarray,
    attribution: np.ndarray,
    low: float,
    high: float,
    *,
    scale: str = "balance",
    alpha: float = 0.72,
    mask: np.ndarray | None = None,
    side: int = SIDE,
) -> bytes:
    """The attribution in colour over the image in grey, and perhaps a region's border.

    `low` and `high` are the ends of the scale: give the same to all pictures that are compared
    (:func:`shared_limit`). The image's contrast is halved, lest its light and dark be taken for
    values. Of an attribution that is zero everywhere, or nan, the picture says so, and of one that
    is nowhere beyond `FAINT` of a scale that others share, which shows no colour, how far it goes.
    Small images are enlarged by a whole factor for what is drawn into them, a border or words;
    without these they stay as they are, for pages enlarge them without a blur.
    """
    if attribution.shape != image.shape[1:]:
        raise ValueError(
            f"attribution {list(attribution.shape)} is not of the image's size "
            f"{list(image.shape[1:])}"
        )
    grey = 0.25 + 0.5 * to_rgb(image).astype(np.float64).mean(axis=2, keepdims=True) / 255
    colour = paint(np.asarray(attribution, np.float64), low, high, scale)
    mixed = np.rint((1 - alpha) * 255 * grey + alpha * colour).astype(np.uint8)
    words = _lacking(attribution, max(abs(low), abs(high)), scale)
    picture = _fit(Image.fromarray(mixed), side, enlarge=mask is not None or bool(words))
    picture = picture if mask is None else _draw(picture, mask, OUTLINE)
    return encode(_labelled(picture, words) if words else picture)


def _lacking(attribution: np.ndarray, bound: float, scale: str) -> str:
    """What is written on a map that shows nothing, or no colour; "" on others."""
    if not np.isfinite(attribution).any():
        return NO_MAP
    if not attribution.any():
        return ZERO
    reach = float(np.nanmax(np.abs(attribution))) / bound
    seen = reach > FAINT or scale != "balance"  # of which alone nothing has no colour
    return "" if seen else faint(reach)


def faint(reach: float) -> str:
    """What is written on a map that uses so small a share of its scale."""
    return f"up to {reach:.0%} of scale" if reach >= 0.01 else "below 1% of scale"


def shared_limit(attributions: Iterable[np.ndarray], quantile: float = 0.995) -> float:
    """One bound for all maps: that quantile of their absolute values, 1 if they are all zero.

    Use -bound and +bound as ends of a signed scale, so that zero is its middle.
    """
    maps = [np.abs(np.nan_to_num(np.asarray(a, np.float64))).ravel() for a in attributions]
    bound = float(np.quantile(np.concatenate(maps), quantile)) if maps else 0.0
    return bound if bound > 0 else max([float(m.max(initial=0)) for m in maps], default=0.0) or 1.0


def outline(mask: np.ndarray, tolerance: float = TOLERANCE) -> str:
    """A region's borders as SVG path data, for :class:`conceptseg.report.blocks.Picture`.

    x runs from 0 to 1000 along the width and y from 0 to 1000 along the height, whatever the
    image's size; parts and holes are subpaths. The line departs from the pixels' edges by at most
    `tolerance` of the longer side or a quarter of a pixel, whichever is more. Around regions so
    thin that on a picture of `SIDE` pixels the line would hide most of them it lies outside.
    """
    thin = _thin(mask, _fitted(mask.shape[1], mask.shape[0], SIDE))
    return _contours(mask, tolerance) if thin is None else _contours(_grown(thin, CLEAR), 0.0)


def _contours(mask: np.ndarray, tolerance: float) -> str:
    """The borders of a region as they are."""
    from skimage.measure import approximate_polygon, find_contours

    height, width = mask.shape
    tolerance_px = max(tolerance * max(height, width), 0.25)
    padded = np.pad(np.asarray(mask, np.float32), 1)  # a region at the rim is closed along it
    parts = []
    for contour in find_contours(padded, 0.5):
        # Pixel r of the image is row r + 1 of the padded one, and its centre lies at r + 1/2.
        points = (approximate_polygon(contour, tolerance_px) - 0.5) / [height, width]
        corners = np.rint(np.clip(points, 0, 1) * 1000).astype(int)[:-1, ::-1]
        if len(corners) > 2:
            parts.append("M" + "L".join(f"{x} {y}" for x, y in corners) + "Z")
    return "".join(parts)


def _thin(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """A region too thin for a line on its border, on a picture of width and height `size`; None for
    others."""
    from scipy.ndimage import binary_erosion

    covered = Image.fromarray(np.asarray(mask, np.uint8) * 255).resize(size, Image.Resampling.BOX)
    inside = np.asarray(covered) >= 64
    whole = np.ones((3, 3), dtype=bool)
    left = binary_erosion(inside, whole, iterations=2, border_value=1)
    if not inside.any() or left.sum() > (1 - HIDDEN) * inside.sum():
        return None
    return np.asarray(inside)


def _grown(region: np.ndarray, px: int) -> np.ndarray:
    """A region with what lies at most so many pixels away from it."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(region, np.ones((3, 3), dtype=bool), iterations=px))


def _labelled(picture: Image.Image, text: str) -> Image.Image:
    """The picture with a line of text along its lower edge."""
    picture = picture.convert("RGB")
    font = ImageFont.load_default(max(8, picture.width // 14))
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = pen.textbbox((2, 0), text, font=font)
    lift = picture.height - bottom - 2
    pen.rectangle((0, top + lift - 2, right + 2, picture.height), fill="#000000")
    pen.text((2, lift), text, font=font, fill="#ffffff")
    return picture


def _check_mask(image: np.ndarray, mask: np.ndarray) -> None:
    if mask.shape != image.shape[1:]:
        raise ValueError(
            f"mask {list(mask.shape)} is not of the image's size {list(image.shape[1:])}"
        )


def _fit(picture: Image.Image, side: int, enlarge: bool = True) -> Image.Image:
    """Smaller by averaging; larger only by whole factors, so that pixels stay pixels."""
    smaller = max(picture.size) > side
    if not smaller and not enlarge:
        return picture
    how = Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST
    return picture.resize(_fitted(picture.width, picture.height, side), how)


def _fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """The size of a picture that is made smaller to fit a side, or larger by a whole factor."""
    longer = max(width, height)
    if longer > side:
        return max(1, round(width * side / longer)), max(1, round(height * side / longer))
    return width * (side // longer), height * (side // longer)


def _draw(picture: Image.Image, mask: np.ndarray, colour: str) -> Image.Image:
    """The picture with the mask's borders: a wide black line and a narrow coloured one on it.

    Where these would hide most of the mask, a coloured line of one pixel goes around it instead.
    """
    thin = _thin(mask, picture.size)
    if thin is not None:
        rgb = np.array(picture)
        rgb[_grown(thin, 1) & ~thin] = ImageColor.getrgb(colour)
        return Image.fromarray(rgb)
    picture = picture.copy()
    pen = ImageDraw.Draw(picture)
    scale = np.array([picture.width - 1, picture.height - 1]) / 1000
    borders = _contours(mask, TOLERANCE)
    parts = [part.split("L") for part in borders.replace("M", "").split("Z") if part]
    lines = [[tuple(np.array(xy.split(), float) * scale) for xy in part] for part in parts]
    for width, ink in ((4, "#000000"), (2, colour)):
        for line in lines:
            pen.line([*line, line[0], line[1]], fill=ink, width=width, joint="curve")
    return picture


def picture_size(key: str, data: bytes) -> tuple[int, int]:
    """Width and height of a picture in px; InputError for one that cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            width, height = opened.size
            if width * height > LARGEST_PX:
                raise ValueError(f"{width} x {height} px")
            opened.load()
    except Exception as error:  # what Pillow's decoders raise of damaged bytes has no end
        raise InputError(
            f"the picture images/{key}.{image_type(data)} cannot be shown ({str(error)[:200]}); "
            "restore it or run the study again"
        ) from None
    return width, height
