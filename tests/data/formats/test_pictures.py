"""GIF, BMP and WebP as Pillow writes them; what must not be read is refused."""

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.images import image_size, read_image, read_mask
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError

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
