"""Arrays that are written with known values, against slices of what was written."""

import json
import os
import re

import fsspec
import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg.data import places
from conceptseg.data.manifest import check_files
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from tests.files import manifest

zarr = pytest.importorskip("zarr")

LABELS = {"names": ["ground", "cell"], "background": "ground"}
RNG = np.random.default_rng(0)
SHAPE = (2, 3, 2, 24, 40)  # t, c, z, y, x
VALUES = RNG.integers(0, 256, SHAPE, np.uint8)
DRAWN = RNG.integers(0, 2, (2, 1, 2, 24, 40), np.uint8)
AXES = [{"name": one, "type": "space"} for one in "tczyx"]


def save(path, values, kind=3):
    chunks = (*(1,) * (values.ndim - 2), 8, 16)
    made = zarr.create_array(
        store=str(path), shape=values.shape, chunks=chunks, dtype=values.dtype, zarr_format=kind
    )
    made[...] = values


def multiscale(folder, levels, kind):
    """An OME-Zarr image of so many levels, each of every second pixel of the one before."""
    for number, values in enumerate(levels):
        save(folder / str(number), values, kind)
    told = {"axes": AXES, "datasets": [{"path": str(n)} for n in range(len(levels))]}
    if kind == 2:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps({"multiscales": [told]}))
        return
    ome = {"attributes": {"ome": {"version": "0.5", "multiscales": [told]}}}
    own = {"zarr_format": 3, "node_type": "group"}
    (folder / "zarr.json").write_text(json.dumps(own | ome))


@pytest.fixture(params=[2, 3])
def plate(request, tmp_path):
    """An image with its labels, of two resolutions."""
    multiscale(tmp_path / "a.zarr", [VALUES, VALUES[..., ::2, ::2]], request.param)
    multiscale(tmp_path / "a.zarr/labels/cells", [DRAWN, DRAWN[..., ::2, ::2]], request.param)
    return {
        "format": "zarr",
        "labels": LABELS,
        "arrays": [{"image": "a.zarr", "mask": "a.zarr/labels/cells", "split": "test"}],
    }


def as_image(values):
    return values.astype(np.float32) / 255


def test_each_place_on_further_axes_is_a_sample(plate, tmp_path):
    found = manifest(tmp_path, **plate)
    assert list(found.ids) == [f"a_t{t}_z{z}" for t in range(2) for z in range(2)]
    assert set(found.groups) == {"a"} and check_files(found) == []
    for one, (t, z) in zip(found.samples, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        image, labels = found.pair(one)
        np.testing.assert_array_equal(image, as_image(VALUES[t, :, z]))
        np.testing.assert_array_equal(labels, DRAWN[t, 0, z])
        assert found.size(one) == (24, 40)


@pytest.mark.parametrize("stride", [None, 8])
def test_windows_of_a_place_and_a_level(plate, tmp_path, stride):
    keys = {"at": {"t": 1, "z": 0}, "level": 1, "tile": 8, "stride": stride}
    found = manifest(tmp_path, **plate, **{k: v for k, v in keys.items() if v is not None})
    places_ = [(r, c) for r in (0,) for c in (0, 8)]
    assert list(found.ids) == [f"a_y{r:05d}_x{c:05d}" for r, c in places_]
    for one, (r, c) in zip(found.samples, places_, strict=True):
        image, labels = found.pair(one)
        rows, columns = slice(2 * r, 2 * r + 16, 2), slice(2 * c, 2 * c + 16, 2)
        np.testing.assert_array_equal(image, as_image(VALUES[1, :, 0, rows, columns]))
        np.testing.assert_array_equal(labels, DRAWN[1, 0, 0, rows, columns])


@pytest.mark.parametrize(
    ("axes", "values", "expected"),
    [
        (None, VALUES[0, :, 0], VALUES[0, :, 0]),
        ("yxc", np.moveaxis(VALUES[0, :, 0], 0, -1), VALUES[0, :, 0]),
        ("xcy", np.transpose(VALUES[0, :, 0], (2, 0, 1)), VALUES[0, :, 0]),
    ],
)
def test_axes_of_a_plain_array(tmp_path, axes, values, expected):
    save(tmp_path / "b", values)
    keys = {"axes": axes} if axes else {}
    found = manifest(tmp_path, format="zarr", labels=LABELS, arrays=[{"image": "b"}], **keys)
    np.testing.assert_array_equal(found.image(found.samples[0]), as_image(expected))
    assert found.labels(found.samples[0]) is None


def test_stamps_follow_the_files(plate, tmp_path):
    before = rows_digest(manifest(tmp_path, **plate))
    assert rows_digest(manifest(tmp_path, **plate)) == before
    chunk = next(file for file in sorted((tmp_path / "a.zarr/0").rglob("*")) if file.is_file())
    os.utime(chunk, (0, 0))
    assert rows_digest(manifest(tmp_path, **plate)) != before


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"arrays": [{"image": "none"}]}, "no such file"),
        ({"arrays": [{"image": "../a.zarr"}]}, "leaves the root"),
        ({"level": 2}, "level 2, but it has 2"),
        ({"at": {"q": 0}}, "no axis 'q'; its axes are tczyx"),
        ({"at": {"z": 2}}, "z is 2, of 2 places"),
        ({"tile": 64}, "less than a tile of 64"),
        ({"arrays": [{"image": "a.zarr", "mask": "a.zarr/labels/cells/1"}]}, "of the same level"),
        ({"arrays": [{"image": "a.zarr/0/.."}]}, "leaves the root"),
        ({"max_pixels": 100}, "more than max_pixels"),
    ],
)
def test_what_cannot_be_read_is_refused(plate, tmp_path, keys, told):
    with pytest.raises(InputError, match=told):
        manifest(tmp_path, **plate | keys)


def test_no_level_leads_out_of_the_root(plate, tmp_path):
    for head in ("zarr.json", ".zattrs"):
        file = tmp_path / "a.zarr" / head
        if file.is_file():
            text = file.read_text().replace('{"path": "0"}', '{"path": "../../b"}')
            file.write_text(text)
    with pytest.raises(InputError, match="leaves the root"):
        manifest(tmp_path, **plate)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"attributes": 3.5}, "attributes: "),
        ({"attributes": {"ome": "x"}}, "attributes: "),
        ({"attributes": {"ome": {"multiscales": [4]}}}, "attributes.multiscales.0: "),
        ({"multiscales": [{"axes": AXES}]}, "attributes.multiscales.0.datasets: Field required"),
        ({"multiscales": [{"datasets": [{"path": 3}]}]}, "multiscales.0.datasets.0.path: "),
        ({"multiscales": [{"datasets": [{"path": "0"}], "axes": [[]]}]}, "multiscales.0.axes.0"),
    ],
)
def test_descriptions_that_are_none_are_refused_by_the_field(plate, tmp_path, content, told):
    for head in ("zarr.json", ".zattrs"):
        file = tmp_path / "a.zarr" / head
        if file.exists():
            before = json.loads(file.read_text())
            before.pop("attributes", None)
            file.write_text(json.dumps(before | content))
    with pytest.raises(InputError, match=re.escape(told)) as raised:
        manifest(tmp_path, **plate)
    assert "a.zarr" in str(raised.value) and "\n" not in str(raised.value)


def test_another_convention_of_that_name_says_nothing_of_axes(tmp_path):
    save(tmp_path / "scene" / "bands", VALUES[0, :, 0])
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"multiscales": {"layout": []}}}
    (tmp_path / "scene" / "zarr.json").write_text(json.dumps(group))
    found = manifest(tmp_path, format="zarr", labels=LABELS, arrays=[{"image": "scene/bands"}])
    assert found.image(found.samples[0]).shape == (3, 24, 40)


@pytest.mark.parametrize("what", ["pickle", "text", "link"])
def test_arrays_that_may_harm_are_refused(plate, tmp_path, what):
    head = next(p for n in ("zarr.json", ".zarray") if (p := tmp_path / "a.zarr/0" / n).is_file())
    content = json.loads(head.read_text())
    if what == "pickle":
        key = "filters" if "filters" in content else "codecs"
        content[key] = [{"id": "pickle", "name": "numcodecs.pickle", "protocol": 4}]
        head.write_text(json.dumps(content))
    if what == "text":
        head.write_text("[1]")
    if what == "link":
        (tmp_path / "secret").write_text("secret")
        (tmp_path / "a.zarr/0/more").symlink_to(tmp_path / "secret")
    told = {"pickle": "may run code", "text": "damaged", "link": "a link"}[what]
    with pytest.raises(InputError, match=told):
        manifest(tmp_path, **plate)


def test_an_array_in_a_bucket_is_that_of_a_folder(plate, tmp_path, monkeypatch):
    monkeypatch.setenv(places.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(places, "_PLACES", {})
    near, system = manifest(tmp_path, **plate), fsspec.filesystem("memory")
    for file in (tmp_path / "a.zarr").rglob("*"):
        if file.is_file():
            system.pipe_file(f"/tub/{file.relative_to(tmp_path)}", file.read_bytes())
    far = manifest(tmp_path, "far.yaml", root="memory://tub", **plate)
    assert far.ids == near.ids
    for one, other in zip(far.samples, near.samples, strict=True):
        for here, there in zip(near.pair(other), far.pair(one), strict=True):
            np.testing.assert_array_equal(here, there)
    system.store.clear()


@pytest.mark.slow
def test_a_study_says_the_same_of_planes_and_of_their_files(tmp_path):
    from conceptseg.study.__main__ import main as command
    from tests.strange_models import CLASSES, NETWORKS, paint
    from tests.study.test_engines import content, same
    from tests.study.test_strange import write

    scenes = [paint(number) for number in range(20)]
    arrays = []
    for number in range(4):
        own = scenes[5 * number : 5 * number + 5]
        save(tmp_path / f"g{number}", np.stack([image for image, _ in own]))
        save(tmp_path / f"m{number}", np.stack([mask for _, mask in own]).astype(np.uint8))
        arrays.append({"image": f"g{number}", "mask": f"m{number}"})
        for z, (image, mask) in enumerate(own):
            for folder, pixels in (("images", image), ("masks", mask)):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / folder / f"g{number}_z{z}.png")
    labels = {"labels": {"names": list(CLASSES), "background": CLASSES[0]}, "name": "rectangles"}
    kinds = [
        {"format": "zarr", "axes": "zyxc", "arrays": arrays},
        {"folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}]},
    ]
    kinds[1]["group"] = "(g[0-9])_"
    outs = []
    for number, keys in enumerate(kinds):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(labels | keys))
        (tmp_path / f"study{number}").mkdir()
        found = {NETWORKS["plain"].classes: tmp_path / f"{number}.yaml"}
        path = write(tmp_path / f"study{number}", "permutation", "plain", found)
        outs.append(tmp_path / f"out{number}")
        assert command(["permutation", "-c", str(path), "--out", str(outs[-1]), "-q"]) == 0
    same(content(outs[0]), content(outs[1]))
