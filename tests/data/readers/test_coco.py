import builtins
import json
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.data.manifest import check_files, load_manifest
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from tests.files import manifest, png, write

pytest.importorskip("pycocotools")
from pycocotools import mask as rasteriser  # noqa: E402

from conceptseg.data.readers.coco import draw  # noqa: E402

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 9, "name": "car"}]
HEIGHT, WIDTH = 6, 8


def square(y0, x0, y1, x1):
    """The polygon around the pixels [y0, y1) x [x0, x1)."""
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def note(number, category, outline, area=1, crowd=0, image=1):
    return {
        "id": number, "image_id": image, "category_id": category, "segmentation": outline,
        "area": area, "iscrowd": crowd,
    }  # fmt: skip


def dataset(folder, annotations, images=None, **keys):
    images = images or [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}]
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    write(folder / "instances.json", json.dumps(content))
    write(folder / "images/a.png", png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    part = {"annotations": "instances.json", "images": "images", "split": "val"}
    return manifest(folder, format="coco", parts=[part], **keys)


def test_objects_are_painted_from_large_to_small(tmp_path):
    notes = [
        note(1, 7, square(1, 1, 3, 3), area=4),
        note(2, 3, square(0, 0, 5, 5), area=25),
        note(3, 9, {"counts": [40, 8], "size": [HEIGHT, WIDTH]}, area=8),
    ]
    found = dataset(tmp_path, notes)
    assert found.classes == ("background", "cat", "dog", "car")
    wanted = np.zeros((HEIGHT, WIDTH), int)
    wanted[0:5, 0:5] = 1
    wanted[1:3, 1:3] = 2
    wanted.T.reshape(-1)[40:] = 0
    columns = wanted.T.copy().reshape(-1)
    columns[40:] = 3
    wanted = columns.reshape(WIDTH, HEIGHT).T
    assert np.array_equal(found.labels(found.samples[0]), wanted)
    assert check_files(found) == []
    sample = found.samples[0]
    assert (sample.id, sample.split, found.labelled(sample)) == ("a", "val", True)


def test_objects_behind_others_are_whole_where_classes_are_seen_alone(tmp_path):
    notes = [
        note(1, 7, square(1, 1, 3, 3), area=4),
        note(2, 3, square(0, 0, 5, 5), area=25),
        note(3, 9, square(4, 4, 6, 8), area=1, crowd=1),
    ]
    found = dataset(tmp_path, notes)
    behind = np.zeros((HEIGHT, WIDTH), int)
    behind[4:6, 4:8] = -1  # what is ignored is so for every class, but where an object lies on it
    for name, box, index in (("cat", np.s_[0:5, 0:5], 1), ("dog", np.s_[1:3, 1:3], 2)):
        wanted = behind.copy()
        wanted[box] = index
        alone = found.alone([name])
        assert np.array_equal(alone.labels(alone.samples[0]), wanted)


def test_categories_crowds_and_others(tmp_path):
    notes = [
        note(1, 7, square(0, 0, 2, 2), area=4),
        note(2, 9, square(4, 4, 6, 6), area=4),
        note(3, 3, {"counts": [0, 48], "size": [HEIGHT, WIDTH]}, area=1, crowd=1),
    ]
    found = dataset(tmp_path, notes, categories=["dog", "cat"])
    labels = found.labels(found.samples[0])
    assert found.classes == ("background", "dog", "cat")
    assert (labels[0, 0], labels[5, 7], labels[5, 5]) == (1, -1, -1)
    painted = dataset(tmp_path, notes, categories=["dog", "cat"], crowd="paint", unlisted="ignore")
    labels = painted.labels(painted.samples[0])
    assert (labels[0, 0], labels[5, 7], labels[5, 5]) == (1, 2, -1)


@given(runs=st.lists(st.integers(0, 9), min_size=1, max_size=20))
@settings(deadline=None)
def test_run_lengths_against_pycocotools(runs):
    runs = [*runs, 10 - sum(runs) % 10]
    height, width = 2, sum(runs) // 2
    whole = {"counts": runs, "size": [height, width]}
    packed = rasteriser.frPyObjects(whole, height, width)
    wanted = rasteriser.decode(packed).astype(bool)
    assert np.array_equal(draw(whole, height, width, "x"), wanted)
    text = {"counts": packed["counts"].decode(), "size": [height, width]}
    assert np.array_equal(draw(text, height, width, "x"), wanted)


@pytest.mark.parametrize(
    "outline",
    [
        {"counts": [1, 2, 3], "size": [HEIGHT, WIDTH]},
        {"counts": [-1, 49], "size": [HEIGHT, WIDTH]},
        {"counts": "0" * 50, "size": [HEIGHT, WIDTH]},
        {"counts": "\x7f\x7f", "size": [HEIGHT, WIDTH]},
        {"counts": "o" * 3, "size": [HEIGHT, WIDTH]},
        {"counts": "o" * 90, "size": [HEIGHT, WIDTH]},
        {"counts": [48], "size": [WIDTH, HEIGHT]},
        {"counts": None, "size": [HEIGHT, WIDTH]},
        [[0, 0, 1, 1]],
        [[0, 0, 1, 1, 2]],
        [[0, 0, 1, 1, 2, 1e30]],
        [[0, 0, 1, 1, 2, float("nan")]],
        [[0, 0, 1, 1, 2, "3"]],
        ["abcdef"],
        "abc",
        None,
    ],
)
def test_outlines_that_do_not_fit(tmp_path, outline):
    found = dataset(tmp_path, [note(5, 7, outline)])
    (problem,) = check_files(found)
    assert "instances.json: annotation 5: " in problem
    assert "\n" not in problem


IMAGE = {"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}

BAD = {
    "category": ([note(1, 4, [])], None, {}, "annotation 1: category_id 4 is not in the file"),
    "image": ([note(1, 7, [], image="x")], None, {}, "annotation 1: image_id is 'x'; expected int"),
    "area": ([note(1, 7, [], area="x")], None, {}, "annotation 1: area is 'x'"),
    "name": ([], [IMAGE | {"file_name": None}], {}, "image 1: file_name is None; expected str"),
    "climbs": ([], [IMAGE | {"file_name": "../a.png"}], {}, "leaves the root"),
    "bomb": ([], [IMAGE | {"height": 10**6, "width": 10**6}], {}, "max_pixels is 25000000"),
    "same": ([], [IMAGE, IMAGE | {"id": 2}], {}, "two samples have the id 'a'"),
    "one id": ([], [IMAGE, IMAGE | {"file_name": "b.png"}], {}, "image 1: two images have this id"),
    "unhashable": (
        [note(1, [7], [])],
        None,
        {},
        r"annotation 1: category_id is \[7\]; expected int",
    ),
    "mapping": ([note(1, {}, [])], None, {}, "annotation 1: category_id is {}; expected int"),
    "endless": ([note(1, 7, [], area=10**400)], None, {}, "annotation 1: area is 10+"),
    "chosen": ([], None, {"categories": ["dgo"]}, "no category 'dgo'; did you mean 'dog'"),
    "twice": ([], None, {"background": "dog"}, "the class 'dog' is there twice"),
    "key": ([], None, {"crowds": "paint"}, "unknown key 'crowds'; did you mean 'crowd'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_annotations(tmp_path, name):
    notes, images, keys, says = BAD[name]
    with pytest.raises(InputError, match=says):
        dataset(tmp_path, notes, images, **keys)


def test_files_that_are_none(tmp_path):
    dataset(tmp_path, [])
    write(tmp_path / "instances.json", "{")
    with pytest.raises(InputError, match=r"instances\.json: not JSON"):
        load_manifest(tmp_path / "m.yaml")
    write(tmp_path / "instances.json", '{"images": []}')
    with pytest.raises(InputError, match="no list 'annotations'; expected COCO's instances"):
        load_manifest(tmp_path / "m.yaml")
    write(tmp_path / "instances.json", '{"images": [], "annotations": [], "images": []}')
    with pytest.raises(InputError, match=r"json: not JSON \(the key 'images' is given twice"):
        load_manifest(tmp_path / "m.yaml")
    (tmp_path / "instances.json").unlink()
    with pytest.raises(InputError, match=r"instances\.json: no such file"):
        load_manifest(tmp_path / "m.yaml")


def test_without_pycocotools(tmp_path, monkeypatch):
    dataset(tmp_path, [])
    original = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("pycocotools"):
            raise ModuleNotFoundError("none", name="pycocotools")
        return original(name, *rest)

    monkeypatch.delitem(sys.modules, "conceptseg.data.readers.coco")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"needs the package pycocotools; .*conceptseg\[coco\]"):
        load_manifest(tmp_path / "m.yaml")


def test_the_rows_cover_the_annotations_wherever_they_lie(tmp_path):
    first = rows_digest(dataset(tmp_path, [note(1, 7, square(0, 0, 2, 2))]))
    assert rows_digest(load_manifest(tmp_path / "m.yaml")) == first
    shutil.copytree(tmp_path, tmp_path / "moved")
    assert rows_digest(load_manifest(tmp_path / "moved/m.yaml")) == first
    file = tmp_path / "instances.json"
    file.write_text(file.read_text().replace("2, 2", "2, 3"))
    assert rows_digest(load_manifest(tmp_path / "m.yaml")) != first


UNFIT = {
    "two of one id": ([{"id": 7, "name": "dog"}, {"id": 7, "name": "cat"}], "both have the id 7"),
    "turning": ([{"id": 7, "name": "dog\u202e"}], "holds characters that do not print"),
    "empty": ([{"id": 7, "name": " "}], "a class name is empty"),
    "half": ([{"id": 7, "name": "\ud800"}], "holds characters that do not print"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_categories_that_no_class_can_be(tmp_path, name):
    categories, says = UNFIT[name]
    dataset(tmp_path, [])
    content = json.loads((tmp_path / "instances.json").read_text()) | {"categories": categories}
    write(tmp_path / "instances.json", json.dumps(content))
    with pytest.raises(InputError, match=says):
        load_manifest(tmp_path / "m.yaml")
