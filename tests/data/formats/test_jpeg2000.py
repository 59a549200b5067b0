"""What a JPEG 2000 file holds, at any depth; imagecodecs, where installed, is the second reader."""

import numpy as np
import pytest
from PIL import Image, features

from conceptseg.data.images import image_size, read_image, read_mask
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError

pytestmark = pytest.mark.skipif(not features.check("jpg_2000"), reason="Pillow without OpenJPEG")
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("suffix", ["jp2", "j2k"])
@pytest.mark.parametrize("shape", [(32, 40), (32, 40, 3)])
def test_eight_bit(tmp_path, suffix, shape):
    values = RNG.integers(0, 256, shape, np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path)
    bands = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    np.testing.assert_allclose(read_image([path], Rules(len(bands))), bands / 255, atol=1e-6)
    assert image_size([path], Rules(len(bands))) == (32, 40)


def test_sixteen_bit_grey_and_a_declared_range(tmp_path):
    values = RNG.integers(0, 10_000, (32, 40)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.jp2")
    found = read_image([tmp_path / "a.jp2"], Rules(1, range=(0, 10_000)))
    np.testing.assert_allclose(found[0], values / 10_000, atol=1e-6)


@pytest.mark.parametrize("bits", [4, 10, 12])
def test_depths_that_pillow_spreads_are_put_back(tmp_path, bits):
    codecs = pytest.importorskip("imagecodecs")
    values = RNG.integers(0, 2**bits, (32, 40)).astype(np.uint8 if bits < 9 else np.uint16)
    data = codecs.jpeg2k_encode(values, bitspersample=bits, reversible=True)
    (tmp_path / "a.jp2").write_bytes(data)
    found = read_image([tmp_path / "a.jp2"], Rules(1))
    np.testing.assert_allclose(found[0], values / (2**bits - 1), atol=1e-6)


def test_deep_colours(tmp_path):
    codecs = pytest.importorskip("imagecodecs")
    values = RNG.integers(0, 4096, (32, 40, 3)).astype(np.uint16)
    (tmp_path / "a.jp2").write_bytes(
        codecs.jpeg2k_encode(values, bitspersample=12, reversible=True)
    )
    found = read_image([tmp_path / "a.jp2"], Rules(3))
    np.testing.assert_allclose(found, values.transpose(2, 0, 1) / 4095, atol=1e-6)


def test_masks_are_refused(tmp_path):
    Image.fromarray(RNG.integers(0, 3, (32, 40), np.uint8)).save(tmp_path / "a.jp2")
    with pytest.raises(InputError, match="a JPEG 2000 mask"):
        read_mask(tmp_path / "a.jp2")
