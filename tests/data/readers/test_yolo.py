import numpy as np
import pytest

from conceptseg.data.manifest import check_files
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from tests.data.readers.shapes import BIG, SMALL, H, W, corners, pictures, region
from tests.files import manifest, write

PARTS = [{"images": "images/val", "labels": "labels/val", "split": "val"}]
KEYS = {"format": "yolo", "classes": ["cell", "core"], "parts": PARTS}


def line(index, box):
    return " ".join([str(index), *(f"{x / W:.6f} {y / H:.6f}" for x, y in corners(box))])


def test_polygons_small_over_large_and_images_of_nothing(tmp_path):
    pictures(tmp_path, "images/val/a.png", "images/val/b.png")
    write(tmp_path / "labels/val/a.txt", f"{line(1, SMALL)}\n\n{line(0, BIG)}\n")
    whole = manifest(tmp_path, **KEYS)
    assert whole.classes == ("background", "cell", "core") and whole.splits == ("val",)
    wanted = np.where(region(SMALL), 2, np.where(region(BIG), 1, 0))
    assert np.array_equal(whole.labels(whole.sample("a")), wanted)
    assert not whole.labels(whole.sample("b")).any() and whole.labelled(whole.sample("b"))
    assert check_files(whole) == []
    before = rows_digest(whole)
    write(tmp_path / "labels/val/a.txt", line(0, BIG))
    assert rows_digest(manifest(tmp_path, **KEYS)) != before


def test_polygons_below_others_are_whole_where_classes_are_seen_alone(tmp_path):
    pictures(tmp_path, "images/val/a.png")
    write(tmp_path / "labels/val/a.txt", f"{line(1, SMALL)}\n{line(0, BIG)}\n")
    whole = manifest(tmp_path, **KEYS)
    for name, box, index in (("cell", BIG, 1), ("core", SMALL, 2)):
        alone = whole.alone([name])
        assert np.array_equal(alone.labels(alone.samples[0]), np.where(region(box), index, 0))


BAD = {
    "2 0 0 1 0 1 1": "line 1: class 2, but classes are 0 to 1",
    "0 0.5 0.5 0.2 0.2": "a box outlines nothing; set boxes: skip",
    "0 0 0 1 0 1 1 1": "7 numbers are no pairs",
    "0 0 0 9 0 9 9": "shares of the image, 0 to 1",
    "0 0 0 x 0 1 1": "not numbers",
    "0 0 0": "three or more points",
    "1" * 5000 + " 0 0 1 0 1 1": "line 1: class 11111111111111111111, but",
    "0 nan 0 1 0 1 1": "shares of the image",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_lines(tmp_path, text):
    pictures(tmp_path, "images/val/a.png")
    write(tmp_path / "labels/val/a.txt", text)
    (problem,) = check_files(manifest(tmp_path, **KEYS))
    assert BAD[text] in problem and "labels/val/a.txt" in problem


def test_boxes_can_be_skipped_and_a_folder_without_labels_not(tmp_path):
    pictures(tmp_path, "images/val/a.png")
    with pytest.raises(InputError, match="none of 1 images of 'images/val' has a text file"):
        manifest(tmp_path, **KEYS)
    write(tmp_path / "labels/val/a.txt", "0 0.5 0.5 0.2 0.2\n" + line(1, BIG))
    whole = manifest(tmp_path, **KEYS, boxes="skip")
    assert np.array_equal(whole.labels(whole.samples[0]) == 2, region(BIG))
