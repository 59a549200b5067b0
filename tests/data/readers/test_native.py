import json

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg.data.manifest import load_manifest
from conceptseg.errors import InputError
from tests.files import FOLDERS, LABELS, manifest, pairs, png, write


def ids(found):
    return [sample.id for sample in found.samples]


def test_an_inline_list(tmp_path):
    pairs(tmp_path)
    entries = [
        {
            "id": "first",
            "image": "train/images/a.png",
            "mask": "train/masks/a.png",
            "split": "train",
            "group": "p1",
            "metadata": {"age": 31, "site": "Oslo"},
        },
        {"image": ["train/images/b.png"]},
    ]
    found = manifest(tmp_path, labels=LABELS, samples=entries)
    first, second = found.samples
    assert (first.id, first.split, first.group) == ("first", "train", "p1")
    assert first.metadata == {"age": 31.0, "site": "Oslo"}
    assert (second.id, second.split, second.group, second.mask) == ("b", None, "b", None)
    assert found.labels(second) is None
    assert found.labelled(first) and not found.labelled(second)
    assert found.metadata == ("age", "site")


CSV = """id,image,mask,split,group,age,code,site
one,train/images/a.png,train/masks/a.png,train,p1,31,0012,Oslo
two,train/images/b.png,,val,p2,,0007,"Ås, south"

three,train/images/c.png,train/masks/c.png,val,,45.5,0100,
"""


def check_table(found):
    one, two, three = found.samples
    assert ids(found) == ["one", "two", "three"]
    assert found.groups == ("p1", "p2", "three")
    assert found.splits == ("train", "val")
    assert one.metadata == {"age": 31.0, "code": "0012", "site": "Oslo"}
    assert two.metadata == {"code": "0007", "site": "Ås, south"}
    assert three.metadata == {"age": 45.5, "code": "0100"}
    assert two.mask is None
    assert found.labels(one).shape == (4, 4)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_table(tmp_path, mark):
    pairs(tmp_path)
    write(tmp_path / "list.csv", mark + CSV)
    check_table(manifest(tmp_path, labels=LABELS, table={"file": "list.csv"}))


def test_a_jsonl_table(tmp_path):
    pairs(tmp_path)
    rows = [
        {"id": "one", "image": "train/images/a.png", "mask": "train/masks/a.png", "split": "train",
         "group": "p1", "age": 31, "code": "0012", "site": "Oslo"},
        {"id": "two", "image": ["train/images/b.png"], "mask": None, "split": "val",
         "group": "p2", "code": "0007", "site": "Ås, south"},
        {"id": "three", "image": "train/images/c.png", "mask": "train/masks/c.png",
         "split": "val", "age": 45.5, "code": "0100", "site": ""},
    ]  # fmt: skip
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n"
    write(tmp_path / "list.jsonl", text)
    check_table(manifest(tmp_path, labels=LABELS, table={"file": "list.jsonl"}))


def test_templates_and_a_table_beside_the_manifest(tmp_path):
    pairs(tmp_path / "data")
    write(tmp_path / "list.csv", "split,name,scene\ntrain,a,x\ntrain,c,y\n")
    table = {
        "file": "list.csv",
        "relative_to": "manifest",
        "id": "{split}_{name}",
        "image": "{split}/images/{name}.png",
        "mask": "{split}/masks/{name}.png",
        "group": "{scene}",
    }
    found = manifest(tmp_path, root="data", labels=LABELS, table=table)
    assert ids(found) == ["train_a", "train_c"]
    assert found.groups == ("x", "y")
    assert found.pair(found.samples[1])[1].shape == (4, 4)
    table["mask"] = "{split}/masks/{nam}.png"
    with pytest.raises(InputError, match=r"line 2: nothing is called {nam}.*did you mean 'name'"):
        manifest(tmp_path, root="data", labels=LABELS, table=table)


def test_templates_are_not_python(tmp_path):
    write(tmp_path / "list.csv", "name\na\n")
    table = {"file": "list.csv", "image": "{name.__class__}{name[0]}.png"}
    found = manifest(tmp_path, labels=LABELS, table=table)
    assert str(found.samples[0].image[0]) == "{name.__class__}{name[0]}.png"


def test_several_images_in_a_cell(tmp_path):
    planes = np.random.default_rng(0).integers(0, 256, (2, 4, 5), np.uint8)
    for i in range(2):
        write(tmp_path / f"a_{i}.png", png(planes[i]))
    write(tmp_path / "list.csv", "id,image\na,a_0.png; a_1.png\n")
    found = manifest(tmp_path, labels=LABELS, channels=2, table={"file": "list.csv"})
    np.testing.assert_allclose(found.image(found.samples[0]) * 255, planes, atol=1e-4)


def test_folders_by_split_with_lists(tmp_path):
    pairs(tmp_path, names=("a", "b", "c", "d"))
    write(tmp_path / "train.txt", "c\n a \n\n")
    write(tmp_path / "val.txt", "d\n")
    folders = [FOLDERS[0] | {"split": s, "ids": f"{s}.txt"} for s in ("train", "val")]
    found = manifest(tmp_path, labels=LABELS, folders=folders)
    assert ids(found) == ["c", "a", "d"]
    assert [sample.split for sample in found.samples] == ["train", "train", "val"]


def test_folders_as_found(tmp_path):
    for name in ("x/s2_a_0.png", "x/s10_b_0.png", "y/s2_c_0.png", "y/other.txt", "y/.s_h_0.png"):
        write(tmp_path / "images" / name, png(np.zeros((3, 3), np.uint8)))
        write(tmp_path / "images" / name.replace("_0", "_1"), png(np.ones((3, 3), np.uint8)))
    folder = {
        "images": ["images/{city}/{id}_0.png", "images/{city}/{id}_1.png"],
        "masks": "masks/{city}/{id}.png",
    }
    found = manifest(tmp_path, labels=LABELS, channels=2, group="(s[0-9]+)_", folders=[folder])
    assert ids(found) == ["s10_b", "s2_a", "s2_c"]
    assert found.groups == ("s10", "s2", "s2")
    assert [sample.metadata["city"] for sample in found.samples] == ["x", "x", "y"]
    assert str(found.samples[2].mask) == "masks/y/s2_c.png"
    assert found.image(found.samples[0])[:, 0, 0].tolist() == [0, np.float32(1 / 255)]
    with pytest.raises(InputError, match=r"s10_b\.png: no such file"):
        found.pair(found.samples[0])


def test_names_with_shell_characters(tmp_path):
    write(tmp_path / "set [1]/a.png", png(np.zeros((3, 3), np.uint8)))
    write(tmp_path / "set 1/b.png", png(np.zeros((3, 3), np.uint8)))
    found = manifest(tmp_path, labels=LABELS, folders=[{"images": "set [1]/{id}.png"}])
    assert ids(found) == ["a"]


def test_a_word_twice_in_a_pattern_is_one_word(tmp_path):
    write(tmp_path / "p1/p1_a.png", png(np.zeros((3, 3), np.uint8)))
    write(tmp_path / "p1/p2_b.png", png(np.zeros((3, 3), np.uint8)))
    found = manifest(tmp_path, labels=LABELS, folders=[{"images": "{p}/{p}_{id}.png"}])
    assert ids(found) == ["a"]


ONE = [{"id": "a", "image": "a.png"}]
NAMES = LABELS["names"]

BAD_KEYS = {
    "unknown": ({"chanels": 1}, "unknown key 'chanels'; did you mean 'channels'"),
    "unknown label": ({"labels": LABELS | {"ignor": 3}}, "'labels.ignor'; did you mean 'ignore'"),
    "unknown entry": ({"samples": [{"image": "a", "maks": "b"}]}, "entry 1: unknown key 'maks'; d"),
    "type": ({"channels": "three"}, "channels is 'three': expected a valid integer"),
    "no channel": ({"channels": 0}, "channels is 0"),
    "entry type": ({"samples": ["a.png"]}, "samples, entry 1: 'a.png' is no mapping"),
    "number as id": ({"samples": [{"id": 7, "image": "a"}]}, "id is 7: expected a valid string"),
    "no labels": ({"labels": None}, "labels is None"),
    "no names": ({"labels": {"ignore": 1}}, "'labels.names' is missing"),
    "names": ({"labels": {"names": "tree"}}, "labels.names is 'tree'"),
    "two names": ({"labels": {"names": ["a", "a"]}}, "the class 'a' is listed twice"),
    "colours": ({"labels": LABELS | {"colours": [[0, 0, 0]]}}, "1 colours for 3 names"),
    "colour": ({"labels": LABELS | {"colours": [[0, 0, 300]] * 3}}, "labels.colours.0.2 is 300"),
    "one colour": ({"labels": LABELS | {"colours": [[0, 0, 0]] * 3}}, "given twice"),
    "background": (
        {"labels": LABELS | {"background": "groud"}}, "no class 'groud'; did you mean 'ground'"
    ),
    "remap": ({"labels": LABELS | {"remap": {0: 3}}}, "remap.0: class 3, but classes are 0 to 2"),
    "remap name": ({"labels": LABELS | {"remap": {0: "tre"}}}, "no class 'tre'; did you mean"),
    "own index": (
        {"labels": LABELS | {"ignore": 0}},
        r"0 is the raw value of the class 'ground' itself\. If the masks count classes from 1 on, "
        "set labels.first: 1; if 'ground' is to be left out",
    ),
    "own index, shifted": (
        {"labels": LABELS | {"ignore": [0, 2], "first": 1}},
        r"2 is the raw value of the class 'tree' itself\. If 'tree' is to be left out, list",
    ),
    "two ways": (
        {"labels": LABELS | {"first": 1, "threshold": [1, 2]}},
        "first and threshold both say what raw values mean",
    ),
    "thresholds": ({"labels": LABELS | {"threshold": [1, 2, 3]}}, "3 values part 4 classes.* 3"),
    "falling": ({"labels": LABELS | {"threshold": [9, 3]}}, "values must rise"),
    "tolerance": ({"labels": LABELS | {"tolerance": 3}}, "is for masks in colours"),
    "orientation": ({"orientation": "turn"}, "orientation"),
    "nodata": ({"nodata": "auto"}, "nodata"),
    "both": ({"labels": LABELS | {"remap": {9: 0}, "ignore": [9]}}, "9 is in both remap and ign"),
    "range": ({"range": [1, 0]}, "the lowest value must be below"),
    "range nan": ({"range": [0, float("nan")]}, "range.1 is nan: expected a finite number"),
    "two lists": ({"folders": FOLDERS}, "exactly one of .* not samples and folders"),
    "no list": ({"samples": None}, "exactly one of the keys samples, table and folders, not none"),
    "group": ({"group": "("}, "group is '\\(': not a regular expression"),
    "no capture": ({"group": "a"}, "capture the group in parentheses"),
    "no match": ({"group": "([0-9]+)"}, "finds nothing in the id 'a'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_KEYS)
def test_bad_keys(tmp_path, name):
    keys, says = BAD_KEYS[name]
    with pytest.raises(InputError, match=says) as caught:
        manifest(tmp_path, **({"labels": LABELS, "samples": ONE} | keys))
    assert str(caught.value).startswith(str(tmp_path / "m.yaml"))
    assert "\n" not in str(caught.value)


def test_remap_by_name(tmp_path):
    write(tmp_path / "a.png", png(np.zeros((1, 2), np.uint8)))
    write(tmp_path / "m.png", png(np.array([[0, 255]], np.uint8)))
    labels = {"names": ["ground", "tree"], "remap": {0: "ground", 255: "tree"}}
    entry = {"image": "a.png", "mask": "m.png"}
    found = manifest(tmp_path, labels=labels, samples=[entry])
    assert found.labels(found.samples[0]).tolist() == [[0, 1]]


BAD_TABLES = {
    "ragged": ("id,image\na,a.png,x\n", "line 2: 3 cells, but the header names 2 columns"),
    "repeated": ("id,id,image\na,a,a.png\n", "empty or repeated column"),
    "no image": ("id,file\na,a.png\n", "no column 'image'"),
    "close": ("id,image,masks\na,a.png,m.png\n", "the column 'masks'; did you mean 'mask'"),
    "empty cell": ("id,image\na,\n", "line 2: no image"),
    "climbs": ("id,image\na,../a.png\n", "line 2: the path '../a.png' leaves the root"),
    "header only": ("id,image\n", "the data set is empty"),
    "nothing": ("", "the data set is empty"),
    "quote": ('id,image\n"a,a.png\n', "not CSV"),
    "binary": (b"\xff\xfe\x00", "not a text file in UTF-8"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables(tmp_path, name):
    text, says = BAD_TABLES[name]
    write(tmp_path / "list.csv", text)
    with pytest.raises(InputError, match=says) as caught:
        manifest(tmp_path, labels=LABELS, table={"file": "list.csv"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: not an object"),
        ('{"image": 3}', "line 1: image is 3; expected text"),
        ('{"image": ["a", 3]}', "lists something that is not a path"),
        ('{"image": "a.png", "site": {"x": 1}}', "site is nested"),
        ('{"image": "a.png", "id": 7}', "id is 7; expected text, in quotes"),
        ('{"image": []}', "line 1: no image"),
        ('{"image": "a.png"}\n{"id": "b"}', "line 2: no image"),
    ],
)
def test_bad_jsonl(tmp_path, line, says):
    write(tmp_path / "list.jsonl", line)
    with pytest.raises(InputError, match=says):
        manifest(tmp_path, labels=LABELS, table={"file": "list.jsonl"})


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"file": "none.csv"}, r"none\.csv: no such file, which .*table\.file names; is the root"),
        ({"file": "../list.csv"}, "leaves the root"),
        ({"file": "list.xlsx"}, r"\.xlsx is no table; use \.csv, \.jsonl or \.pa"),
        ({"file": "list.csv", "imag": "x"}, "unknown key 'table.imag'; did you mean 'image'"),
    ],
)
def test_tables_that_are_none(tmp_path, table, says):
    write(tmp_path / "list.xlsx", "")
    with pytest.raises(InputError, match=says):
        manifest(tmp_path, labels=LABELS, table=table)


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ({"images": "none/{id}.png"}, "entry 1: no file matches 'none/{id}.png' below"),
        ({"images": "train/images/a.png"}, "each pattern needs {id}"),
        ({"images": "../{id}.png"}, "leaves the root"),
        ({"images": "train/images/{id}.png", "masks": "/m/{id}.png"}, "leaves the root"),
        ({"images": "train/images/{id}.png", "ids": "none.txt"}, r"none\.txt: no such file"),
        ({"images": "train/images/{id}.png", "mask": "x"}, "unknown key 'mask'; did you mean"),
        ({"images": "train/images/{id}.png", "masks": "m/{x}.png"}, "nothing is called {x}"),
    ],
)
def test_bad_folders(tmp_path, folder, says):
    pairs(tmp_path)
    with pytest.raises(InputError, match=says):
        manifest(tmp_path, labels=LABELS, folders=[folder])


@pytest.mark.parametrize("form", ["jpg", "npy"])
def test_lossy_and_float_masks_are_read_by_a_threshold(tmp_path, form):
    """A disc of soft edge; a class begins where its grey reaches the threshold."""
    away = np.hypot(*(np.mgrid[:40, :48] - 20))
    grey = np.clip(1.5 - away / 16, 0, 1)
    pairs(tmp_path, names=("a",), side=4)
    if form == "jpg":
        path = tmp_path / "m/a.jpg"
        path.parent.mkdir()
        Image.fromarray(np.uint8(np.rint(grey * 255))).save(path, quality=95)
    else:
        (tmp_path / "m").mkdir()
        np.save(tmp_path / "m/a.npy", grey)
    write(tmp_path / "i/a.png", png(np.zeros((40, 48, 3), np.uint8)))
    folders = [{"images": "i/{id}.png", "masks": f"m/{{id}}.{form}"}]
    names = {"names": ["skin", "lesion"]}
    threshold = 128 if form == "jpg" else 0.5
    soft = manifest(tmp_path, labels=names | {"threshold": threshold}, folders=folders)
    found = soft.labels(soft.samples[0])
    sure = np.abs(away - 16) > 1
    assert np.array_equal(found[sure] == 1, away[sure] < 16)
    hard = manifest(tmp_path, labels=names, folders=folders)
    with pytest.raises(InputError, match=r"labels\.threshold"):
        hard.labels(hard.samples[0])


UNFIT = ["\ud800", "a\udfffb", "x\u202egnp", "\u2067x"]
TEXTS = {
    "group": lambda text: {"group": text},
    "split": lambda text: {"split": text},
    "metadata": lambda text: {"metadata": {"site": text}},
    "column": lambda text: {"metadata": {text: 1}},
}


@pytest.mark.parametrize("text", UNFIT)
@pytest.mark.parametrize("place", TEXTS)
def test_texts_that_no_report_can_show(tmp_path, place, text):
    """Halves of characters cannot be saved, and marks that turn the writing mislead who reads."""
    pairs(tmp_path)
    entry = {"image": "train/images/a.png", **TEXTS[place](text)}
    said = "sample 'a': .* half a character or a mark|a character that is none"
    with pytest.raises(InputError, match=said) as caught:
        manifest(tmp_path, labels=LABELS, samples=[entry])
    assert str(caught.value).isprintable()


def test_texts_of_all_scripts_are_kept(tmp_path):
    pairs(tmp_path)
    metadata = {
        "Ort": "Zürich",
        "\u05e2\u05d9\u05e8": "\u05d7\u05d9\u05e4\u05d4",
        "note": "two\nlines",
    }
    entry = {"image": "train/images/a.png", "group": "\u6771\u4eac", "metadata": metadata}
    found = manifest(tmp_path, labels=LABELS, samples=[entry]).samples[0]
    assert found.group == "\u6771\u4eac" and found.metadata == metadata


@pytest.mark.parametrize("name", ["\ud800", "a\nb", "\u202ea"])
def test_a_name_that_does_not_print(tmp_path, name):
    pairs(tmp_path)
    with pytest.raises(
        InputError, match="the name .* holds characters that do not print|that is none"
    ):
        load_manifest(
            write(
                tmp_path / "m.yaml",
                yaml.safe_dump({"name": name, "labels": LABELS, "folders": FOLDERS}),
            )
        )


@pytest.mark.parametrize("number", [10**400, float("inf"), float("nan")])
def test_metadata_that_is_no_number(tmp_path, number):
    pairs(tmp_path)
    entry = {"image": "train/images/a.png", "metadata": {"age": number}}
    with pytest.raises(InputError, match="metadata.age"):
        manifest(tmp_path, labels=LABELS, samples=[entry])


@pytest.mark.parametrize(
    "pattern", ["(a{1,99999999999999999999})", "(" * 4000 + "a" + ")" * 4000, "(a", "a"]
)
def test_groups_that_are_no_pattern(tmp_path, pattern):
    pairs(tmp_path)
    with pytest.raises(InputError, match="group is .*(not a regular expression|parentheses)"):
        manifest(tmp_path, labels=LABELS, folders=FOLDERS, group=pattern)


@pytest.mark.parametrize(
    "keys",
    [
        {"range": [-1e308, 1e308]},
        {"range": [1, 1]},
        {"range": [float("nan"), 1]},
        {"window": [1.7e308, 1.7e308]},
        {"window": [0, float("inf")]},
        {"window": [1e20, 1]},
        {"window": [0, -4]},
    ],
)
def test_ranges_that_would_make_every_image_black(tmp_path, keys):
    pairs(tmp_path)
    said = "the lowest value must be below|window: .*both finite|expected a finite number"
    with pytest.raises(InputError, match=said):
        manifest(tmp_path, labels=LABELS, folders=FOLDERS, **keys)


def test_a_root_of_a_user_that_there_is_not(tmp_path):
    with pytest.raises(InputError, match="root is .*: no such folder"):
        manifest(tmp_path, labels=LABELS, folders=FOLDERS, root="~nobody-of-that-name/x")


def test_large_numbers_may_be_asked_for(tmp_path):
    """Of pixels, and of masks' values, which have up to 64 bits."""
    pairs(tmp_path)
    labels = {"names": ["a", "b"], "ignore": [2**32 - 1, -(2**31)]}
    found = manifest(tmp_path, labels=labels, folders=FOLDERS, max_pixels=400_000_000)
    assert len(found.samples) > 0


def test_a_mask_beside_its_image_is_no_image(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.png", png(np.zeros((2, 2, 3), np.uint8)))
        write(tmp_path / f"{name}_mask.png", png(np.ones((2, 2), np.uint8)))
    folders = [{"images": "{id}.png", "masks": "{id}_mask.png"}]
    found = manifest(tmp_path, labels=LABELS, folders=folders)
    assert list(found.ids) == ["a", "b"]
    assert (found.labels(found.samples[0]) == 1).all()
