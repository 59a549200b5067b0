import numpy as np

from conceptseg.data.manifest import check_files
from conceptseg.data.problems import kind, sum_up
from tests.files import FOLDERS, LABELS, manifest, pairs, png, write


def test_few_errors_are_all_told():
    errors = [f"a{i}.png: no such file" for i in range(5)]
    assert sum_up(errors) == errors
    assert sum_up([]) == []


def test_many_errors_are_counted_by_kind(tmp_path):
    names = [f"n{i:03d}" for i in range(60)]
    pairs(tmp_path, names=names)
    whole = manifest(tmp_path, labels=LABELS, folders=FOLDERS)
    for i, name in enumerate(names[:50]):
        if i % 5 == 0:
            (tmp_path / f"train/images/{name}.png").unlink()
        elif i % 5 == 1:
            write(tmp_path / f"train/images/{name}.png", png(np.zeros((4 + i, 4, 3), np.uint8)))
        else:
            write(tmp_path / f"train/masks/{name}.png", png(np.full((4, 4), 10 + i, np.uint8)))
    errors = check_files(whole)
    found = sum_up(errors)
    assert found[:5] == errors[:5]
    (last,) = found[5:]
    assert last.startswith(
        "and 45 more; in all 30 x has the value ... outside the label block ...;"
    )
    assert "10 x no such file" in last
    assert "10 x the mask is ... pixels ..., its image ... is ..." in last
    assert len(last) < 400


def test_kinds_forget_files_names_and_numbers():
    one = kind("/x/a 1.png: has the values 1, 2, 3, ... outside the label block (classes 0 to 3)")
    other = kind("/y/b.png: has the values 7, 9 outside the label block (classes 0 to 9); add it")
    assert one == other == "has the value ... outside the label block ..."
    assert kind("m.yaml: sample 'a' has no mask") == kind("m.yaml: sample 'b' has no mask")
    assert kind("without a file") == "without a file"
