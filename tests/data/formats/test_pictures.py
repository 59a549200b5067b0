"""GIF, BMP and WebP as Pillow writes them; what must not be read is refused."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.images import image_size, read_image, read_mask
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError
from tests.files import COLOUR_TYPES, chunk, png, write

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), np.uint8)
COLOURS = RNG.integers(0, 256, (6, 9, 3), np.uint8)
OPTIONS = {"gif": {}, "bmp": {}, "webp": {"lossless": True}, "png": {}}


def saved(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", OPTIONS)
def test_images(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", COLOURS, **OPTIONS[suffix])
    wanted = COLOURS.transpose(2, 0, 1) / np.float32(255)
    # A palette of 256 holds all 54 colours.
    np.testing.assert_allclose(read_image([path], Rules(3)), wanted, atol=1e-6)
    assert image_size([path], Rules(3)) == (6, 9)
    grey = saved(tmp_path / f"g.{suffix}", GREY, **OPTIONS[suffix])
    found = read_image([grey], Rules(3))
    np.testing.assert_allclose(found, np.stack([GREY / np.float32(255)] * 3), atol=1e-6)


@pytest.mark.parametrize("suffix", OPTIONS)
@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 1, 2, 255)])
def test_grey_masks_keep_their_values(tmp_path, suffix, values):
    mask = RNG.choice(np.array(values, np.uint8), (6, 9))
    found = read_mask(saved(tmp_path / f"m.{suffix}", mask, **OPTIONS[suffix]))
    found = found if found.ndim == 2 else found[..., 1]  # WebP has no grey
    assert np.array_equal(found, mask)


@pytest.mark.parametrize("suffix", OPTIONS)
def test_masks_in_colours(tmp_path, suffix):
    found = read_mask(saved(tmp_path / f"m.{suffix}", COLOURS, **OPTIONS[suffix]))
    assert np.array_equal(found, COLOURS)


def test_a_gif_palette_in_another_order_is_still_its_colours(tmp_path):
    """The same picture by two writers: indices differ, what is shown does not."""
    image = Image.frombytes("P", (2, 1), bytes([1, 0]))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "a.gif", optimize=False)
    assert read_mask(tmp_path / "a.gif").tolist() == [[0, 255]]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
@pytest.mark.parametrize("read", [lambda path: read_image([path], Rules(3)), read_mask])
def test_animations_are_refused(tmp_path, suffix, read):
    frames = [Image.fromarray(RNG.integers(0, 256, (6, 9, 3), np.uint8)) for _ in range(3)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="an animation of 3 frames; save the frame"):
        read(path)


def test_the_photograph_of_a_jpeg_with_further_views(tmp_path):
    views = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (50, 200)]
    views[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=views[1:])
    assert abs(read_image([tmp_path / "a.jpg"], Rules(3)).mean() - 50 / 255) < 0.01
    with pytest.raises(InputError, match="a JPEG mask"):
        read_mask(tmp_path / "a.jpg")


def test_a_lossy_webp_mask_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 1
    plain = saved(tmp_path / "a.webp", GREY, quality=80)
    extended = saved(tmp_path / "b.webp", GREY, quality=80, exif=exif)
    for path in (plain, extended):
        with pytest.raises(InputError, match="a WebP mask; WebP changes values"):
            read_mask(path)
    kept = saved(tmp_path / "c.webp", GREY, lossless=True, exif=exif)
    assert np.array_equal(read_mask(kept)[..., 0], GREY)


def test_content_decides_over_a_picture_suffix(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(read_mask(tmp_path / "a.jpg"), COLOURS)


def one_clear(values, clear, bits=None):
    """PNG bytes in which one grey value or colour is declared transparent."""
    data = png(values, bits)
    words = chunk(b"tRNS", b"".join(int(one).to_bytes(2, "big") for one in np.ravel(clear)))
    return data[:33] + words + data[33:]


CLEAR = {
    "grey": (GREY, GREY[2, 3], None),
    "deep grey": (GREY.astype(np.uint16) * 257, GREY[2, 3] * np.uint16(257), None),
    "colours": (COLOURS, COLOURS[2, 3], None),
    "deep colours": (COLOURS.astype(np.uint16) * 200, COLOURS[2, 3] * np.uint16(200), None),
    "one bit": (GREY % 2, 1, 1),
    "two bits": (GREY % 4, 2, 2),
    "four bits": (GREY % 16, 9, 4),
}


@pytest.mark.parametrize("name", CLEAR)
def test_a_transparent_colour_is_alpha_in_every_depth(tmp_path, name):
    values, clear, bits = CLEAR[name]
    path = write(tmp_path / "a.png", one_clear(values, clear, bits))
    opaque = write(tmp_path / "b.png", png(values, bits))
    bands = values.reshape(*GREY.shape, -1)
    channels = bands.shape[2]
    with pytest.raises(InputError, match="has an alpha channel; set alpha: drop"):
        read_image([path], Rules(channels))
    plain = read_image([opaque], Rules(channels))
    assert np.array_equal(read_image([path], Rules(channels, alpha="drop")), plain)
    whole = read_image([path], Rules(channels + 1))
    assert np.array_equal(whole[:channels], plain)
    hidden = (bands == np.ravel(clear)).all(2)
    assert hidden.any() and np.array_equal(whole[channels], ~hidden)


@pytest.mark.parametrize(
    "name", ["grey", "deep grey", "colours", "one bit", "two bits", "four bits"]
)
def test_a_mask_may_declare_a_colour_transparent_only_if_no_pixel_has_it(tmp_path, name):
    values, clear, bits = CLEAR[name]
    path = write(tmp_path / "a.png", one_clear(values, clear, bits))
    with pytest.raises(InputError, match="a mask with transparent pixels"):
        read_mask(path)
    drawn = np.where((values == clear), 0 * values, values)
    path = write(tmp_path / "b.png", one_clear(drawn, clear, bits))
    assert np.array_equal(read_mask(path), drawn)


def test_a_gif_mask_with_transparent_pixels(tmp_path):
    image = Image.frombytes("P", (2, 1), bytes([1, 0]))
    image.putpalette([255, 0, 0, 0, 9, 0])
    image.save(tmp_path / "a.gif", transparency=1, optimize=False)
    with pytest.raises(InputError, match="a mask with transparent pixels"):
        read_mask(tmp_path / "a.gif")


def test_what_libpng_thinks_of_a_profile_stays_off_the_screen(tmp_path, capfd):
    data = png(COLOURS.astype(np.uint16) * 257)
    odd = chunk(b"iCCP", b"odd\0\0" + zlib.compress(b"no profile at all")) + chunk(
        b"gAMA", b"\0" * 4
    )
    path = write(tmp_path / "a.png", data[:33] + odd + data[33:])
    np.testing.assert_allclose(
        read_image([path], Rules(3)), COLOURS.transpose(2, 0, 1) / 255, atol=1e-6
    )
    assert capfd.readouterr() == ("", "")


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
"""First row and column, and steps of both, of an interlaced PNG's passes but the last."""


def filtered(values):
    """The bytes of a PNG's rows [h, w, c] of 16 bit, by each of the five filters in turn."""
    pixel = 2 * values.shape[2]
    above, lines = [0] * (pixel * values.shape[1]), []
    for number, row in enumerate(values):
        raw, way = list(row.astype(">u2").tobytes()), number % 5
        line = [way]
        for at, byte in enumerate(raw):
            left, corner = (raw[at - pixel], above[at - pixel]) if at >= pixel else (0, 0)
            up = above[at]
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda one, guess=guess: abs(guess - one))
            line.append((byte - (0, left, up, (left + up) // 2, paeth)[way]) % 256)
        lines.append(bytes(line))
        above = raw
    return b"".join(lines)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_sixteen_bits_of_colour_by_every_filter_and_interlaced(tmp_path, channels, interlaced):
    values = np.random.default_rng(channels).integers(0, 2**16, (21, 18, channels), np.uint16)
    passes = [values]
    if interlaced:
        passes = [values[y::rows, x::columns] for y, x, rows, columns in ADAM7] + [values[1::2]]
    data = zlib.compress(b"".join(map(filtered, passes)))
    half = len(data) // 2  # pixels may lie in several chunks
    head = struct.pack(">IIBBBBB", 18, 21, 16, COLOUR_TYPES[channels], 0, 0, interlaced)
    parts = [(b"IHDR", head), (b"IDAT", data[:half]), (b"IDAT", data[half:]), (b"IEND", b"")]
    path = write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in parts))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image([path], Rules(channels))
    assert np.array_equal(found, (values / np.float32(65535)).transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize("kind", ["image", "mask", "deep"])
def test_a_png_whose_pixels_do_not_fit_their_checksum(tmp_path, kind):
    values = (
        GREY % 3 if kind == "mask" else COLOURS.astype(np.uint16 if kind == "deep" else np.uint8)
    )
    data = png(values)
    sound = write(tmp_path / "sound.png", data)
    at = data.index(b"IDAT") + 4
    read = read_mask if kind == "mask" else lambda path: read_image([path], Rules(3))
    read(sound)
    for bit in range(8 * int.from_bytes(data[at - 8 : at - 4], "big")):
        spoilt = bytearray(data)
        spoilt[at + bit // 8] ^= 1 << bit % 8
        with pytest.raises(InputError, match="damaged"):
            read(write(tmp_path / "a.png", bytes(spoilt)))
