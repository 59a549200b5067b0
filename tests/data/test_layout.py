"""Folders as people have them, and what is found in them."""

import pytest

from conceptseg.data import layout
from conceptseg.data.layout import grouping, look
from conceptseg.errors import InputError


def lay(root, *files):
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened")
    return look(root)


def patterns(found):
    return [
        (
            one.images.pattern,
            one.masks if one.masks is None else [s.pattern for s in one.drawn],
            one.split,
        )
        for one in found.parts
    ]


@pytest.mark.parametrize(
    "image, mask, expected",
    [
        ("images/{}.png", "masks/{}.png", ("images/{id}.png", ["masks/{id}.png"], None)),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png", None),
        ("{}.jpg", "{}_mask.png", ("{id}.jpg", ["{id}_mask.png"], None)),
        ("{}.tif", "gt_{}.tif", ("{id}.tif", ["gt_{id}.tif"], None)),
        ("raw/{}.png", "annotations/{}-labels.png", None),
        ("images/img_{}.png", "masks/mask_{}.png", None),
        ("training/images/{}_training.tif", "training/1st_manual/{}_manual1.gif", "train"),
        ("leftImg8bit/val/{}_leftImg8bit.png", "gtFine/val/{}_gtFine_labelIds.png", "val"),
        ("data/{}/x.png", "nothing/{}.txt", ("data/a1/{id}.png", None, None)),
    ],
)
def test_images_find_their_masks(tmp_path, image, mask, expected):
    names = ("a1", "b2", "c3") if "{}/x" not in image else ("a1",)
    found = lay(tmp_path, *(p.format(n) for n in names for p in (image, mask)))
    (one,) = patterns(found)
    if not isinstance(expected, tuple):
        expected = (image.format("{id}"), [mask.format("{id}")], expected)
    assert one == expected
    assert len(found.ids) == len(names)


def test_splits_are_folders_called_so(tmp_path):
    files = [
        f"{split}/{kind}/{split}{i}.png"
        for split in ("train", "Validation", "test")
        for kind in ("images", "masks")
        for i in range(2)
    ]
    found = lay(tmp_path, *files)
    assert {one[2] for one in patterns(found)} == {"train", "val", "test"}
    for images, masks, _ in patterns(found):
        assert masks == [images.replace("images", "masks")]


def test_kinds_above_splits(tmp_path):
    files = [
        f"{k}/{s}/{s}_{i}.png" for s in ("train", "val") for k in ("img", "label") for i in "ab"
    ]
    assert patterns(lay(tmp_path, *files)) == [
        ("img/train/{id}.png", ["label/train/{id}.png"], "train"),
        ("img/val/{id}.png", ["label/val/{id}.png"], "val"),
    ]


def test_one_folder_of_masks_for_each_class(tmp_path):
    files = [f"images/{i}.png" for i in "abc"]
    files += [f"masks/{c}/{i}.png" for c in ("road", "water") for i in "abc"]
    (part,) = lay(tmp_path, *files).parts
    assert {name: one.pattern for name, one in part.masks.items()} == {
        "road": "masks/road/{id}.png",
        "water": "masks/water/{id}.png",
    }


@pytest.mark.parametrize(
    "masks, others",
    [
        ("masks", ["masks_color"]),
        ("masks", ["gt_rgb", "labels"]),
        ("SegmentationClass", ["SegmentationObject"]),
        ("SegmentationClass", ["SegmentationClassRaw"]),
        ("manual1", ["mask"]),  # a field of view
    ],
)
def test_copies_of_masks_are_no_classes(tmp_path, masks, others):
    found = lay(tmp_path, *(f"{k}/{i}.png" for k in ("images", masks, *others) for i in "abc"))
    ((_, taken, _),) = patterns(found)
    if masks == "masks" and "labels" in others:
        masks = "labels"  # which comes first
    assert taken == [f"{masks}/{{id}}.png"]
    assert any("not taken" in one for one in found.remarks)


def test_further_masks_of_an_image_are_told(tmp_path):
    files = [f"scan ({i}){end}.png" for i in range(4) for end in ("", "_mask")]
    found = lay(tmp_path, *files, "scan (1)_mask_1.png")
    assert patterns(found) == [("{id}.png", ["{id}_mask.png"], None)]
    assert len(found.ids) == 4
    assert any("{id}_mask_1.png (1 files)" in one for one in found.remarks)


def test_other_words_around_ids_pair_nothing(tmp_path):
    files = [f"images/day_{i}.png" for i in range(3)] + [f"masks/night_{i}.png" for i in range(3)]
    assert patterns(lay(tmp_path, *files)) == [("images/{id}.png", None, None)]


def test_images_without_a_mask_are_counted(tmp_path):
    files = [f"images/{i}.png" for i in "abc"] + ["masks/a.png"]
    assert any("2 of 3 images have no mask" in one for one in lay(tmp_path, *files).remarks)


def test_layouts_that_a_format_knows_are_told(tmp_path):
    found = lay(
        tmp_path, "leftImg8bit/val/a/a_1_leftImg8bit.png", "gtFine/val/a/a_1_gtFine_color.png"
    )
    assert any("format: cityscapes" in one for one in found.remarks)


def test_what_is_drawn_and_is_no_mask_is_left_and_told(tmp_path):
    files = [f"{k}/{i}.png" for k in ("images", "instances", "masks") for i in "abc"]
    found = lay(tmp_path, *files, "masks/lost.png", ".hidden/masks/a.png", "notes.txt")
    assert patterns(found) == [("images/{id}.png", ["masks/{id}.png"], None)]
    assert any("instances/{id}.png" in one for one in found.remarks)


def test_the_same_ids_in_two_splits_keep_what_is_studied(tmp_path):
    files = [
        f"{s}/{k}/{i}.png" for s in ("train", "test") for k in ("images", "masks") for i in "ab"
    ]
    found = lay(tmp_path, *files)
    assert [one.split for one in found.parts] == ["test"]
    assert any("train/images/{id}.png" in one for one in found.remarks)


def test_groups_are_read_from_ids():
    patients = [f"patient{p:02d}_slice{s}" for p in range(8) for s in range(3)]
    pattern, count = grouping(patients)
    assert count == 8 and pattern is not None
    deep = [f"site_A{p}_cam1_{s}" for p in range(7) for s in range(4)]
    assert grouping(deep)[1] == 7
    for none in (
        [f"img_{i}" for i in range(40)],  # one prefix
        [f"fluor_{i:x}" for i in range(40)],  # a prefix without a number is a kind, not a group
        [f"a{i}" for i in range(40)],
        [*patients, "other"],  # not of all
        [f"p{i}_0" for i in range(40)],  # groups of one
    ):
        assert grouping(none) == (None, 0)


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such folder"):
        look(tmp_path / "none")
    with pytest.raises(InputError, match="no image lies in it"):
        look(tmp_path)
    with pytest.raises(InputError, match="look like masks"):
        lay(tmp_path / "a", "masks/1.png")
    monkeypatch.setattr(layout, "MOST_FILES", 2)
    with pytest.raises(InputError, match="more than 2 files"):
        lay(tmp_path / "b", "1.png", "2.png", "3.png")


def test_links_that_lead_elsewhere_are_not_followed(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.png").write_bytes(b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "outside")
    assert lay(tmp_path / "data", "images/a.png").ids == ["a"]
