"""What is read of samples: by kind, whoever reads, and the same wherever the data lie."""

import hashlib
import os
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.data.batch import batches
from conceptseg.data.labels import LabelBlock
from conceptseg.data.ledger import Ledger
from conceptseg.data.manifest import Manifest, Sample, load_manifest
from conceptseg.data.reads import IMAGE, LABELS, Reads, recording
from conceptseg.errors import InputError
from tests.data.test_batch import Numbered
from tests.data.test_hashed import rewrite
from tests.files import FOLDERS, manifest, pairs, png, write
from tests.files import LABELS as BLOCK


def sha(path):
    return hashlib.sha256(path.read_bytes()).digest()


def read(whole, names=("image", "labels", "pair")):
    with recording(reads := Reads()):
        for sample in whole.samples:
            for name in names:
                getattr(whole, name)(sample)
    return reads.digests


def test_the_digests_are_those_of_the_files(tmp_path):
    pairs(tmp_path)
    whole = manifest(tmp_path, labels=BLOCK, folders=FOLDERS)
    images = {name: sha(tmp_path / f"train/images/{name}.png") for name in "abc"}
    masks = {name: sha(tmp_path / f"train/masks/{name}.png") for name in "abc"}
    assert read(whole) == read(whole, ["pair"]) == {IMAGE: images, LABELS: masks}
    assert read(whole, ["image"]) == {IMAGE: images}
    assert read(whole, ["labels"]) == {LABELS: masks}
    assert read(whole, ["size", "labelled"]) == {}
    shutil.copytree(tmp_path, tmp_path / "moved")
    assert read(load_manifest(tmp_path / "moved/m.yaml")) == read(whole)


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("size", [1, 2])
def test_threads_that_read_ahead_record_as_well(tmp_path, workers, size):
    pairs(tmp_path)
    whole = manifest(tmp_path, labels=BLOCK, folders=FOLDERS)
    with recording(reads := Reads()):
        list(batches(whole, whole.samples, size, need_labels=True, workers=workers))
    assert reads.digests == read(whole)


def test_files_of_several_channels_and_of_each_class(tmp_path):
    for n, name in enumerate(("r", "g", "tree", "rock")):
        write(tmp_path / f"{name}.png", png(np.full((4, 4), n // 3, np.uint8)))
    sample = {"id": "a", "image": ["r.png", "g.png"], "masks": {"rock": "rock.png"}}
    keys = {"channels": 2, "labels": {**BLOCK, "background": "ground", "missing": "absent"}}
    seen = [read(manifest(tmp_path, samples=[sample], **keys))]
    sample["image"] = ["g.png", "r.png"]
    sample["masks"] = {"tree": "rock.png"}
    seen.append(read(manifest(tmp_path, samples=[sample], **keys)))
    assert seen[0][IMAGE] == seen[1][IMAGE]  # the same bytes in both files
    assert seen[0][LABELS] != seen[1][LABELS]  # the same bytes for another class
    write(tmp_path / "r.png", png(np.full((4, 4), 9, np.uint8)))
    seen.append(read(manifest(tmp_path, samples=[sample], **keys)))
    assert seen[2][IMAGE] != seen[1][IMAGE] and seen[2][LABELS] == seen[1][LABELS]


def test_what_comes_from_no_file_is_hashed_as_it_is_drawn():
    sizes = [(4, 5), (4, 5), (5, 4)]
    whole = Manifest("m", LabelBlock(("a", "b")), 1, samples("00", "01", "02"), Numbered(sizes))
    found = read(whole)
    assert len({*found[IMAGE].values()}) == 3 and found == read(whole, ["pair"])
    assert found[LABELS]["00"] != found[LABELS]["02"], "the same values of another shape"


def test_volumes_are_hashed_once_for_all_their_slices(tmp_path, monkeypatch):
    pytest.importorskip("nibabel")
    from conceptseg.data import hashed
    from tests.data.readers import test_nifti

    test_nifti.patient(tmp_path)
    keys = {"format": "nifti", "labels": test_nifti.LABELS, "volumes": test_nifti.VOLUMES}
    whole = manifest(tmp_path, window=[50, 400], **keys)
    calls, plain = [], hashlib.file_digest
    monkeypatch.setattr(hashed.hashlib, "file_digest", lambda *a: calls.append(a) or plain(*a))
    found = read(whole)
    assert len(calls) == 2 < len(whole.samples)
    for kind, folder in ((IMAGE, "i"), (LABELS, "m")):
        assert set(found[kind].values()) == {sha(tmp_path / f"{folder}/p1.nii.gz")}
        assert found[kind].keys() == {sample.id for sample in whole.samples}


def test_frames_are_hashed_once_for_all_of_a_file(tmp_path, monkeypatch):
    pytest.importorskip("pydicom")
    from conceptseg.data import hashed
    from tests.data.readers import test_dicom

    stored = np.arange(3 * 48, dtype=np.int16).reshape(3, 6, 8)
    test_dicom.save(tmp_path / "p/a.dcm", stored, True, PatientID="A")
    test_dicom.save(tmp_path / "m/a.dcm", np.uint8(stored > 40), True)
    whole = manifest(tmp_path, window=[40, 400], **test_dicom.KEYS)
    calls, plain = [], hashlib.file_digest
    monkeypatch.setattr(hashed.hashlib, "file_digest", lambda *a: calls.append(a) or plain(*a))
    found = read(whole)
    assert len(calls) == 2
    assert set(found[IMAGE].values()) == {sha(tmp_path / "p/a.dcm")}
    assert set(found[LABELS].values()) == {sha(tmp_path / "m/a.dcm")}


def test_outlines_in_a_text_file_are_hashed(tmp_path):
    from tests.data.readers import test_yolo

    test_yolo.pictures(tmp_path, "images/val/a.png", "images/val/b.png")
    text = write(tmp_path / "labels/val/a.txt", test_yolo.line(1, test_yolo.SMALL))
    found = read(manifest(tmp_path, **test_yolo.KEYS))[LABELS]
    assert found["a"] == sha(text) and found["b"] != found["a"]


def samples(*names):
    return tuple(Sample(name, (), group="g") for name in names)


def ledger(names):
    return Ledger(Manifest("m", LabelBlock(("a",)), 1, samples(*names), Numbered([])))


def told(names, byte=1):
    return {name: bytes([byte, *name.encode()]).ljust(32, b"\1") for name in names}


@given(order=st.permutations("abcdef"), cuts=st.lists(st.integers(0, 6), max_size=4))
def test_a_ledger_does_not_care_how_reads_come(order, cuts):
    whole, parts = ledger("fedcbaxyz"), ledger("fedcbaxyz")
    whole.take(Reads({IMAGE: told("abcdef"), LABELS: told("abc", 2)}))
    ends = [0, *sorted(cuts), 6]
    for start, stop in zip(ends, ends[1:], strict=False):
        own = order[start:stop]
        parts.take(Reads({IMAGE: told(own)}))
        parts.take(Reads({LABELS: told([one for one in own if one in "abc"], 2)}))
    assert parts.digest(IMAGE, LABELS) == whole.digest(IMAGE, LABELS)
    assert parts.digest("masks.none") == ledger("a").digest("masks.none")
    whole.take(Reads({IMAGE: told("x")}))
    assert parts.digest(IMAGE, LABELS) != whole.digest(IMAGE, LABELS)


def test_the_digest_is_over_ids_and_digests_in_the_manifests_order():
    found = ledger("cab")
    found.take(Reads({IMAGE: told("bc"), LABELS: told("b", 2)}))
    wanted = b"c\0" + told("c")["c"] + bytes(32) + b"b\0" + told("b")["b"] + told("b", 2)["b"]
    assert found.digest(IMAGE, LABELS) == hashlib.sha256(wanted).hexdigest()


def test_ids_of_one_hash_are_told_apart(monkeypatch):
    from conceptseg.data import ledger as module

    monkeypatch.setattr(module, "hash", lambda name: len(name) % 2, raising=False)
    names = ("a", "bb", "c", "dd", "e")
    found = ledger(names)
    for name in reversed(names):
        found.take(Reads({IMAGE: told([name])}))
    plain = ledger(names)
    plain.take(Reads({IMAGE: told(names)}))
    assert found.digest(IMAGE) == plain.digest(IMAGE)


def test_other_bytes_of_a_sample_are_refused_with_its_file(tmp_path):
    pairs(tmp_path)
    whole = manifest(tmp_path, labels=BLOCK, folders=FOLDERS)
    beside = {"masks.ink": lambda sample: tmp_path / f"ink/{sample.id}.png"}
    for kind, file in ((IMAGE, "images/b"), (LABELS, "masks/b"), ("masks.ink", "ink/b")):
        found = Ledger(whole, beside)
        found.take(Reads({kind: told("abc")}))
        found.take(Reads({kind: told("b")}))
        with pytest.raises(InputError, match=rf"{file}\.png: holds other bytes .* --fresh"):
            found.take(Reads({kind: told("ab") | told("b", 7)}))
    path = tmp_path / "train/images/c.png"
    with recording(Reads()):
        whole.image(whole.sample("c"))
        rewrite(path, path.read_bytes()[:-1] + b"!")
        with pytest.raises(InputError, match=r"images/c\.png: holds other bytes"):
            whole.image(whole.sample("c"))
    os.utime(path)
    whole.image(whole.sample("c"))


def test_reads_survive_a_file_and_another_process():
    reads = Reads({IMAGE: told(["a", "é 1"]), "masks.a/b": told(["é 1"])})
    assert Reads.from_arrays(reads.to_arrays()) == reads
    assert Reads.from_arrays(Reads().to_arrays()) == Reads()
    assert pickle.loads(pickle.dumps(reads)) == reads
