import numpy as np
import pytest
from PIL import Image

from conceptseg.data.manifest import check_files
from conceptseg.data.readers.voc import NAMES, colour
from conceptseg.errors import InputError
from tests.files import indexed, manifest, write


def layout(root):
    for name, side in {"2007_01": 4, "2007_02": 6, "2008_03": 4}.items():
        for folder in ("JPEGImages", "SegmentationClass"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        image = np.full((side, 5, 3), 90, np.uint8)
        Image.fromarray(image).save(root / f"JPEGImages/{name}.jpg")
        mask = np.zeros((side, 5))
        mask[0] = [0, 15, 20, 255, 7]
        indexed(root / f"SegmentationClass/{name}.png", mask)
    write(root / "ImageSets/Segmentation/train.txt", "2007_01\n2007_02\n")
    write(root / "ImageSets/Segmentation/val.txt", "2008_03\n")


def test_the_layout(tmp_path):
    layout(tmp_path / "VOC2012")
    found = manifest(tmp_path, root="VOC2012", format="voc")
    assert [(s.id, s.split) for s in found.samples] == [
        ("2007_01", "train"), ("2007_02", "train"), ("2008_03", "val"),
    ]  # fmt: skip
    assert check_files(found) == []
    assert found.labels(found.samples[1])[0].tolist() == [0, 15, 20, -1, 7]
    assert found.classes[15] == "person" and len(found.classes) == 21
    assert found.background == "background"
    bare = manifest(tmp_path, root="VOC2012", format="voc", splits=["val"], masks=False)
    assert bare.labels(bare.samples[0]) is None


def test_known_colours():
    """As the development kit shows them."""
    known = {
        "background": (0, 0, 0), "aeroplane": (128, 0, 0), "boat": (0, 0, 128),
        "cat": (64, 0, 0), "person": (192, 128, 128), "pottedplant": (0, 64, 0),
        "tvmonitor": (0, 64, 128),
    }  # fmt: skip
    assert {name: colour(NAMES.index(name)) for name in known} == known
    assert colour(255) == (224, 224, 192)


def test_other_layouts(tmp_path):
    with pytest.raises(InputError, match=r"not in the layout of VOC.*--data-root"):
        manifest(tmp_path, format="voc")
    layout(tmp_path)
    with pytest.raises(InputError, match=r"tran\.txt: no such file"):
        manifest(tmp_path, format="voc", splits=["tran"])
    with pytest.raises(InputError, match="unknown key 'split'; did you mean 'splits'"):
        manifest(tmp_path, format="voc", split="train")
    write(tmp_path / "ImageSets/Segmentation/train.txt", "../../x\n")
    with pytest.raises(InputError, match="leaves the root"):
        manifest(tmp_path, format="voc", splits=["train"])
