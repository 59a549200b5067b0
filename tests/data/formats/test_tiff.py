"""Compressed and georeferenced TIFF; imagecodecs and rasterio write where they are installed."""

import importlib.util
import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from conceptseg.data import hashed
from conceptseg.data.images import image_size, read_image, read_mask
from conceptseg.data.raster import Rules, without_data
from conceptseg.errors import InputError
from tests.files import manifest, png, write

RNG = np.random.default_rng(0)
CODECS = importlib.util.find_spec("imagecodecs") is not None
DEEP = RNG.integers(0, 10_000, (5, 40, 48)).astype(np.uint16)
TAG = 42113


def nodata(value):
    return [(TAG, "s", 0, str(value))]


@pytest.mark.skipif(CODECS, reason="imagecodecs reads it")
@pytest.mark.parametrize("code", [5, 50000, 34887])
def test_a_compression_that_needs_it_names_the_package(tmp_path, code):
    """LZW, ZSTD, LERC: whatever tifffile and Pillow cannot unpack is not called damaged."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="separate")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["Compression"].overwrite(code)
    with pytest.raises(InputError, match=r"pip install 'conceptseg\[imagecodecs\]'"):
        read_image([path], Rules(5))


def packed(values, bits, photometric):
    """An uncompressed grey TIFF of any number of bits a pixel, whose rows begin at whole bytes."""
    height, width = values.shape
    spread = np.right_shift(values[..., None], np.arange(bits)[::-1]) & 1
    data = np.packbits(spread.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1}
    tags |= {278: height, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("photometric", [0, 1])
def test_white_is_the_largest_value_of_a_pixel_s_bits(tmp_path, bits, photometric):
    values = RNG.integers(0, 2**bits, (6, 9)).astype(np.uint16)
    path = write(tmp_path / "a.tif", packed(values, bits, photometric))
    if not CODECS and (bits not in (1, 12) or (bits, photometric) == (12, 0)):
        with pytest.raises(InputError, match=f"of {bits} bit, which .*conceptseg.imagecodecs"):
            read_image([path], Rules(1))
        return
    unit = values / (2**bits - 1)
    np.testing.assert_allclose(
        read_image([path], Rules(1))[0], unit if photometric else 1 - unit, atol=1e-6
    )
    assert np.array_equal(read_mask(path), values)


@pytest.mark.skipif(not CODECS, reason="needs imagecodecs")
@pytest.mark.parametrize("compression", ["lzw", "zstd", "lerc", "zlib", "lzma", "jpeg2000"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_compressions(tmp_path, compression, tile):
    path = tmp_path / "a.tif"
    options = {"photometric": "minisblack", "planarconfig": "separate", "tile": tile}
    tifffile.imwrite(path, DEEP, compression=compression, **options)
    found = read_image([path], Rules(5, range=(0, 10_000)))
    np.testing.assert_allclose(found, DEEP / 10_000, atol=1e-6)


@pytest.mark.parametrize("options", [{"compress": "lzw", "predictor": 2}, {"compress": "zstd"}, {}])
@pytest.mark.parametrize("driver", ["GTiff", "COG"])
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_what_gdal_writes(tmp_path, options, driver):
    rasterio = pytest.importorskip("rasterio")
    pytest.importorskip("imagecodecs")
    size = {"count": 5, "height": 600, "width": 560, "dtype": "uint16", "nodata": 0}
    values = RNG.integers(1, 10_000, (5, 600, 560)).astype(np.uint16)
    values[:, :50] = 0
    keys = {k: v for k, v in options.items() if driver == "GTiff" or k != "predictor"}
    with rasterio.open(tmp_path / "a.tif", "w", driver=driver, **size, **keys) as file:
        file.write(values)
    found = read_image([tmp_path / "a.tif"], Rules(5, range=(0, 10_000)))
    np.testing.assert_allclose(found, values / 10_000, atol=1e-6)


def scene(folder, values, value, mask=None, mask_value=None):
    image, labels = folder / "i/a.tif", folder / "m/a.tif"
    image.parent.mkdir(exist_ok=True)
    labels.parent.mkdir(exist_ok=True)
    tags = {} if value is None else {"extratags": nodata(value)}
    planes = {"planarconfig": "separate"} if len(values) > 1 else {}
    tifffile.imwrite(image, values, photometric="minisblack", **planes, **tags)
    tags = {} if mask_value is None else {"extratags": nodata(mask_value)}
    mask = np.ones(values.shape[1:], np.uint8) if mask is None else mask
    tifffile.imwrite(labels, mask, photometric="minisblack", **tags)
    return {
        "labels": {"names": ["land", "water"]},
        "folders": [{"images": "i/{id}.tif", "masks": "m/{id}.tif"}],
        "channels": len(values),
    }


def test_declared_no_data_is_left_out(tmp_path):
    values = RNG.uniform(0, 1, (3, 6, 8)).astype(np.float32)
    values[0, 2, 3] = values[2, 4, 4] = -9999
    keys = scene(tmp_path, values, -9999)
    whole = manifest(tmp_path, **keys)
    image, labels = whole.pair(whole.samples[0])
    gone = (values == -9999).any(0)
    assert np.array_equal(labels == -1, gone)
    assert np.array_equal(image, np.where(gone, 0, values))
    assert np.array_equal(whole.labels(whole.samples[0]), labels)
    kept = manifest(tmp_path, **keys, nodata="none")
    with pytest.raises(InputError, match=r"from -9999 to .* or set nodata: VALUE"):
        kept.image(kept.samples[0])


def test_a_dark_band_is_data_where_another_band_has_some(tmp_path):
    values = RNG.integers(1, 200, (3, 6, 8)).astype(np.uint8)
    values[:, 0] = 0
    values[0, 1] = 0
    whole = manifest(tmp_path, **scene(tmp_path, values, 0))
    labels = whole.labels(whole.samples[0])
    assert (labels[0] == -1).all() and (labels[1:] == 1).all()
    kept = manifest(tmp_path, **scene(tmp_path, values, 0), nodata="none")
    assert (kept.labels(kept.samples[0]) == 1).all()


def test_no_data_is_turned_with_its_image_and_filled_by_the_lowest(tmp_path):
    values = RNG.uniform(-40, 60, (1, 6, 8)).astype(np.float32)
    values[0, :2, :3] = np.nan
    keys = scene(tmp_path, values, None, mask=np.ones((8, 6), np.uint8))
    tags = [(274, "H", 1, 6)]
    tifffile.imwrite(tmp_path / "i/a.tif", values[0], extratags=tags)
    whole = manifest(tmp_path, **keys, nodata=float("nan"), range=[-50, 70])
    image, labels = whole.pair(whole.samples[0])
    gone = np.isnan(np.rot90(values[0], -1))
    assert np.array_equal(labels == -1, gone)
    assert (image[0][gone] == 0).all() and (image[0][~gone] > 0).all()


def test_the_no_data_of_a_mask_is_ignored_unless_it_is_a_class(tmp_path):
    mask = RNG.choice(np.array([0, 1, 7], np.uint8), (6, 8))
    keys = scene(tmp_path, np.zeros((3, 6, 8), np.uint8), None, mask, 7)
    whole = manifest(tmp_path, **keys)
    assert np.array_equal(whole.labels(whole.samples[0]), np.where(mask == 7, -1, mask.astype(int)))
    keys = scene(tmp_path, np.zeros((3, 6, 8), np.uint8), None, np.minimum(mask, 1), 0)
    whole = manifest(tmp_path, **keys)
    assert np.array_equal(whole.labels(whole.samples[0]), np.minimum(mask, 1))


def test_a_number_counts_in_any_format_and_a_tag_that_is_none_in_none(tmp_path):
    values = RNG.integers(1, 256, (6, 8, 3), np.uint8)
    values[3:, 3:] = 9
    write(tmp_path / "i/a.png", png(values))
    write(tmp_path / "m/a.png", png(np.ones((6, 8), np.uint8)))
    folders = [{"images": "i/{id}.png", "masks": "m/{id}.png"}]
    whole = manifest(tmp_path, labels={"names": ["a", "b"]}, folders=folders, nodata=9)
    image, labels = whole.pair(whole.samples[0])
    assert (labels[3:, 3:] == -1).all() and (image[:, 3:, 3:] == 0).all()
    assert (labels[:3] == 1).all()
    keys = scene(tmp_path, values.transpose(2, 0, 1), "n/a")
    odd = manifest(tmp_path, **keys)
    assert (odd.labels(odd.samples[0]) == 1).all()


def test_without_data_by_type():
    floats = np.array([[[1.5, np.float32(-3.4e38)], [2.0, 2.0]]], np.float32)
    assert without_data(floats, -3.4e38).tolist() == [[True, False]]
    assert without_data(floats, np.nan).tolist() == [[False, False]]
    assert without_data(floats, 2).tolist() == [[False, True]]
    small = np.array([[0, 255]], np.uint8)
    assert without_data(small, 255).tolist() == [[False, True]]
    assert not without_data(small, -9999).any() and not without_data(small, np.nan).any()
    assert without_data(small, None) is None


def test_a_lossy_mask_is_refused(tmp_path):
    codecs = pytest.importorskip("imagecodecs")
    assert codecs
    values = RNG.integers(0, 3, (32, 32), np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", values, compression="jpeg")
    with pytest.raises(InputError, match="a JPEG mask"):
        read_mask(tmp_path / "m.tif")


def test_an_image_is_decoded_once_for_itself_and_for_what_it_lacks(tmp_path, monkeypatch):
    from conceptseg.data import images

    values = np.arange(48, dtype=np.uint8).reshape(1, 6, 8)
    values[0, 4, 4] = 9
    whole = manifest(tmp_path, **scene(tmp_path, values, 9))
    decoded, decode = [], images.decode
    monkeypatch.setattr(
        images,
        "decode",
        lambda path, *a, mask, **k: decoded.append(mask) or decode(path, *a, mask=mask, **k),
    )
    image, labels = whole.pair(whole.samples[0])
    assert sorted(decoded) == [False, True]  # the image, and the mask
    assert np.array_equal(labels == -1, values[0] == 9)
    assert np.array_equal(labels, whole.labels(whole.samples[0]))
    assert np.array_equal(image, whole.image(whole.samples[0]))


OME = """<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="8" SizeY="6"
SizeC="2" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>
<Channel ID="Channel:0:1" SamplesPerPixel="1"/><TiffData FirstC="0" IFD="0" PlaneCount="1">
<UUID FileName="{name}">urn:uuid:{own}</UUID></TiffData><TiffData FirstC="1" IFD="0" PlaneCount="1">
<UUID FileName="{other}">urn:uuid:{its}</UUID></TiffData>
</Pixels></Image></OME>"""


def companions(folder, other):
    """An OME-TIFF, root/a.ome.tif, whose second channel lies in another file."""
    names = {"own": "1" * 8 + "-1-1-1-" + "1" * 12, "its": "2" * 8 + "-2-2-2-" + "2" * 12}
    (folder / "root").mkdir()
    (folder / "outside").mkdir()
    path = folder / "root/a.ome.tif"
    text = OME.format(name=path.name, other=other, **names)
    options = {"metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(path, np.full((6, 8), 100, np.uint8), description=text, **options)
    for place in ("outside", "root"):
        tifffile.imwrite(folder / place / "b.ome.tif", np.full((6, 8), 200, np.uint8), **options)
    return path


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("other", ["../outside/b.ome.tif", "/OUTSIDE/b.ome.tif", "b.ome.tif"])
def test_planes_in_further_files_are_not_read(tmp_path, monkeypatch, other, large):
    """They would come from outside the root, or from a file that nobody hashes."""
    path = companions(tmp_path, other.replace("/OUTSIDE", str(tmp_path / "outside")))
    if large:
        monkeypatch.setattr(hashed, "AT_ONCE", 0)
    monkeypatch.chdir(path.parent)
    for read in (lambda: read_image([path], Rules(2)), lambda: image_size([path], Rules(2))):
        with pytest.raises(InputError, match="names planes in further files, which are not read"):
            read()


def test_planes_in_one_ome_file_are_its_bands(tmp_path):
    values = RNG.integers(0, 255, (2, 6, 8)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata={"axes": "CYX"})
    np.testing.assert_allclose(
        read_image([tmp_path / "a.ome.tif"], Rules(2)), values / 255, atol=1e-6
    )


@pytest.mark.parametrize("second", [(6, 8), (20, 30)])
@pytest.mark.parametrize("read", [lambda path: read_image([path], Rules(1)), read_mask])
def test_several_pictures_in_one_file(tmp_path, second, read):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((6, 8), np.uint8), photometric="minisblack")
        file.write(np.ones(second, np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=r"2 pictures in one file, of \(6, 8\), \(\d+, \d+\)"):
        read(tmp_path / "a.tif")


def test_smaller_copies_of_a_picture_are_passed_over(tmp_path):
    values = RNG.integers(0, 255, (16, 24)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(values, photometric="minisblack", metadata=None)
        file.write(values[::3, ::3], photometric="minisblack", metadata=None, subfiletype=1)
    assert np.array_equal(read_mask(tmp_path / "a.tif"), values)


def test_what_tifffile_says_stays_off_the_screen(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((6, 8), np.uint8), software="some program", metadata=None)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags["Software"].offset
    data = bytearray(path.read_bytes())
    data[place + 2] = 99  # a type of values that there is not
    path.write_bytes(data)
    program = f"""
from pathlib import Path
from conceptseg.data.images import read_mask
print(read_mask(Path({str(path)!r})).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(6, 8)\n", "")


@pytest.mark.skipif(CODECS, reason="imagecodecs reads it")
def test_what_libtiff_says_of_a_damaged_file_stays_off_the_screen(tmp_path, capfd):
    """It writes past Python, onto the process's own error stream."""
    path = tmp_path / "a.tif"
    Image.fromarray(RNG.integers(0, 255, (32, 32)).astype(np.uint8)).save(
        path, compression="tiff_lzw"
    )
    data = path.read_bytes()
    path.write_bytes(data[:200] + bytes([255] * 60) + data[260:])
    with pytest.raises(InputError, match=r"a\.tif: damaged"):
        read_mask(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("large", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize(("pages", "back"), [(1, 0), (3, 1), (150, 120)])
def test_pages_in_a_circle_are_refused(tmp_path, large, pages, back):
    """A chain whose last page names an earlier one as the next: it has no end."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=large) as file:
        for _ in range(pages):
            file.write(np.zeros((4, 4), np.uint8), contiguous=False)
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
        tags = len(file.pages[-1].tags)
    head, each, size = (8, 20, 8) if large else (2, 12, 4)
    data = bytearray(path.read_bytes())
    end = offsets[-1] + head + tags * each
    assert not any(data[end : end + size])
    data[end : end + size] = offsets[back].to_bytes(size, "little")
    path.write_bytes(data)
    for read in (lambda: read_image([path], Rules(1)), lambda: read_mask(path)):
        with pytest.raises(InputError, match=r"a.tif: pages in a circle"):
            read()


def test_more_pages_than_any_picture_has_are_refused(tmp_path, monkeypatch):
    from conceptseg.data.formats import tiff

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 4, 6), np.uint8), photometric="minisblack", metadata=None)
    assert read_image([path], Rules(5)).shape == (5, 4, 6)
    monkeypatch.setattr(tiff, "_MOST_PAGES", 4)
    with pytest.raises(InputError, match="more than 4 pages"):
        read_image([path], Rules(5))


@pytest.mark.parametrize("compression", [None, "tiff_deflate", "tiff_lzw"])
def test_brightness_and_differences_of_colour_are_read_as_colour(tmp_path, compression):
    """However they are packed: those of pure red are no red when they are taken for colours."""
    pixels = np.repeat(RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8), 4, axis=0)
    pixels[:4] = (255, 0, 0)
    path = tmp_path / "a.tif"
    Image.fromarray(pixels).convert("YCbCr").save(path, compression=compression)
    found = read_image([path], Rules(3)) * 255
    assert np.abs(found - np.moveaxis(pixels, 2, 0).astype(float)).max() <= 3
