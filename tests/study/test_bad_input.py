"""Everything a user can get wrong, through the real command.

Each mistake gets exit code 2 and exactly one `error:` line, which names the thing and its cure;
no traceback, nothing on the output stream, and the output folder is as it was before.
"""

import os
import pickle
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from conceptseg.engine.store import FOLDER
from conceptseg.study import __main__ as command
from tests import files
from tests.study.ace import test_study
from tests.study.ace.test_study import BarNet, Page

CHECKOUT = Path(__file__).parent.parent.parent
EARLIER = "earlier result"


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return test_study.write_scenes(tmp_path / "files", 6)


@pytest.fixture
def refused(capsys, tmp_path):
    """Calls ACE with a mistake; the one line it gets."""

    def refused(study, *words, out="out"):
        before = contents(tmp_path)
        code = command.main(["ace", "--config", str(study), "--out", out, *map(str, words)])
        streams = capsys.readouterr()
        line = one_line(code, streams.out, streams.err)
        assert contents(tmp_path) == before, "something was left behind"
        return line

    return refused


def one_line(code, out, err):
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert code == 2, err
    assert out == "" and len(errors) == 1 and errors[0] == lines[-1], err
    assert "Traceback" not in err
    assert len(errors[0]) < 500
    return errors[0].removeprefix("error: ")


def contents(folder):
    """Every file below a folder with its bytes, but for the parts that a run saves to resume."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and FOLDER not in path.parts
    }


def edit(study, name="set.yaml", **changes):
    """Change keys of the manifest (or another file) beside the study."""
    path = study.parent / name
    content = {**yaml.safe_load(path.read_text()), **changes}
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))


def image(study, number=3):
    return study.parent / f"images/s{number:02d}.png"


def mask(study, number=3):
    return study.parent / f"masks/s{number:02d}.png"


# The study's file and the command's words


def test_unknown_key_names_the_nearest(refused, study):
    edit(study, study.name, nuls=49)
    line = refused(study)
    assert str(study) in line and "unknown key 'nuls'; did you mean 'nulls'" in line
    edit(study, study.name, nuls=None, concepts={"kind": "kmeans", "cuonts": [3]})
    assert "'counts'" in refused(study)
    assert "'erase_images'" in refused(study, "--set", "erase_image=3")
    edit(study, study.name, concepts={"kind": "kmean"})
    assert "kmeans" in refused(study)


@pytest.mark.parametrize(
    "setting, words",
    [
        ("nulls=many", "valid integer"),
        ("nulls=3", "greater than or equal to 19"),
        ("scales=15", "[a, b]"),
        ("target.score=logits", "'margin'"),
        ("data.classes={a: 1}", "[a, b]"),
        ("model=1", "model"),
        ("concepts.counts=[few]", "valid integer"),
    ],
)
def test_wrong_type(refused, study, setting, words):
    line = refused(study, "--set", setting)
    assert line.startswith(f"--set {setting.partition('=')[0]}") and words in line


@pytest.mark.parametrize(
    "text",
    [
        "nulls: !!python/object/apply:os.system ['touch owned']",
        "nulls: !!python/name:os.system",
        "? !!python/tuple [1, 2]\n: 3",
        "nulls: &a [*a]",
    ],
)
@pytest.mark.parametrize("name", ["ace_painted.yaml", "set.yaml"])
def test_yaml_with_tags_is_data_or_nothing(refused, study, name, text):
    path = study.parent / name
    path.write_text(f"{path.read_text()}\n{text}\n")
    line = refused(study)
    assert str(path) in line and re.search(r"line \d+", line)
    assert not Path("owned").exists()


def test_no_such_study_file(refused, study):
    assert "did you mean 'ace_painted.yaml'" in refused(study.with_name("ace_paintd.yaml"))


# The manifest and the files that it names


def test_missing_manifest_names_its_neighbour(refused, study):
    line = refused(study, "--set", f"data.manifest={study.parent / 'sett.yaml'}")
    assert "sett.yaml: no such file" in line and "'set.yaml'" in line


def test_missing_image(refused, study):
    samples = [{"image": f"images/s{n:02d}.png"} for n in (0, 1, 2, 3, 7)]
    edit(study, folders=None, samples=samples)
    assert "s07.png" in refused(study)


def test_missing_mask(refused, study):
    mask(study).unlink()
    assert "s03.png" in refused(study)


def test_truncated_png(refused, study):
    for path in (image(study), mask(study)):
        whole = path.read_bytes()
        for kept in (whole[:-40], whole[:60], whole[:20], b""):
            path.write_bytes(kept)
            assert str(path.name) in refused(study), len(kept)
        path.write_bytes(whole)


def test_text_named_png(refused, study):
    for path in (image(study), mask(study)):
        whole = path.read_bytes()
        path.write_text("no picture at all\n" * 20)
        assert path.name in refused(study)
        path.write_bytes(whole)


def test_mask_of_another_size(refused, study):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(mask(study))
    line = refused(study)
    assert "s03.png" in line and "40 x 40" in line and "32 x 40" in line
    Image.fromarray(np.zeros((40, 32), np.uint8)).save(mask(study))
    assert "EXIF" in refused(study)


def test_mask_value_outside_the_label_block(refused, study):
    values = np.zeros((32, 40), np.uint8)
    values[3, 4] = 7
    Image.fromarray(values).save(mask(study))
    line = refused(study)
    assert "s03.png" in line and "7" in line and "ignore" in line


def test_duplicate_ids(refused, study):
    entries = [{"image": "images/s00.png"}, {"image": "images/s01.png", "id": "s00"}]
    edit(study, folders=None, samples=entries)
    line = refused(study)
    assert "set.yaml" in line and "'s00'" in line and "unique" in line


@pytest.mark.parametrize("path", ["../outside.png", "images/../../outside.png", "/etc/hostname"])
def test_path_that_leaves_the_root(refused, study, path):
    Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(study.parent.parent / "outside.png")
    edit(study, folders=None, samples=[{"image": "images/s00.png"}, {"image": path}])
    line = refused(study)
    assert path in line and "root" in line


def test_link_that_leaves_the_root(refused, study):
    outside = study.parent.parent / "outside.png"
    image(study).rename(outside)
    image(study).symlink_to(outside)
    assert "s03.png" in refused(study)


def test_decompression_bomb(refused, study):
    image(study).write_bytes(files.png_of(60_000, 60_000, 8, 2, b"\0"))
    line = refused(study)
    assert "s03.png" in line and "decompression bomb" in line and "tiles" in line


@pytest.mark.parametrize("samples", [{"samples": []}, {"folders": []}])
def test_empty_data_set(refused, study, samples):
    edit(study, **{"folders": None, **samples})
    line = refused(study)
    assert "set.yaml" in line and re.search("empty|no sample|at least 1", line)


def test_folder_without_images(refused, study):
    edit(study, folders=[{"images": "none/{id}.png"}])
    assert "none/{id}.png" in refused(study)


# The network


def test_class_with_no_pixels(refused, study):
    """Named by the user, so not merely skipped: `blue` is a class that nothing is predicted as."""
    edit(study, labels={"names": ["ground", "red", "green"], "background": "ground"})
    for n in range(6):  # no image is red
        pixels, labels = test_study.paint(2 * n + 1)
        Image.fromarray(pixels).save(image(study, n))
        Image.fromarray(labels).save(mask(study, n))
    for classes in ("[red]", "[green, red]"):
        line = refused(study, "--set", f"data.classes={classes}")
        assert "'red'" in line and "'green'" not in line
        assert "6 images" in line and "data.classes" in line


def test_unknown_class(refused, study):
    line = refused(study, "--set", "data.classes=[grene]")
    assert "'grene'" in line and "did you mean 'green'" in line


def test_layer_that_does_not_exist(refused, study):
    line = refused(study, "--set", "layer=boddy")
    assert "'boddy'" in line and "did you mean 'body'" in line


def test_layer_without_spatial_output(refused, study):
    line = refused(study, "--set", "layer=pooled")
    assert "pooled" in line and re.search("grid|map|spatial", line)


def test_checkpoint_with_other_shapes(refused, study):
    state = BarNet().state_dict()
    state["head.weight"] = torch.zeros(5, 17, 1, 1)
    save_file(state, "other.safetensors")
    line = refused(study, "--set", "model.weights=other.safetensors")
    assert "other.safetensors" in line and "head.weight" in line
    assert "5" in line and "3" in line
    save_file({"nothing": torch.zeros(2)}, "foreign.safetensors")
    assert "foreign.safetensors" in refused(study, "--set", "model.weights=foreign.safetensors")


class Malicious:
    """Runs a command when unpickled."""

    def __reduce__(self):
        return os.system, ("touch owned",)


@pytest.mark.parametrize("name", ["bad.pt", "bad.pth", "bad.bin", "bad.safetensors"])
@pytest.mark.parametrize("how", ["torch", "pickle", "hidden"])
def test_checkpoint_with_code_is_not_run(refused, study, name, how):
    state = {"state_dict": BarNet().state_dict()}
    if how == "pickle":
        Path(name).write_bytes(pickle.dumps(Malicious()))
    else:
        content = Malicious() if how == "torch" else {**state, "epoch": Malicious()}
        torch.save(content, name)
    assert name in refused(study, "--set", f"model.weights={name}")
    assert not Path("owned").exists()


def test_malicious_checkpoint_is_malicious(study, tmp_path):
    """The sentinel works: loaded as pickle, the file above does run its code."""
    pickle.loads(pickle.dumps(Malicious()))
    assert Path("owned").exists()


def test_damaged_checkpoint(refused, study):
    save_file(BarNet().state_dict(), "cut.safetensors")
    whole = Path("cut.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cut.safetensors" in refused(study, "--set", "model.weights=cut.safetensors")
    Path("huge.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert "huge.safetensors" in refused(study, "--set", "model.weights=huge.safetensors")


def test_network_that_returns_nan(refused, study):
    line = refused(study, "--set", "model.arguments={poison: true}")
    assert "NaN" in line and "'s00'" in line and "model.preprocessing" in line


# The output folder


@pytest.fixture
def earlier(tmp_path):
    """An earlier result in the output folder."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("result.json", "report.html", "arrays.npz"):
        (out / name).write_text(EARLIER)
    return out


def test_earlier_result_is_left_alone(refused, earlier, study):
    """`refused` compares every byte; here there is something to lose."""
    image(study, 5).write_text("text")
    refused(study)
    refused(study, "--set", "model.arguments={poison: true}")
    assert (earlier / "report.html").read_text() == EARLIER


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/none/out"])
def test_output_folder_that_cannot_be_written(refused, study, out):
    Path("file").write_text("mine")
    assert out in refused(study, out=out)


def test_output_folder_without_permission(refused, study, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o555)
    assert "closed" in refused(study, out="closed/out")


def process(*words, limit=0):
    """The command as a process of its own, with a limit on the size of files that it may write."""
    program = [sys.executable, "-m", "tests.study.toy_command", str(limit), *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(program, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("limit", [3_000, 400_000])
def test_disk_that_fills_up(study, earlier, limit, tmp_path):
    """A real limit on files: the smaller one is met by the first saved part, the other by the
    report, when everything is computed."""
    before = contents(tmp_path)
    words = ["-c", study, "--out", "out", "--set", "min_images=2", "--fresh"]
    done = process("ace", *words, limit=limit)
    assert "cannot write" in one_line(done.returncode, done.stdout, done.stderr)
    assert contents(tmp_path) == before


def test_as_a_process(study):
    """A mistake that is met with the network at hand; those before it are tested in this one."""
    done = process("ace", "-c", study, "--out", "out", "--set", "layer=boddy")
    assert "did you mean" in one_line(done.returncode, done.stdout, done.stderr)
    assert not Path("out").exists()


# Names that are code in another language

EVIL = ('gr"><img src=x onerror=alert(1)>', "<script>alert(1)</script>", "</script><b>g&amp;'`")


def test_class_names_are_text_in_the_report(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages, results = [], []
    for folder, names in (("plain", test_study.CLASSES), ("evil", EVIL)):
        study = test_study.write_scenes(tmp_path / folder, names=names)
        results.append(test_study.run(capsys, study, f"{folder}-out"))
        pages.append(Page(Path(f"{folder}-out/report.html").read_text()))
    assert results[1]["findings"][0]["class"] == EVIL[1]
    assert pages[1].tags == pages[0].tags, "a class name became markup"
    assert pages[1].ids == pages[0].ids
    assert any(EVIL[1] in text for text in pages[1].text)


def test_names_of_samples_that_are_markup_are_refused(refused, study):
    edit(study, folders=None, samples=[{"image": "images/s00.png", "id": "<script>"}])
    assert "'<script>'" in refused(study)


def test_a_name_of_any_length_is_told_in_a_bounded_line(refused, study):
    line = refused(study, "--set", f"data.classes=[{'x' * 100_000}]")
    assert "no class 'xxx" in line or "xxx" in line
    line = refused(study, "--set", f"data.manifest={'y' * 100_000}.yaml")
    assert "yyy" in line


def test_a_long_class_name_of_a_mask_check_is_bounded_too(study, capsys):
    edit(study, samples=[{"image": f"{'z' * 200}/{n}.png"} for n in range(3)])
    assert command.main(["check", "-c", str(study), "--study", "ace"]) == 2
    assert max(map(len, capsys.readouterr().err.splitlines())) < 1000
