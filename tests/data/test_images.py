"""Files are written by hand or by numpy; what is read is compared with what was written."""

import io
import sys
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptseg.data.images import image_size, read_image, read_mask
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError
from tests.files import png, png_of, write

RNG = np.random.default_rng(0)


def noise(shape, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def expect(values, whole):
    """The definition: value / largest value of the type, channels first."""
    values = values if values.ndim == 3 else values[..., None]
    return (values.astype(np.float64) / whole).transpose(2, 0, 1)


def close(found, wanted):
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_png(tmp_path, channels, dtype):
    values = noise((5, 7, channels), dtype)
    path = write(tmp_path / "a.png", png(values))
    close(read_image([path], Rules(channels)), expect(values, np.iinfo(dtype).max))
    assert image_size([path], Rules(channels)) == (5, 7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_refused_or_dropped_as_declared(tmp_path, channels, dtype):
    values = noise((5, 7, channels), dtype)
    path = write(tmp_path / "a.png", png(values))
    with pytest.raises(InputError, match=r"a\.png: has an alpha channel; set alpha: drop"):
        read_image([path], Rules(channels - 1))
    dropped = read_image([path], Rules(channels - 1, alpha="drop"))
    close(dropped, expect(values[..., :-1], np.iinfo(dtype).max))
    close(read_image([path], Rules(channels)), expect(values, np.iinfo(dtype).max))


def test_a_grey_file_becomes_three_equal_channels_but_colour_never_grey(tmp_path):
    grey = noise((3, 4))
    found = read_image([write(tmp_path / "g.png", png(grey))], Rules(3))
    close(found, np.repeat(expect(grey, 255), 3, axis=0))
    colour = write(tmp_path / "c.png", png(noise((3, 4, 3))))
    with pytest.raises(InputError, match=r"c\.png: 3 channels, expected 1; set channels: 3"):
        read_image([colour], Rules(1))


def test_palette_images_are_their_colours(tmp_path):
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "p.png")
    found = read_image([tmp_path / "p.png"], Rules(3))
    close(found, expect(np.array([[[10, 20, 30], [40, 50, 60]]]), 255))
    image.save(tmp_path / "t.png", transparency=1)
    with pytest.raises(InputError, match="alpha"):
        read_image([tmp_path / "t.png"], Rules(3))


def test_a_transparent_colour_counts_as_alpha(tmp_path):
    values = noise((3, 4, 3))
    Image.fromarray(values).save(tmp_path / "t.png", transparency=(1, 2, 3))
    with pytest.raises(InputError, match="alpha"):
        read_image([tmp_path / "t.png"], Rules(3))
    close(read_image([tmp_path / "t.png"], Rules(3, alpha="drop")), expect(values, 255))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (3, 8), np.uint8)
    path = write(tmp_path / "a.png", png(values, bits))
    close(read_image([path], Rules(1)), expect(values, 2**bits - 1))
    assert np.array_equal(read_mask(path), values)


def test_jpeg(tmp_path):
    grey = np.full((8, 8, 3), 100, np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.jpg", quality=95)
    found = read_image([tmp_path / "a.jpg"], Rules(3))
    assert found.shape == (3, 8, 8)
    np.testing.assert_allclose(found, 100 / 255, atol=2 / 255)
    with pytest.raises(InputError, match="JPEG mask"):
        read_mask(tmp_path / "a.jpg")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("planes", ["contig", "separate", "pages"])
def test_tiff_bands(tmp_path, channels, dtype, planes):
    values = noise((9, 7, channels), dtype)
    path = tmp_path / "a.tif"
    if planes == "pages" or channels == 1:
        tifffile.imwrite(path, values.transpose(2, 0, 1), photometric="minisblack")
    else:
        stored = values if planes == "contig" else values.transpose(2, 0, 1)
        tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planes)
    close(read_image([path], Rules(channels)), expect(values, np.iinfo(dtype).max))
    assert image_size([path], Rules(channels)) == (9, 7)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "raw"])
def test_tiff_compressions(tmp_path, compression):
    values = noise((6, 5, 3))
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    close(read_image([tmp_path / "a.tif"], Rules(3)), expect(values, 255))
    deep = noise((6, 5), np.uint16)
    Image.fromarray(deep).save(tmp_path / "b.tif", compression=compression)
    close(read_image([tmp_path / "b.tif"], Rules(1)), expect(deep, 65535))
    assert np.array_equal(read_mask(tmp_path / "b.tif"), deep)


def test_tiff_alpha_palette_and_white_is_zero(tmp_path):
    rgba = noise((4, 5, 4))
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(InputError, match="alpha"):
        read_image([tmp_path / "a.tif"], Rules(3))
    close(read_image([tmp_path / "a.tif"], Rules(3, alpha="drop")), expect(rgba[..., :3], 255))
    grey = noise((4, 5))
    tifffile.imwrite(tmp_path / "w.tif", grey, photometric="miniswhite")
    close(read_image([tmp_path / "w.tif"], Rules(1)), expect(255 - grey, 255))
    assert np.array_equal(read_mask(tmp_path / "w.tif"), grey)
    palette = noise((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", grey, photometric="palette", colormap=palette)
    close(read_image([tmp_path / "p.tif"], Rules(3)), palette[:, grey] / 65535)
    assert np.array_equal(read_mask(tmp_path / "p.tif"), grey)


@pytest.mark.parametrize("layout", ["hwc", "chw"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, ">u2"])
def test_npy(tmp_path, layout, dtype):
    kind = np.dtype(dtype)
    values = RNG.random((6, 5, 4)) if kind.kind == "f" else noise((6, 5, 4), kind.newbyteorder("="))
    values = values.astype(kind)
    np.save(tmp_path / "a.npy", values if layout == "hwc" else values.transpose(2, 0, 1))
    whole = 1 if kind.kind == "f" else np.iinfo(kind).max
    close(read_image([tmp_path / "a.npy"], Rules(4)), expect(values, whole))


def test_npy_of_unclear_layout(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 5, 3), np.uint8))
    with pytest.raises(InputError, match=r"may be \[c, h, w\] or \[h, w, c\]"):
        read_image([tmp_path / "a.npy"], Rules(3))
    np.save(tmp_path / "b.npy", np.zeros((2, 5, 6, 3), np.uint8))
    with pytest.raises(InputError, match=r"shape \(2, 5, 6, 3\); expected"):
        read_image([tmp_path / "b.npy"], Rules(3))


@given(
    low=st.floats(-1e4, 1e4),
    span=st.floats(1e-2, 1e4),
    share=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_a_declared_range_is_undone(tmp_path_factory, low, span, share):
    """(value - low) / (high - low), so what was put at a share of the range comes back."""
    path = tmp_path_factory.mktemp("r") / "a.npy"
    wanted = np.array(share).reshape(2, 2)
    np.save(path, low + span * wanted)
    found = read_image([path], Rules(1, range=(low, low + span), clip=True))
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_values_outside_the_range(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[-1000, 400]], np.int16))
    path = tmp_path / "a.npy"
    with pytest.raises(InputError, match="no natural range; give the manifest range:"):
        read_image([path], Rules(1))
    with pytest.raises(InputError, match=r"from -1000 to 400 leave the range \[0, 200\]; widen"):
        read_image([path], Rules(1, range=(0, 200)))
    assert read_image([path], Rules(1, range=(0, 200), clip=True)).tolist() == [[[0.0, 1.0]]]
    assert read_image([path], Rules(1, range=(-1000, 600))).tolist() == [[[0.0, 0.875]]]
    np.save(path, np.array([[0.5, 1.5]]))
    with pytest.raises(InputError, match=r"from 0.5 to 1.5 leave the range \[0, 1\]; give range"):
        read_image([path], Rules(1))
    np.save(path, np.array([[0.5, np.nan]]))
    with pytest.raises(InputError, match="NaN"):
        read_image([path], Rules(1, clip=True))


def test_twelve_bits_in_sixteen(tmp_path):
    values = RNG.integers(0, 4096, (3, 4), np.uint16)
    path = write(tmp_path / "a.png", png(values))
    close(read_image([path], Rules(1, range=(0, 4095))), expect(values, 4095))


def test_files_are_stacked_as_channels(tmp_path):
    values = noise((4, 5, 3))
    paths = [write(tmp_path / f"a_{i}.png", png(values[..., i])) for i in range(3)]
    close(read_image(paths, Rules(3)), expect(values, 255))
    with pytest.raises(InputError, match="one of 3 files of a sample, which cannot make up 4"):
        read_image(paths, Rules(4))
    write(paths[1], png(noise((4, 6))))
    with pytest.raises(InputError, match=r"a_1\.png: 4 x 6 pixels .*a_0\.png.* has 4 x 5"):
        read_image(paths, Rules(3))


def test_masks(tmp_path):
    values = RNG.integers(0, 5, (4, 6), np.uint8)
    image = Image.frombytes("P", (6, 4), values.tobytes())
    image.putpalette([255] * 15)
    image.save(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), values)
    deep = noise((4, 6), np.uint16)
    assert np.array_equal(read_mask(write(tmp_path / "g.png", png(deep))), deep)
    colours = noise((4, 6, 3))
    assert np.array_equal(read_mask(write(tmp_path / "c.png", png(colours))), colours)
    tifffile.imwrite(tmp_path / "t.tif", colours, photometric="rgb")
    assert np.array_equal(read_mask(tmp_path / "t.tif"), colours)
    for stored in (values, values > 2, values.astype(np.int64) - 1):
        np.save(tmp_path / "m.npy", stored)
        assert np.array_equal(read_mask(tmp_path / "m.npy"), stored)
    opaque = np.dstack([colours, np.full((4, 6), 255, np.uint8)])
    assert np.array_equal(read_mask(write(tmp_path / "o.png", png(opaque))), colours)
    opaque[0, 0, 3] = 0
    with pytest.raises(InputError, match="transparent"):
        read_mask(write(tmp_path / "o.png", png(opaque)))


def test_masks_that_are_none(tmp_path):
    np.save(tmp_path / "f.npy", np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"f\.npy: a mask of float64; save it as integers"):
        read_mask(tmp_path / "f.npy")
    with pytest.raises(InputError, match="3 channels of uint16"):
        read_mask(write(tmp_path / "c.png", png(noise((3, 4, 3), np.uint16))))


def bomb(side):
    """A PNG that says it is huge; its data end at once."""
    return png_of(side, side, 8, 0, b"")


def saved(save):
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


WHOLE = png(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
DEEP = png(noise((64, 64, 3), np.uint16))
TIFF = saved(lambda file: tifffile.imwrite(file, noise((20, 20))))
NPY = saved(lambda file: np.save(file, noise((20, 20))))

BAD = {
    "truncated.png": (WHOLE[: len(WHOLE) // 2], "damaged"),
    "truncated16.png": (DEEP[: len(DEEP) // 2], "damaged"),
    "header.png": (WHOLE[:20], "not an image|damaged"),
    "broken.png": (WHOLE[:60] + b"????????" + WHOLE[68:], "damaged"),
    "text.png": (b"this is no image\n", r"not an image \(PNG, .*\), whatever its name says"),
    "empty.png": (b"", "not an image"),
    "gif.png": (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "not an image"),
    "text.jpg": (b"this is no image\n", "not an image"),
    "text.tif": (b"this is no image\n", "not a TIFF image, whatever its name says"),
    "cut.tif": (TIFF[: len(TIFF) // 2], "damaged"),
    "text.npy": (b"this is no image\n", r"not a \.npy file"),
    "cut.npy": (NPY[: len(NPY) // 2], "damaged"),
    "bomb.png": (bomb(12_000), r"12000 x 12000 pixels is more than max_pixels \(25000000\)"),
    "huge.png": (bomb(60_000), "more pixels than Pillow opens"),
    "a.bmp": (b"BM", "not an image|damaged"),
    "text.gif": (b"GIF89a", "not an image|damaged"),
    "text.webp": (b"RIFF\0\0\0\0WEBP", "not an image|damaged"),
    "text.jp2": (b"this is no image\n", "not a JPEG 2000 image"),
    "cut.j2k": (b"\xff\x4f\xff\x51\0\x29", "damaged"),
    "text.pgm": (b"this is no image\n", "not a PBM, PGM or PPM image"),
    "cut.pgm": (b"P5 20 20 255\n1234", "damaged"),
    "bomb.pgm": (b"P5 20000 20000 255\n1234", "more than max_pixels"),
    "a.psd": (b"", r"\.psd is not read; use \.png"),
    "a": (b"", "no suffix is not read"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("read", [lambda path: read_image([path], Rules(1)), read_mask])
def test_bad_files(tmp_path, name, read):
    data, says = BAD[name]
    path = write(tmp_path / name, data)
    with pytest.raises(InputError, match=says) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_image_and_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: no such file; is the root right"):
        read_image([tmp_path / "a.png"], Rules(1))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(InputError, match=r"b\.png: a folder"):
        read_image([tmp_path / "b.png"], Rules(1))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_the_limit_on_pixels_can_be_set(tmp_path, name):
    values = noise((10, 12))
    save = {
        "a.png": lambda path: write(path, png(values)),
        "a.tif": lambda path: tifffile.imwrite(path, values),
        "a.npy": lambda path: np.save(path, values),
    }
    save[name](tmp_path / name)
    with pytest.raises(InputError, match=r"10 x 12 pixels is more than max_pixels \(119\)"):
        read_image([tmp_path / name], Rules(1, max_pixels=119))
    assert read_image([tmp_path / name], Rules(1, max_pixels=120)).shape == (1, 10, 12)


def test_pickled_arrays_are_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return sys.exit, (7,)

    np.save(tmp_path / "a.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: damaged"):
        read_image([tmp_path / "a.npy"], Rules(1))


@given(cut=st.integers(0, 63), flips=st.lists(st.integers(0, 2**30), max_size=4))
@settings(max_examples=60, deadline=None)
def test_whatever_is_in_a_file_is_read_or_refused(tmp_path_factory, cut, flips):
    folder = tmp_path_factory.mktemp("f")
    for name, whole in {"a.png": WHOLE, "a.tif": TIFF, "a.npy": NPY}.items():
        data = bytearray(whole[: len(whole) * (64 - cut) // 64])
        for flip in flips:
            if data:
                data[flip % len(data)] ^= 1 << flip % 8
        path = write(folder / name, bytes(data))
        try:
            found = read_image([path], Rules(1, range=(0, 65535), clip=True, max_pixels=10_000))
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert found.min() >= 0 and found.max() <= 1


def peak(read):
    """Bytes that a call takes at most, beyond what it returns and what was there before."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("rules", [{}, {"range": (0, 255)}, {"range": (0, 200), "clip": True}])
def test_the_memory_that_an_image_takes(tmp_path, name, rules):
    """A small file of many pixels: what is made of each is bounded, and so is their number."""
    side = 1500
    path = tmp_path / name
    if name == "a.png":
        write(path, png(np.zeros((side, side, 3), np.uint8)))
    else:
        tifffile.imwrite(path, np.zeros((side, side, 3), np.uint8), compression="zlib")
    held = peak(lambda: read_image([path], Rules(3, **rules)))
    # Three bytes as stored, twelve as floats, and some of one channel at double precision.
    assert held < 46 * side**2
    assert 46 * Rules().max_pixels < 1.2e9


def test_a_tiff_of_many_pixels_is_refused_unread(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5001, 5001), np.uint8), compression="zlib")
    assert path.stat().st_size < 200_000
    for read in (lambda: read_image([path], Rules(1)), lambda: read_mask(path)):
        with pytest.raises(InputError, match=r"5001 x 5001 pixels is more than max_pixels"):
            assert peak(read) < 2**24


@pytest.mark.parametrize("shape", [(5001, 5001, 1), (3, 4000, 4000, 4)])
def test_an_array_that_only_announces_its_numbers(tmp_path, shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    write(tmp_path / "a.npy", b"\x93NUMPY\x01\0v\0" + text.encode())
    with pytest.raises(InputError, match="more than max_pixels|expected|damaged"):
        read_image([tmp_path / "a.npy"], Rules(1))
