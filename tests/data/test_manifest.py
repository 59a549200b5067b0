"""The manifest as a whole; what each reader makes of its layout is tested beside it."""

import builtins
import hashlib
import io
import os
import pickle
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.data.batch import Batch, batches
from conceptseg.data.draw import sample_priority
from conceptseg.data.labels import IGNORE, LabelBlock
from conceptseg.data.manifest import Manifest, Sample, Source, check_files, load_manifest, problems
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from tests.files import FOLDERS, LABELS, indexed, manifest, pairs, png, write

MANIFESTS = Path(__file__).parents[2] / "data_manifests"


class Drawn(Source):
    """Images of one value, the sample's number, in a size that the sample's group names."""

    def image(self, sample):
        return np.full((1, *self.size(sample)), int(sample.id[1:]) / 1000, np.float32)

    def labels(self, sample):
        return None if sample.split == "bare" else np.full(self.size(sample), 1)

    def labelled(self, sample):
        return sample.split != "bare"

    def size(self, sample):
        return (int(sample.metadata.get("side", 4)), 4)

    def stamp(self, sample):
        return sample.id

    def settings(self):
        return {}


def drawn(sides=(4,) * 10, order=None, split=None):
    samples = [Sample(f"s{i}", split=split, metadata={"side": s}) for i, s in enumerate(sides)]
    samples = [samples[i] for i in order] if order is not None else samples
    return Manifest("drawn", LabelBlock(("a", "b")), 1, tuple(samples), Drawn())


def test_priority_is_the_hash():
    wanted = int(hashlib.sha256(b"7:frame_1").hexdigest(), 16)
    assert sample_priority(7, "frame_1") == wanted


@given(order=st.permutations(range(10)), limit=st.integers(1, 10), seed=st.integers(0, 5))
def test_a_draw_does_not_depend_on_order_and_grows(order, limit, seed):
    chosen = {sample.id for sample in drawn().select(limit=limit, seed=seed).samples}
    shuffled = drawn(order=order).select(limit=limit, seed=seed).samples
    assert {sample.id for sample in shuffled} == chosen
    assert [int(sample.id[1:]) for sample in shuffled] == [i for i in order if f"s{i}" in chosen]
    assert len(chosen) == limit
    smaller = {sample.id for sample in drawn().select(limit=max(limit - 1, 1), seed=seed).samples}
    assert smaller <= chosen


def test_select_by_split_and_ids():
    samples = [Sample(f"s{i}", split="odd" if i % 2 else "even") for i in range(6)]
    whole = Manifest("m", LabelBlock(("a",)), 1, tuple(samples), Drawn(), where="m.yaml")
    assert [s.id for s in whole.select(split="odd").samples] == ["s1", "s3", "s5"]
    assert [s.id for s in whole.select(ids=["s4", "s0"]).samples] == ["s0", "s4"]
    assert whole.splits == ("even", "odd")
    assert whole.sample("s3") is samples[3]
    with pytest.raises(InputError, match=r"m\.yaml: no split 'evn'; did you mean 'even'"):
        whole.select(split="evn")
    with pytest.raises(InputError, match="no sample 's9'; did you mean"):
        whole.select(ids=["s9"])
    with pytest.raises(InputError, match="the selection is empty"):
        whole.select(split="odd", ids=["s0"])


@given(sides=st.lists(st.sampled_from([2, 4]), min_size=1, max_size=12), size=st.integers(1, 5))
def test_batches_keep_order_and_group_equal_sizes(sides, size):
    """Against a loop: a batch ends at each multiple of its size and when images' size changes."""
    wanted, run = [], []
    for i, side in enumerate(sides):
        if run and (i % size == 0 or sides[run[0]] != side):
            wanted.append(run)
            run = []
        run.append(i)
    wanted.append(run)
    whole = drawn(sides)
    found = list(batches(whole, whole.samples, size, need_labels=True))
    assert [batch.ids for batch in found] == [tuple(f"s{i}" for i in run) for run in wanted]
    for batch, run in zip(found, wanted, strict=True):
        assert batch.groups == batch.ids
        assert batch.images.shape == (len(run), 1, sides[run[0]], 4)
        assert batch.images.dtype == torch.float32
        assert torch.equal(batch.images[:, 0, 0, 0], torch.tensor(run) / 1000)
        assert batch.labels.shape == (len(run), sides[run[0]], 4)
        assert batch.labels.dtype == torch.int64


def test_masks_are_read_only_when_needed():
    bare = drawn(split="bare")
    assert all(batch.labels is None for batch in batches(bare, bare.samples, 4))
    with pytest.raises(InputError, match="sample 's0' has no mask, which this study needs"):
        list(batches(bare, bare.samples, 4, need_labels=True))
    labelled = drawn()
    assert next(batches(labelled, labelled.samples, 4)).labels is None


def test_nothing_is_kept_after_a_batch():
    whole = drawn((250_000,) * 12)  # a million pixels each: 4 MB as floats

    def peak(count):
        tracemalloc.start()
        for batch in batches(whole, whole.samples[:count], 2):
            assert isinstance(batch, Batch)
            del batch
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)
    assert peak(12) < 1.1 * peak(4)


def test_pixels_labels_and_facts_of_a_manifest(tmp_path):
    written = pairs(tmp_path)
    block = LABELS | {"remap": {0: 0, 1: "tree"}, "ignore": 2}
    whole = manifest(tmp_path, labels=block, folders=FOLDERS, name="set.yaml")
    assert (whole.name, whole.classes, whole.channels) == ("set", ("ground", "tree", "rock"), 3)
    assert whole.groups == ("a", "b", "c")
    for sample in whole.samples:
        image, mask = written[sample.id]
        assert whole.size(sample) == image.shape[:2]
        assert np.array_equal(whole.image(sample), np.float32(image / 255).transpose(2, 0, 1))
        labels = np.where(mask == 2, IGNORE, mask.astype(int))
        assert np.array_equal(whole.labels(sample), labels)
        found = whole.pair(sample)
        assert np.array_equal(found[1], labels)
    again = pickle.loads(pickle.dumps(whole))
    assert rows_digest(again) == rows_digest(whole)


def rows(folder, **changes):
    keys = {"labels": LABELS, "folders": FOLDERS} | changes
    return rows_digest(manifest(folder, **keys))


def test_the_rows_follow_what_can_change_a_result(tmp_path):
    pairs(tmp_path)
    first = rows(tmp_path)
    assert rows(tmp_path) == first
    assert rows(tmp_path, name="other") == first
    assert rows(tmp_path, max_pixels=100) == first
    shutil.copytree(tmp_path, tmp_path / "moved")
    assert rows(tmp_path / "moved") == first
    changes = [
        {"labels": LABELS | {"ignore": 9}},
        {"labels": LABELS | {"first": 1}},
        {"labels": LABELS | {"threshold": [1, 2]}},
        {"orientation": "ignore"},
        {"nodata": 0},
        {"labels": LABELS | {"remap": {0: 1, 1: 0, 2: 2}}},
        {"labels": {"names": ["ground", "tree", "stone"]}},
        {"range": [0, 300]},
        {"group": "(.)"},
        {"folders": [FOLDERS[0] | {"split": "train"}]},
        {"folders": [{"images": FOLDERS[0]["images"]}]},
    ]
    others = [rows(tmp_path, **change) for change in changes]
    # Every sample is its own group with or without the expression.
    assert others.pop(8) == first
    for name in ("images", "masks"):
        path = tmp_path / f"train/{name}/b.png"
        before, about = path.read_bytes(), path.stat()
        write(path, before + b" ")
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        others.append(rows(tmp_path))  # another size
        path.write_bytes(before)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
        others.append(rows(tmp_path))  # another time
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert rows(tmp_path) == first
    assert len({first, *others}) == len(others) + 1
    assert rows_digest(manifest(tmp_path, labels=LABELS, folders=FOLDERS).select(limit=2)) != first


def test_rows_look_for_every_file_and_open_none(tmp_path, monkeypatch):
    pairs(tmp_path)
    whole = manifest(tmp_path, labels=LABELS, folders=FOLDERS)
    monkeypatch.setattr(builtins, "open", None)
    monkeypatch.setattr(io, "open", None)
    monkeypatch.setattr(os, "open", None)
    first = rows_digest(whole)
    with pytest.raises(InputError, match="not callable"):
        whole.image(whole.samples[0])
    path = tmp_path / "train/masks/b.png"
    path.rename(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"masks/b\.png: no such file; is the root right"):
        rows_digest(whole)
    path.mkdir()
    with pytest.raises(InputError, match=r"masks/b\.png: a folder, not a file"):
        rows_digest(whole)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"masks/b\.png: a device or a pipe, not a file"):
        rows_digest(whole)
    path.unlink()
    (tmp_path / "b.png").rename(path)
    assert rows_digest(whole) == first


def test_check_opens_everything_and_tells_each(tmp_path):
    pairs(tmp_path, names=("a", "b", "c", "d"))
    whole = manifest(tmp_path, labels=LABELS, folders=FOLDERS)
    assert check_files(whole) == []
    (tmp_path / "train/images/a.png").unlink()
    write(tmp_path / "train/masks/b.png", "text")
    write(tmp_path / "train/masks/c.png", png(np.full((4, 4), 9, np.uint8)))
    found = list(problems(whole))
    assert [problem is None for problem in found] == [False, False, False, True]
    assert "a.png: no such file" in found[0]
    assert "b.png: not an image (PNG," in found[1]
    assert "c.png: has the value 9 outside the label block" in found[2]
    assert check_files(whole) == found[:3]


def test_a_mask_of_another_size(tmp_path):
    pairs(tmp_path, names=("a",))
    whole = manifest(tmp_path, labels=LABELS, folders=FOLDERS)
    write(tmp_path / "train/masks/a.png", png(np.zeros((5, 4), np.uint8)))
    says = r"masks/a\.png: the mask is 5 x 4 .*images/a\.png is 4 x 4; mask and image must"
    for read in (whole.labels, whole.pair):
        with pytest.raises(InputError, match=says):
            read(whole.samples[0])
    write(tmp_path / "train/images/a.png", png(np.zeros((4, 5, 3), np.uint8)))
    with pytest.raises(InputError, match="set orientation: apply_to_masks"):
        whole.pair(whole.samples[0])


@pytest.mark.parametrize(
    "path",
    ["../x.png", "a/../../x.png", "/etc/passwd", "C:/x.png", "a\\..\\..\\x.png", "\\\\host\\x.png"],
)
@pytest.mark.parametrize("key", ["image", "mask"])
def test_paths_that_leave_the_root(tmp_path, path, key):
    sample = {"id": "a", "image": "a.png"} | {key: path}
    with pytest.raises(InputError, match="samples, entry 1: the path .* leaves the root; write"):
        manifest(tmp_path, labels=LABELS, samples=[sample])


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_links_that_leave_the_root(tmp_path):
    outside = write(tmp_path / "outside.png", png(np.zeros((4, 4, 3), np.uint8)))
    root = tmp_path / "root"
    pairs(root)
    inside = root / "train/images/a.png"
    inside.unlink()
    inside.symlink_to(outside)
    whole = manifest(root, labels=LABELS, folders=FOLDERS)
    for read in (whole.image, whole.size, whole.source.stamp):
        with pytest.raises(InputError, match=r"a\.png: a link that leaves the root"):
            read(whole.sample("a"))
    assert len(check_files(whole)) == 1
    (tmp_path / "far").mkdir()
    shutil.move(root / "train/masks", tmp_path / "far/masks")
    (root / "train/masks").symlink_to(tmp_path / "far/masks")
    with pytest.raises(InputError, match=r"masks/b\.png: a link that leaves the root"):
        whole.source.stamp(whole.sample("b"))
    (root / "train/masks").unlink()
    shutil.move(tmp_path / "far/masks", root / "kept")
    (root / "train/masks").symlink_to(root / "kept")
    whole.source.stamp(whole.sample("b"))
    link = tmp_path / "link"
    link.symlink_to(root)
    moved = manifest(tmp_path, labels=LABELS, folders=FOLDERS, root_override=link)
    assert moved.image(moved.sample("b")).shape == (3, 4, 4)


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".a", "a\\b", "a\nb", "a\0", " a", "<script>", 'a"b', "a" * 129]
)
def test_unsafe_ids(tmp_path, name):
    with pytest.raises(InputError, match="cannot be a file's name|that is none") as caught:
        manifest(tmp_path, labels=LABELS, samples=[{"id": name, "image": "a.png"}])
    assert "\n" not in str(caught.value)


def test_safe_ids(tmp_path):
    names = ["a", "frame 1", "Müller_01", "患者-7", "a.b+c", "x" * 128]
    entries = [{"id": name, "image": "a.png"} for name in names]
    found = manifest(tmp_path, labels=LABELS, samples=entries)
    assert [sample.id for sample in found.samples] == names


def test_duplicate_ids_and_empty_sets(tmp_path):
    twice = [{"image": "x/a.png"}, {"image": "y/a.png"}]
    with pytest.raises(InputError, match=r"m\.yaml: two samples have the id 'a'; ids must be"):
        manifest(tmp_path, labels=LABELS, samples=twice)
    with pytest.raises(InputError, match=r"m\.yaml: the data set is empty"):
        manifest(tmp_path, labels=LABELS, samples=[])


BAD_FILES = {
    "tags": ("labels: !!python/object/apply:os.system ['touch pwned']", "tags such as"),
    "yaml": ("labels: [", "line"),
    "nothing": ("", "holds no keys"),
    "format": ("format: nativ", "no reader for format 'nativ'; did you mean 'native'"),
    "format type": ("format: [1]", "no reader for format"),
    "private": ("format: _spec", "no reader for format '_spec'"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_manifest_files(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, says = BAD_FILES[name]
    path = write(tmp_path / "m.yaml", text)
    with pytest.raises(InputError, match=says) as caught:
        load_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_a_missing_manifest(tmp_path):
    write(tmp_path / "camvid.yaml", "")
    with pytest.raises(InputError, match=r"camvd\.yaml: no such file; did you mean 'camvid\.yaml'"):
        load_manifest(tmp_path / "camvd.yaml")


def test_the_builtin_manifest_needs_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    builtin = load_manifest("builtin:planted")
    assert rows_digest(builtin) == rows_digest(load_manifest(MANIFESTS / "planted.yaml"))
    assert builtin.where == "builtin:planted"
    with pytest.raises(InputError, match="builtin:plantd: no such built-in data set; known are"):
        load_manifest("builtin:plantd")


def test_root_is_relative_to_the_manifest_and_can_be_overridden(tmp_path, monkeypatch):
    pairs(tmp_path / "data")
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path / "lists")
    keys = {"labels": LABELS, "folders": FOLDERS}
    found = manifest(tmp_path / "lists", root="../data", **keys)
    assert found.image(found.samples[0]).shape == (3, 4, 4)
    found = manifest(tmp_path / "lists", root="../none", root_override=tmp_path / "data", **keys)
    assert found.image(found.samples[0]).shape == (3, 4, 4)
    with pytest.raises(InputError, match=r"m\.yaml: root is .*none: no such folder"):
        manifest(tmp_path / "lists", root="../none", **keys)
    with pytest.raises(InputError, match=r"--data-root \(data\.root\) is .*none: no such folder"):
        manifest(tmp_path / "lists", root_override=tmp_path / "none", **keys)


def test_an_indexed_mask_gives_indices(tmp_path):
    pairs(tmp_path, names=("a",))
    values = np.arange(16).reshape(4, 4) % 3
    indexed(tmp_path / "train/masks/a.png", values)
    whole = manifest(tmp_path, labels=LABELS, folders=FOLDERS)
    assert np.array_equal(whole.labels(whole.samples[0]), values)


EXAMPLES = {
    "camvid": "train.txt: no such file",
    "camvid_stretches": "train.txt: no such file",
    "nuclei": "index.csv: no such file",
    "voc": "not in the layout of VOC",
    "cityscapes": "not in the layout of Cityscapes",
    "coco": "instances_val2017.json: no such file",
}


DRAWN = ("planted", "planted_pair", "planted_random_context")


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_manifests_need_no_file(name):
    assert load_manifest(MANIFESTS / f"{name}.yaml").channels == 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_shipped_manifests_have_sound_keys_and_ask_for_their_data(tmp_path, name):
    if name == "coco":
        pytest.importorskip("pycocotools")
    with pytest.raises(InputError, match=EXAMPLES[name]):
        load_manifest(MANIFESTS / f"{name}.yaml", tmp_path)


def test_every_shipped_manifest_is_tested():
    assert {path.stem for path in MANIFESTS.glob("*.yaml")} == {*DRAWN, *EXAMPLES}


def test_camvid(shared_dir):
    """Counts, and the shares of sky and void, are those that its description gives."""
    whole = load_manifest(MANIFESTS / "camvid.yaml", shared_dir / "data/camvid")
    assert {s: whole.select(split=s).samples.__len__() for s in whole.splits} == {
        "train": 120, "val": 40, "test": 60,
    }  # fmt: skip
    assert set(whole.groups) == {"0001TP", "0006R0", "0016E5", "Seq05VD"}
    assert len(whole.classes) == len(whole.colours) == 11
    test = whole.select(split="test")
    counts = np.zeros(12)
    for batch in batches(test, test.samples, 16, need_labels=True):
        assert batch.images.shape[1:] == (3, 240, 320)
        counts += np.bincount(batch.labels.flatten().numpy() + 1, minlength=12)
    sky, void = 0.1679, 0.0385
    assert counts[1] / counts.sum() == pytest.approx(sky, abs=5e-5)
    assert counts[0] / counts.sum() == pytest.approx(void, abs=5e-5)


def test_nuclei(shared_dir):
    whole = load_manifest(MANIFESTS / "nuclei.yaml", shared_dir / "data/nuclei")
    val = whole.select(split="val")
    assert len(val.samples) == 30
    assert check_files(val) == []
    looks = [sample.metadata["domain"] for sample in whole.samples]
    assert looks.count("histology") == 24 + 7 + 11
    assert isinstance(whole.samples[0].metadata["nuclei"], float)


PIPES = {
    "image": ("a.png", {"samples": [{"image": "a.png"}]}),
    "tiff": ("a.tif", {"samples": [{"image": "a.tif"}]}),
    "no suffix": ("a", {"samples": [{"image": "a"}]}),
    "mask": ("m.png", {"samples": [{"image": "a.tif", "mask": "m.png"}]}),
    "class": ("m.png", {"samples": [{"image": "a.tif", "masks": {"tree": "m.png"}}]}),
    "table": ("t.csv", {"table": {"file": "t.csv"}}),
    "rows": ("t.jsonl", {"table": {"file": "t.jsonl"}}),
    "parquet": ("t.parquet", {"table": {"file": "t.parquet"}}),
    "ids": ("i.txt", {"folders": [{"images": "{id}.png", "ids": "i.txt"}]}),
    "coco": ("c.json", {"format": "coco", "parts": [{"annotations": "c.json", "images": "."}]}),
    "cvat": ("annotations.xml", {"format": "cvat", "classes": ["a"]}),
    "dicom": ("a.dcm", {"format": "dicom", "folders": [{"images": "{id}.dcm"}]}),
    "nifti": ("a.nii", {"format": "nifti", "volumes": [{"images": "{id}.nii"}]}),
    "geotiff": ("s1.tif", {"format": "geotiff", "tile": 8, "scenes": [{"images": "s{id}.tif"}]}),
}


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_is_not_waited_for(tmp_path, name):
    file, keys = PIPES[name]
    os.mkfifo(tmp_path / file)
    labels = {} if name in ("coco", "cvat") else {"labels": {**LABELS, "background": "ground"}}
    if file != "a.tif":
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4, 3), np.uint8))
    says = (
        "no image has a file of the class" if name == "class" else "a device or a pipe, not a file"
    )
    with pytest.raises(InputError, match=f"{says}"):
        found = manifest(tmp_path, **labels, **keys)
        found.size(found.samples[0])
        found.pair(found.samples[0])


def test_a_device_is_neither_a_manifest_nor_an_image(tmp_path):
    with pytest.raises(InputError, match="/dev/zero: a device or a pipe"):
        load_manifest("/dev/zero")
    (tmp_path / "m.yaml").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"m\.yaml: a device or a pipe"):
        load_manifest(tmp_path / "m.yaml")
    found = manifest(tmp_path, "n.yaml", root="/dev", labels=LABELS, samples=[{"image": "zero"}])
    with pytest.raises(InputError, match="/dev/zero: a device or a pipe"):
        found.size(found.samples[0])


def test_a_path_that_no_system_has(tmp_path):
    for keys in ({"mask": "m" * 5000 + ".png"}, {"masks": {"tree": "m" * 300 + ".png"}}):
        with pytest.raises(InputError) as caught:
            entry = {"id": "a", "image": "a" * 300 + ".png", **keys}
            found = manifest(tmp_path, labels={**LABELS, "background": "ground"}, samples=[entry])
            found.pair(found.samples[0])
        assert len(str(caught.value)) < 1000
