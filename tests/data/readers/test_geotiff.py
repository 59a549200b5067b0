"""Windows of scenes that are written with known grids, against slices of what was written."""

import numpy as np
import pytest
import tifffile
import yaml

from conceptseg.data.labels import IGNORE
from conceptseg.data.manifest import check_files
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from conceptseg.study.__main__ import main as command
from tests.files import manifest

rasterio = pytest.importorskip("rasterio")
from rasterio.transform import from_origin  # noqa: E402

LABELS = {"names": ["ground", "road"], "background": "ground", "ignore": 255}
SCENES = [{"images": "s/{id}.tif", "masks": "m/{id}.tif", "split": "test"}]
KEYS = {"format": "geotiff", "labels": LABELS, "scenes": SCENES, "tile": 16}
RNG = np.random.default_rng(0)


def save(path, bands, east=500_000.0, **profile):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    kind = {"driver": "GTiff", "tiled": True, "blockxsize": 16, "blockysize": 16}
    kind |= {"dtype": bands.dtype, "count": count, "height": height, "width": width}
    kind |= {"crs": "EPSG:32632", "transform": from_origin(east, 6e6, 10.0, 10.0), **profile}
    with rasterio.open(path, "w", **kind) as file:
        file.write(bands)


@pytest.fixture
def scene(tmp_path):
    """A scene of 40 x 56 pixels and its mask, beside a second one."""
    bands = RNG.integers(1, 255, (3, 40, 56), np.uint8)
    mask = RNG.integers(0, 2, (1, 40, 56), np.uint8)
    save(tmp_path / "s/a.tif", bands)
    save(tmp_path / "m/a.tif", mask)
    save(tmp_path / "s/b.tif", bands[:, :16, :16], east=0.0)
    save(tmp_path / "m/b.tif", mask[:, :16, :16], east=0.0)
    return bands, mask[0]


@pytest.mark.parametrize(
    ("keys", "rows", "columns"),
    [
        ({}, (0, 16), (0, 16, 32)),
        ({"edges": "moved"}, (0, 16, 24), (0, 16, 32, 40)),
        ({"stride": 20}, (0, 20), (0, 20, 40)),
        ({"stride": 20, "edges": "moved"}, (0, 20, 24), (0, 20, 40)),
    ],
)
def test_windows_are_slices_of_the_scene(scene, tmp_path, keys, rows, columns):
    bands, mask = scene
    found = manifest(tmp_path, **KEYS, **keys)
    places = [(r, c) for r in rows for c in columns]
    assert [one.id for one in found.samples] == [
        *(f"a_y{r:02d}_x{c:02d}" for r, c in places),
        "b_y00_x00",
    ]
    assert set(found.groups) == {"a", "b"} and check_files(found) == []
    for one, (r, c) in zip(found.samples, places, strict=False):
        image, labels = found.pair(one)
        np.testing.assert_array_equal(
            image, bands[:, r : r + 16, c : c + 16].astype(np.float32) / 255
        )
        np.testing.assert_array_equal(labels, mask[r : r + 16, c : c + 16])
        np.testing.assert_array_equal(found.labels(one), labels)
        assert found.size(one) == (16, 16)


def test_pixels_without_data_are_ignored_and_empty_windows_left_out(scene, tmp_path):
    bands, mask = scene
    bands = bands.copy()
    bands[:, :16, :16] = 0
    bands[:, 20, 20] = 0
    save(tmp_path / "s/a.tif", bands, nodata=0)
    found = manifest(tmp_path, **KEYS, empty="drop")
    assert "a_y00_x00" not in found.ids and "a_y16_x16" in found.ids
    labels = found.labels(found.sample("a_y16_x16"))
    expected = mask[16:32, 16:32].astype(np.int64)
    expected[4, 4] = IGNORE
    np.testing.assert_array_equal(labels, expected)


def test_bands_in_files_of_their_own_are_stacked(scene, tmp_path):
    bands, _ = scene
    for number, band in enumerate(bands):
        save(tmp_path / f"band{number}/a.tif", band[None])
    scenes = [{"images": [f"band{number}/{{id}}.tif" for number in range(3)]}]
    found = manifest(tmp_path, **KEYS | {"scenes": scenes})
    expected = bands[:, 16:32, :16].astype(np.float32) / 255
    np.testing.assert_array_equal(found.image(found.sample("a_y16_x00")), expected)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("size", "lies on another grid .40 x 55 pixels"),
        ("place", "lies on another grid"),
        ("small", "40 x 56 pixels, less than a window of 64"),
        ("text", "damaged, or not what its name says"),
        ("other", "damaged, or not what its name says"),
        ("empty", "no window holds data"),
        ("jpeg", "a JPEG mask"),
    ],
)
def test_scenes_that_cannot_be_cut_are_refused(what, told, scene, tmp_path):
    bands, mask = scene
    keys = {"tile": 64} if what == "small" else {"empty": "drop"} if what == "empty" else {}
    if what == "size":
        save(tmp_path / "m/a.tif", mask[None, :, :55])
    if what == "place":
        save(tmp_path / "m/a.tif", mask[None], east=500_010.0)
    if what == "text":
        (tmp_path / "s/a.tif").write_text("no scene")
    if what == "other":  # a list of further files, which could lie anywhere
        (tmp_path / "s/a.tif").write_text("<VRTDataset rasterXSize='40' rasterYSize='56'/>")
    if what == "empty":
        for name in "ab":
            save(tmp_path / f"s/{name}.tif", np.zeros((3, 16, 16), np.uint8), nodata=0)
            save(tmp_path / f"m/{name}.tif", np.zeros((1, 16, 16), np.uint8))
    if what == "jpeg":
        save(tmp_path / "m/a.tif", mask[None], compress="jpeg")
    with pytest.raises(InputError, match=told):
        found = manifest(tmp_path, **KEYS | keys)
        found.labels(found.samples[0])


def test_a_scene_without_a_place_on_earth_is_one_all_the_same(tmp_path):
    bands = RNG.integers(0, 255, (3, 16, 16), np.uint8)
    (tmp_path / "s").mkdir()
    tifffile.imwrite(tmp_path / "s/a.tif", np.moveaxis(bands, 0, -1), photometric="rgb")
    found = manifest(tmp_path, **KEYS | {"scenes": [{"images": "s/{id}.tif"}]})
    np.testing.assert_array_equal(found.image(found.samples[0]), bands.astype(np.float32) / 255)


def test_what_lies_beside_a_scene_changes_nothing(scene, tmp_path):
    before = manifest(tmp_path, **KEYS)
    image, rows = before.image(before.samples[0]), rows_digest(before)
    band = '<PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
    (tmp_path / "s/a.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    after = manifest(tmp_path, **KEYS)
    np.testing.assert_array_equal(after.image(after.samples[0]), image)
    assert rows_digest(after) == rows
    (tmp_path / "s/a.tif").touch()
    assert rows_digest(manifest(tmp_path, **KEYS)) != rows


@pytest.mark.slow
def test_a_study_says_the_same_of_windows_and_of_their_files(tmp_path, capsys):
    """The scenes of rectangles, four in a square, and each in a file."""
    from tests.strange_models import CLASSES, NETWORKS, paint
    from tests.study.test_engines import content, same
    from tests.study.test_strange import write

    labels = {"names": list(CLASSES), "background": CLASSES[0]}
    tiles = [paint(number) for number in range(20)]
    pixels = [np.pad(image, ((0, 8), (0, 0), (0, 0))) for image, _ in tiles]
    masks = [np.pad(mask, ((0, 8), (0, 0))) for _, mask in tiles]
    for first in range(0, 20, 4):
        for folder, own in (("s", pixels), ("m", masks)):
            a, b, c, d = own[first : first + 4]
            whole = np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)])
            bands = whole[None] if folder == "m" else np.moveaxis(whole, -1, 0)
            save(tmp_path / folder / f"g{first:02d}.tif", bands)
            for place, tile in zip(("y00_x00", "y00_x32", "y32_x00", "y32_x32"), own[first:],
                                   strict=False):  # fmt: skip
                (tmp_path / f"t{folder}").mkdir(exist_ok=True)
                name = tmp_path / f"t{folder}" / f"g{first:02d}_{place}.tif"
                tifffile.imwrite(name, tile.astype(np.uint8))
    windows = {"format": "geotiff", "tile": 32, "scenes": SCENES, "name": "rectangles"}
    files = {"folders": [{"images": "ts/{id}.tif", "masks": "tm/{id}.tif", "split": "test"}]}
    files |= {"group": "(g[0-9]+)_", "name": "rectangles"}
    outs = []
    for number, keys in enumerate((windows, files)):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump({"labels": labels, **keys}))
        scenes = {NETWORKS["plain"].classes: tmp_path / f"{number}.yaml"}
        (tmp_path / f"study{number}").mkdir()
        path = write(tmp_path / f"study{number}", "permutation", "plain", scenes)
        outs.append(tmp_path / f"out{number}")
        assert command(["permutation", "-c", str(path), "--out", str(outs[-1]), "-q"]) == 0
    same(content(outs[0]), content(outs[1]))
