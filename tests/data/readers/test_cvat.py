import numpy as np
import pytest

from conceptseg.data.manifest import check_files
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from tests.data.readers.shapes import BIG, SMALL, H, W, corners, pictures, region
from tests.files import manifest, write

KEYS = {"format": "cvat", "classes": ["cell", "core"]}


def polygon(label, box, order=0):
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(box))
    return f'<polygon label="{label}" points="{points}" z_order="{order}" occluded="0"/>'


def mask(label, inside, order=0):
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    cut = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    runs, value = [0], False
    for pixel in cut.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    height, width = cut.shape
    return (
        f'<mask label="{label}" rle="{", ".join(map(str, runs))}" top="{rows[0]}" '
        f'left="{columns[0]}" height="{height}" width="{width}" z_order="{order}"/>'
    )


def export(folder, *shapes, name="sub/a.png", size=(H, W)):
    text = f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta/>' \
        f'<image id="0" name="{name}" width="{size[1]}" height="{size[0]}" subset="train">' \
        f'<tag label="fine"/>{"".join(shapes)}</image></annotations>'  # fmt: skip
    write(folder / "annotations.xml", text)


def test_polygons_and_masks_by_z_order(tmp_path):
    pictures(tmp_path, "images/sub/a.png")
    ring = region(BIG) & ~region(SMALL)
    export(tmp_path, polygon("core", SMALL, order=1), mask("cell", ring, order=2))
    whole = manifest(tmp_path, **KEYS)
    wanted = np.where(ring, 1, np.where(region(SMALL), 2, 0))
    assert np.array_equal(whole.labels(whole.samples[0]), wanted)
    assert whole.splits == ("train",) and check_files(whole) == []
    export(tmp_path, polygon("core", SMALL, order=1), polygon("cell", BIG, order=0))
    below = manifest(tmp_path, **KEYS)
    assert np.array_equal(below.labels(below.samples[0]) == 2, region(SMALL))
    export(tmp_path, polygon("core", SMALL), polygon("cell", BIG))
    last = manifest(tmp_path, **KEYS)
    assert np.array_equal(last.labels(last.samples[0]) == 1, region(BIG))
    assert len({rows_digest(whole), rows_digest(below), rows_digest(last)}) == 3


def test_names_that_are_not_listed(tmp_path):
    pictures(tmp_path, "images/sub/a.png")
    export(tmp_path, polygon("cell", BIG), polygon("cor", SMALL))
    with pytest.raises(InputError, match="image 0: no class 'cor' .*did you mean 'core'"):
        manifest(tmp_path, **KEYS)
    for unlisted, value in {"ignore": -1, "background": 1}.items():
        whole = manifest(tmp_path, **KEYS, unlisted=unlisted)
        assert (whole.labels(whole.samples[0])[region(SMALL)] == value).all()


BAD = {
    '<box label="cell" xtl="0" ytl="0" xbr="2" ybr="2"/>': "a box outlines nothing",
    '<polygon label="cell" points="1,1;2,2"/>': "three or more points",
    '<polygon label="cell" points="1,1;2,x;3,3"/>': "pairs of numbers",
    '<mask label="cell" rle="1,2" top="0" left="0" height="3" width="3"/>': "do not fill its box",
    f'<mask label="cell" rle="{"9" * 5000}" top="0" left="0" height="3" width="3"/>': "do not fill",
    '<mask label="cell" rle="9" top="11" left="0" height="3" width="3"/>': "do not fill its box",
    '<blob label="cell"/>': "a shape 'blob'",
}


@pytest.mark.parametrize("shape", BAD)
def test_bad_shapes(tmp_path, shape):
    pictures(tmp_path, "images/sub/a.png")
    export(tmp_path, shape)
    with pytest.raises(InputError, match=BAD[shape]):
        manifest(tmp_path, **KEYS)


BAD_FILES = {
    "<annotations": "not XML",
    "<other/>": "not an export of the kind",
    "<annotations><track/></annotations>": "not an export of the kind",
    '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>': "a document type or entities",
    "<annotations/>": "the data set is empty",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_bad_files(tmp_path, text):
    write(tmp_path / "annotations.xml", text)
    with pytest.raises(InputError, match=BAD_FILES[text]):
        manifest(tmp_path, **KEYS)


def test_a_name_that_leaves_the_root_and_another_size(tmp_path):
    export(tmp_path, name="../../a.png")
    with pytest.raises(InputError, match="leaves the root"):
        manifest(tmp_path, **KEYS)
    pictures(tmp_path, "images/sub/a.png")
    export(tmp_path, polygon("cell", BIG), size=(H + 1, W))
    (problem,) = check_files(manifest(tmp_path, **KEYS))
    assert "the mask is 13 x 20 pixels" in problem
