"""A picture's EXIF orientation, against Pillow's own turning and a hand-drawn corner."""

import itertools

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from conceptseg.data.images import image_size, read_image
from conceptseg.data.problems import remarks
from conceptseg.data.raster import Rules, stored, turned
from conceptseg.errors import InputError
from tests.files import manifest, png, write

RNG = np.random.default_rng(3)
ALL = range(1, 9)


def tagged(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", ALL)
def test_turning_is_pillows_and_has_an_inverse(tmp_path, orientation):
    values = RNG.integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png", exif=tagged(orientation))
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    assert np.array_equal(turned(values, orientation), wanted)
    assert np.array_equal(stored(turned(values, orientation), orientation), values)
    assert np.array_equal(turned(values[..., 0], orientation), wanted[..., 0])


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_images_are_turned_as_viewers_show_them(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    values = np.zeros((16, 24, 3), np.uint8)
    values[:8, :8] = 255
    if suffix == "tif":
        tifffile.imwrite(path, values, photometric="rgb", extratags=[(274, "H", 1, orientation)])
    else:
        Image.fromarray(values).save(path, exif=tagged(orientation), quality=100)
    found = read_image([path], Rules(3)).transpose(1, 2, 0)
    wanted = turned(values, orientation) / 255
    assert np.abs(found - wanted).max() < 0.03
    assert image_size([path], Rules(3)) == wanted.shape[:2]
    left = read_image([path], Rules(3, orientation="ignore"))
    assert np.abs(left.transpose(1, 2, 0) - values / 255).max() < 0.03
    assert image_size([path], Rules(3, orientation="ignore")) == (16, 24)


def test_a_tiff_that_pillow_unpacks_is_turned_once(tmp_path):
    values = RNG.integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={274: 6})
    found = read_image([tmp_path / "a.tif"], Rules(3))
    np.testing.assert_allclose(found.transpose(1, 2, 0), turned(values, 6) / 255, atol=1e-6)


def test_orientation_in_xmp_counts_and_one_that_does_not_exist_does_not(tmp_path):
    told = PngInfo()
    told.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="8"/>')
    values = RNG.integers(0, 256, (4, 6), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png", pnginfo=told)
    found = read_image([tmp_path / "a.png"], Rules(1))[0]
    np.testing.assert_allclose(found, turned(values, 8) / 255, atol=1e-6)
    assert image_size([tmp_path / "a.png"], Rules(1)) == (6, 4)
    Image.fromarray(values).save(tmp_path / "b.png", exif=tagged(9))
    assert image_size([tmp_path / "b.png"], Rules(1)) == (4, 6)


def scene(folder, orientation, mask):
    """A photograph stored turned, as a camera does it; the mask is what is given."""
    shown = np.zeros((6, 8, 3), np.uint8)
    shown[:3, :4] = 255
    write(folder / "i/a.png", b"")
    Image.fromarray(stored(shown, orientation)).save(folder / "i/a.png", exif=tagged(orientation))
    write(folder / "m/a.png", png(np.ascontiguousarray(mask)))
    return shown


KEYS = {
    "labels": {"names": ["dark", "bright"]},
    "folders": [{"images": "i/{id}.png", "masks": "m/{id}.png"}],
}
LABELS = np.pad(np.ones((3, 4), np.uint8), ((0, 3), (0, 4)))


@pytest.mark.parametrize(("orientation", "drawn_on"), itertools.product(ALL, ["shown", "stored"]))
def test_a_mask_ends_up_on_its_image_or_is_refused(tmp_path, orientation, drawn_on):
    as_shown = drawn_on == "shown"
    scene(tmp_path, orientation, LABELS if as_shown else stored(LABELS, orientation))
    whole = manifest(tmp_path, **KEYS, orientation="apply" if as_shown else "apply_to_masks")
    image, labels = whole.pair(whole.samples[0])
    assert np.array_equal(labels, image[0] > 0.5)
    assert labels.shape == whole.size(whole.samples[0]) == (6, 8)
    assert np.array_equal(whole.labels(whole.samples[0]), labels)
    if not as_shown:
        untold = manifest(tmp_path, **KEYS)
        if orientation > 4:
            with pytest.raises(InputError, match="set orientation: apply_to_masks"):
                untold.pair(untold.samples[0])
        neither = manifest(tmp_path, **KEYS, orientation="ignore")
        image, labels = neither.pair(neither.samples[0])
        assert np.array_equal(labels, image[0] > 0.5)


def test_a_mask_that_is_tagged_itself_is_turned_once(tmp_path):
    scene(tmp_path, 6, LABELS)
    Image.fromarray(np.ascontiguousarray(stored(LABELS, 6))).save(
        tmp_path / "m/a.png", exif=tagged(6)
    )
    for orientation in ("apply", "apply_to_masks"):
        whole = manifest(tmp_path, **KEYS, orientation=orientation)
        image, labels = whole.pair(whole.samples[0])
        assert np.array_equal(labels, image[0] > 0.5)


def test_a_remark_says_what_was_turned(tmp_path):
    scene(tmp_path, 3, LABELS)
    (remark,) = remarks(manifest(tmp_path, **KEYS))
    assert remark.startswith("1 of 1 images have an EXIF orientation and are turned; masks are ta")
    (remark,) = remarks(manifest(tmp_path, **KEYS, orientation="apply_to_masks"))
    assert "turned, masks along with them (key orientation)" in remark
    assert remarks(manifest(tmp_path, **KEYS, orientation="ignore")) == []
    scene(tmp_path, 1, LABELS)
    assert remarks(manifest(tmp_path, **KEYS)) == []
