import numpy as np
import pytest

from conceptseg.data.manifest import check_files
from conceptseg.data.readers.cityscapes import CLASSES, LABELS
from conceptseg.errors import InputError
from tests.files import manifest, png, write


def layout(root, values):
    for split, city, frame in [
        ("train", "bochum", "000000_000313"),
        ("train", "aachen", "000001_000019"),
        ("val", "ulm", "000002_000019"),
    ]:
        name = f"{split}/{city}/{city}_{frame}"
        write(root / f"leftImg8bit/{name}_leftImg8bit.png", png(np.zeros((1, 7, 3), np.uint8)))
        write(root / f"gtFine/{name}_gtFine_labelIds.png", png(np.array([values], np.uint8)))
        write(root / f"gtFine/{name}_gtFine_color.png", b"")


def test_the_layout(tmp_path):
    layout(tmp_path, [7, 11, 26, 33, 0, 9, 255])
    found = manifest(tmp_path, format="cityscapes")
    assert [(s.id, s.split, s.group) for s in found.samples] == [
        ("aachen_000001_000019", "train", "aachen"),
        ("bochum_000000_000313", "train", "bochum"),
        ("ulm_000002_000019", "val", "ulm"),
    ]
    assert check_files(found) == []
    # Train ids: road 0, building 2, car 13, bicycle 18; unlabelled and parking are left out.
    assert found.labels(found.samples[0]).tolist() == [[0, 2, 13, 18, -1, -1, -1]]
    assert [found.classes[i] for i in (0, 2, 13, 18)] == ["road", "building", "car", "bicycle"]


def test_every_label_id_is_a_class_or_ignored():
    block = LABELS.block()
    labels = block.encode(np.array([[*range(34), 255]]), "m")[0]
    assert sorted(labels[labels >= 0].tolist()) == list(range(19))
    assert [int(np.flatnonzero(labels == i)[0]) for i in range(19)] == [id_ for id_, *_ in CLASSES]
    with pytest.raises(InputError, match="value 34 outside"):
        block.encode(np.array([[34]]), "m")


def test_other_layouts(tmp_path):
    with pytest.raises(InputError, match="not in the layout of Cityscapes"):
        manifest(tmp_path, format="cityscapes")
    layout(tmp_path, [0] * 7)
    with pytest.raises(InputError, match="no split 'tran'; did you mean 'train'"):
        manifest(tmp_path, format="cityscapes", splits=["tran"])
    coarse = manifest(tmp_path, format="cityscapes", annotation="gtCoarse")
    assert "gtCoarse_labelIds.png: no such file" in check_files(coarse)[0]
    with pytest.raises(InputError, match="leaves the root"):
        manifest(tmp_path, format="cityscapes", splits=[".."])
