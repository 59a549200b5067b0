"""Files are written by hand from the formats' manual pages."""

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.images import image_size, read_image, read_mask
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError
from tests.files import write

RNG = np.random.default_rng(0)


def netpbm(kind, values, most):
    height, width = values.shape[:2]
    head = f"P{kind}\n# drawn by hand\n{width} {height}\n".encode()
    head += b"" if kind in (1, 4) else f"{most}\n".encode()
    if kind == 1:
        return head + b"\n".join(b"".join(b"%d" % v for v in row) for row in values)
    if kind < 4:
        return head + b" ".join(b"%d" % v for v in values.ravel())
    if kind == 4:
        return head + np.packbits(values, axis=1).tobytes()
    return head + values.astype(">u2" if most > 255 else np.uint8).tobytes()


CASES = [(1, 1), (4, 1), (2, 3), (5, 3), (2, 255), (5, 255), (5, 4095), (5, 65535)]
CASES += [(3, 255), (6, 255), (6, 4095), (3, 1000)]


@pytest.mark.parametrize(("kind", "most"), CASES)
def test_values_are_those_of_the_file(tmp_path, kind, most):
    coloured = kind in (3, 6)
    values = RNG.integers(0, most + 1, (5, 11, 3) if coloured else (5, 11))
    path = write(tmp_path / "a.ppm", netpbm(kind, values, most))
    bands = values.transpose(2, 0, 1) if coloured else values[None]
    wanted = 1 - bands if kind in (1, 4) else bands / most
    found = read_image([path], Rules(len(bands)))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert image_size([path], Rules(len(bands))) == (5, 11)
    if not coloured or most == 255:
        assert np.array_equal(read_mask(path), values)
    if most > 255:
        half = read_image([path], Rules(len(bands), range=(0, most / 2), clip=True))
        np.testing.assert_allclose(half, np.minimum(bands / (most / 2), 1), atol=1e-6)


def test_what_pillow_writes(tmp_path):
    values = RNG.integers(0, 256, (4, 7, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.ppm")
    assert np.array_equal(read_mask(tmp_path / "a.ppm"), values)


@pytest.mark.parametrize(
    "data",
    [b"P5 2 2 0\n1234", b"P5 2 2 70000\n1234", b"P2 2 1 9\n3 10", b"P2 2 1 9\n3 x", b"P4 9 9 \1"],
)
def test_damaged(tmp_path, data):
    with pytest.raises(InputError, match="damaged"):
        read_mask(write(tmp_path / "a.pgm", data))
