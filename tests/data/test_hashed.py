"""Every format is hashed as it is decoded, and what changes meanwhile is noticed."""

import hashlib
import os
import threading

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import hashed
from conceptseg.data.hashed import gathered, opened, unchanged
from conceptseg.data.images import image_size, read_image, read_mask
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError
from tests.data.readers.test_dicom import save as save_dicom
from tests.files import png, write

GREY = np.random.default_rng(0).integers(0, 255, (7, 9), np.uint8)


def by_pillow(path):
    Image.fromarray(GREY).save(path)


def deep(path):
    write(path, png(np.stack([GREY] * 3, 2).astype(np.uint16) * 257))


def tiff(path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, GREY)


def packed(path):
    Image.fromarray(GREY).save(path, compression="tiff_lzw")


def dicom(path):
    pytest.importorskip("pydicom")
    save_dicom(path, GREY)


FILES = {
    "a.png": by_pillow,
    "deep.png": deep,
    "a.jpg": by_pillow,
    "a.gif": by_pillow,
    "a.bmp": by_pillow,
    "a.webp": lambda path: Image.fromarray(GREY).convert("RGB").save(path, lossless=True),
    "a.jp2": by_pillow,
    "a.pgm": by_pillow,
    "a.tif": tiff,
    "packed.tif": packed,
    "a.npy": lambda path: np.save(path, GREY),
    "columns.npy": lambda path: np.save(path, np.asfortranarray(GREY)),
    "a.dcm": dicom,
}


@pytest.fixture(params=FILES)
def file(request, tmp_path):
    FILES[request.param](tmp_path / request.param)
    return tmp_path / request.param


@pytest.mark.parametrize("large", [False, True])
def test_what_is_decoded_is_hashed(file, large, monkeypatch):
    rules = Rules(3)  # grey is repeated
    plain = read_image([file], rules)
    assert image_size([file], rules) == (7, 9)
    if large:
        monkeypatch.setattr(hashed, "AT_ONCE", 0)
    with gathered() as files:
        image = read_image([file], rules)
    assert np.array_equal(image, plain)
    assert files == {file: hashlib.sha256(file.read_bytes()).digest()}
    if file.suffix not in (".jpg", ".jp2") and file.name != "deep.png":
        with gathered() as files:
            mask = read_mask(file)
        assert np.array_equal(mask if mask.ndim == 2 else mask[..., 0], GREY)
        assert list(files) == [file]


def rewrite(path, data):
    """Other bytes behind the same size and time of modification."""
    about = path.stat()
    assert len(data) == about.st_size
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_mtime_ns == about.st_mtime_ns


def test_a_small_file_is_decoded_from_the_bytes_that_were_hashed(tmp_path):
    path = write(tmp_path / "a", b"one")
    with gathered() as files, opened(path) as file:
        rewrite(path, b"two")
        assert file.read() == b"one"
    assert files == {path: hashlib.sha256(b"one").digest()}


@pytest.mark.parametrize("replaced", [False, True])
def test_a_large_file_that_changes_while_it_is_decoded(tmp_path, monkeypatch, replaced):
    monkeypatch.setattr(hashed, "AT_ONCE", 2)
    path = write(tmp_path / "a", b"one")
    with (
        pytest.raises(InputError, match="a: holds other bytes .* start again with --fresh"),
        gathered(),
        opened(path) as file,
    ):
        assert file.read() == b"one"
        if replaced:
            about = path.stat()
            os.replace(write(tmp_path / "b", b"two"), path)
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        else:
            rewrite(path, b"two")


def test_one_file_that_is_read_twice_for_a_sample(tmp_path):
    path = write(tmp_path / "a", b"one")
    with gathered() as files:
        for _ in range(2):
            with opened(path):
                pass
        rewrite(path, b"two")
        with pytest.raises(InputError, match="holds other bytes"), opened(path):
            pass
    assert len(files) == 1


def test_a_file_of_many_samples_is_hashed_once_by_any_number_of_threads(tmp_path, monkeypatch):
    calls = []
    plain = hashlib.file_digest
    monkeypatch.setattr(hashed.hashlib, "file_digest", lambda *a: calls.append(a) or plain(*a))
    path = write(tmp_path / "a", b"one")

    def read():
        with gathered() as files, unchanged(path):
            pass
        assert files[path] == hashlib.sha256(path.read_bytes()).digest()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(calls) == 1
    rewrite(path, b"two")
    read()
    assert len(calls) == 2


def test_nothing_is_hashed_where_nobody_asks(tmp_path, monkeypatch):
    monkeypatch.setattr(hashed, "hashlib", None)
    path = write(tmp_path / "a", b"one")
    with opened(path) as file, unchanged(path):
        assert file.read() == b"one"
