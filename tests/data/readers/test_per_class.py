"""One mask file for each class: drawn by hand, composed as the keys say."""

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.manifest import check_files, load_manifest
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from tests.files import manifest, png, write

NAMES = {"names": ["rest", "nerve", "vein"], "background": "rest"}
NERVE = np.zeros((6, 8), bool)
NERVE[1:3, 1:5] = True
VEIN = np.zeros((6, 8), bool)
VEIN[4:, 2:] = True
FOLDERS = [{"images": "i/{id}.png", "masks": {"nerve": "n/{id}_n.png", "vein": "v/{id}.png"}}]


def scenes(folder, white=255, nerve=NERVE, vein=VEIN, names=("a", "b")):
    for name in names:
        write(folder / f"i/{name}.png", png(np.zeros((6, 8, 3), np.uint8)))
        write(folder / f"n/{name}_n.png", png(np.uint8(nerve) * np.uint8(white)))
        write(folder / f"v/{name}.png", png(np.uint8(vein)))


def wanted():
    return np.where(VEIN, 2, np.where(NERVE, 1, 0))


def test_in_folders(tmp_path):
    scenes(tmp_path)
    whole = manifest(tmp_path, labels=NAMES, folders=FOLDERS)
    assert all(map(whole.labelled, whole.samples))
    assert np.array_equal(whole.labels(whole.samples[0]), wanted())
    assert check_files(whole) == []
    before = rows_digest(whole)
    write(tmp_path / "v/b.png", png(np.zeros((6, 8), np.uint8)))
    assert rows_digest(manifest(tmp_path, labels=NAMES, folders=FOLDERS)) != before


def test_inline_and_in_a_table(tmp_path):
    scenes(tmp_path)
    entry = {"image": "i/a.png", "masks": {"vein": "v/a.png", "nerve": "n/a_n.png"}}
    inline = manifest(tmp_path, labels=NAMES, samples=[entry])
    assert np.array_equal(inline.labels(inline.samples[0]), wanted())
    write(tmp_path / "t.csv", "name,vein\na,v/a.png\nb,\n")
    masks = {"vein": "{vein}", "nerve": "n/{name}_n.png"}
    table = {"file": "t.csv", "image": "i/{name}.png", "masks": masks}
    listed = manifest(tmp_path, labels=NAMES, table=table)
    assert np.array_equal(listed.labels(listed.samples[0]), wanted())
    assert np.array_equal(listed.labels(listed.samples[1]), np.where(NERVE, 1, 0))


def test_a_missing_file_is_refused_or_absent(tmp_path):
    scenes(tmp_path)
    (tmp_path / "v/b.png").unlink()
    whole = manifest(tmp_path, labels=NAMES, folders=FOLDERS)
    with pytest.raises(InputError, match=r"v/b\.png: no such file.*set labels\.missing: absent"):
        whole.labels(whole.sample("b"))
    absent = NAMES | {"missing": "absent"}
    told = manifest(tmp_path, labels=absent, folders=FOLDERS)
    assert np.array_equal(told.labels(told.sample("b")), np.where(NERVE, 1, 0))
    (tmp_path / "n/b_n.png").unlink()
    told = manifest(tmp_path, labels=absent, folders=FOLDERS)
    assert np.array_equal(told.labels(told.sample("b")), np.zeros((6, 8), int))
    assert rows_digest(told) != rows_digest(whole.select(ids=["a"]))
    (tmp_path / "v/a.png").unlink()
    with pytest.raises(InputError, match=r"no image has a file of the class 'vein' \(such as v/a"):
        manifest(tmp_path, labels=absent, folders=FOLDERS)


def test_pixels_of_two_classes(tmp_path):
    scenes(tmp_path, nerve=NERVE | (np.arange(8) == 3))
    whole = manifest(tmp_path, labels=NAMES, folders=FOLDERS)
    with pytest.raises(InputError, match=r"v/a\.png: 2 pixels are of 'vein' and of a class listed"):
        whole.labels(whole.samples[0])
    last = manifest(tmp_path, labels=NAMES | {"overlap": "last"}, folders=FOLDERS)
    assert (last.labels(last.samples[0])[4:, 3] == 2).all()
    text = (
        "labels: {names: [rest, nerve, vein], background: rest, overlap: last}\n"
        "samples: [{image: i/a.png, masks: {vein: v/a.png, nerve: n/a_n.png}}]"
    )
    first = load_manifest(write(tmp_path / "other.yaml", text))
    assert (first.labels(first.samples[0])[4:, 3] == 1).all()


def test_grey_edges_ignored_values_and_jpeg(tmp_path):
    scenes(tmp_path)
    grey = np.uint8(NERVE) * np.uint8(250)
    grey[0, :5] = 90
    grey[5, 0] = 127
    write(tmp_path / "n/a_n.png", png(grey))
    whole = manifest(tmp_path, labels=NAMES, folders=FOLDERS)
    with pytest.raises(InputError, match=r"holds 4 values \(0, 90, 127, 250\); set labels\.t"):
        whole.labels(whole.samples[0])
    block = NAMES | {"threshold": 100, "ignore": 127}
    write(tmp_path / "v/a.png", png(np.uint8(VEIN) * np.uint8(255)))
    soft = manifest(tmp_path, labels=block, folders=FOLDERS)
    expected = wanted()
    expected[5, 0] = -1
    assert np.array_equal(soft.labels(soft.samples[0]), expected)
    Image.fromarray(np.uint8(NERVE) * np.uint8(255)).save(tmp_path / "n/b_n.jpg", quality=95)
    entry = {"image": "i/b.png", "masks": {"nerve": "n/b_n.jpg"}}
    lossy = manifest(tmp_path, labels=NAMES | {"threshold": 128}, samples=[entry])
    assert np.array_equal(lossy.labels(lossy.samples[0]) == 1, NERVE)


BAD = {
    "a list": ({"masks": ["n/{id}_n.png", "v/{id}.png"]}, {}, "does not say which class each mask"),
    "no class": ({"masks": {"nerf": "n/{id}_n.png"}}, {}, "no class 'nerf' .* 'nerve'"),
    "background": ({}, {"background": None}, "labels.background names the class of pixels"),
    "its mask": ({"masks": {"rest": "n/{id}_n.png"}}, {}, "it has no mask of its own"),
    "remap": ({}, {"remap": {0: 0, 255: 1}}, "labels.remap and labels.first mean nothing"),
    "outside": ({"masks": {"nerve": "../{id}.png"}}, {}, "leaves the root"),
}


@pytest.mark.parametrize("name", BAD)
def test_refusals(tmp_path, name):
    scenes(tmp_path)
    folder, labels, says = BAD[name]
    with pytest.raises(InputError, match=says):
        manifest(tmp_path, labels=NAMES | labels, folders=[FOLDERS[0] | folder])


def test_both_kinds_of_masks_and_two_sizes(tmp_path):
    scenes(tmp_path)
    entry = {"image": "i/a.png", "mask": "v/a.png", "masks": {"vein": "v/a.png"}}
    with pytest.raises(InputError, match="'a' has both mask and masks; give one"):
        manifest(tmp_path, labels=NAMES, samples=[entry])
    write(tmp_path / "v/a.png", png(np.zeros((5, 8), np.uint8)))
    whole = manifest(tmp_path, labels=NAMES, folders=FOLDERS)
    with pytest.raises(
        InputError, match=r"v/a\.png: \(5, 8\) pixels, but .*n/a_n\.png has \(6, 8\)"
    ):
        whole.labels(whole.samples[0])


def test_a_group_from_a_word_of_the_pattern(tmp_path):
    for patient in ("p1", "p2"):
        for cut in ("1", "2"):
            write(tmp_path / f"{patient}/{patient}_{cut}.png", png(np.zeros((4, 4, 3), np.uint8)))
    folders = [{"images": "{patient}/{id}.png", "group": "{patient}"}]
    found = manifest(tmp_path, labels={"names": ["a", "b"]}, folders=folders)
    assert found.groups == ("p1", "p1", "p2", "p2")


def test_each_class_alone_is_seen_whole_where_masks_overlap(tmp_path):
    over = VEIN.copy()
    over[1:3, 3:7] = True
    scenes(tmp_path, vein=over)
    whole = manifest(tmp_path, labels=NAMES, folders=FOLDERS)
    with pytest.raises(InputError, match="labels.overlap: last.*model.values: independent"):
        whole.labels(whole.sample("a"))
    for names, wanted in (
        (["nerve"], np.where(NERVE, 1, 0)),
        (["vein"], np.where(over, 2, 0)),
        (["nerve", "vein"], np.where(over, 2, np.where(NERVE, 1, 0))),
        ([], np.zeros((6, 8))),
    ):
        alone = whole.alone(names)
        assert np.array_equal(alone.labels(alone.sample("a")), wanted)
        assert rows_digest(alone) == rows_digest(whole)
    assert check_files(whole.alone(whole.classes)) == [] and len(check_files(whole)) == 2
