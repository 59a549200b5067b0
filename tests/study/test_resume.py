"""ACE gives one result: whatever the batches and shards, and after a crash in the middle.

The map of segments is left out wherever rounding may differ: UMAP is chaotic, so that the last
bits of the embeddings, which batches do change, move its points by a visible amount. No other
number depends on it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

from conceptseg.engine import provenance, run
from conceptseg.engine.store import FOLDER
from conceptseg.study import __main__ as command
from tests.study.ace import test_study

CHECKOUT = Path(__file__).parent.parent.parent
NOT_FOR_ROUNDING = {"map"}
CUTS = [(1, 1), (7, 1), (32, 1), (1, 4), (7, 4), (32, 4)]

PLANTED = {
    "data": {"manifest": "set.yaml"},
    "model": {"source": "planted", "name": "constructed", "arguments": {"w": 0.4}},
    "run": {"device": "cpu", "batch_size": 5, "shards": 1, "threads": 1},
    "layer": "bottleneck",
    **test_study.SMALL,
}

UNET = {
    **PLANTED,
    "model": {
        "source": "factory",
        "name": "tests.study.test_resume:small_unet",
        "classes": ["background", "one", "two"],
    },
    "layer": "mid",
}


def small_unet():
    """A U-Net with skips and BatchNorm, whose classes are all predicted somewhere."""
    from tests import small_models

    return small_models.unet().module


def write(folder, content, images=24):
    """The study's file, on scenes of the planted benchmark (grey) or painted ones (colours)."""
    folder.mkdir()
    if content is UNET:
        test_study.write_scenes(folder / "painted", images, masks=False)
        manifest = folder / "painted/set.yaml"
        content = {**content, "data": {"manifest": str(manifest)}}
    else:
        scenes = {"format": "planted", "name": "exact", "scenes": "exact", "n": images}
        (folder / "set.yaml").write_text(yaml.safe_dump(scenes))
    path = folder / "ace_here.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def result_of(out):
    """All of a saved result that a run may not change: result.json and the arrays."""
    content = json.loads((out / "result.json").read_text())
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        return content, {key: arrays[key] for key in arrays.files}


def call(study, out, *words):
    words = ["ace", "--config", str(study), "--out", str(out), "--quiet", *map(str, words)]
    assert command.main(words) == 0
    return result_of(Path(out))


def assert_close(one, other, where=""):
    """Equal to 1e-5: relative, and absolute for what is around zero."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_close(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_close(*pair, f"{where}[{index}]")
    elif isinstance(one, float) and isinstance(other, (int, float)):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5), where
    else:
        assert one == other, where


@pytest.mark.slow
@pytest.mark.parametrize("content", [PLANTED, UNET], ids=["constructed", "unet"])
def test_batches_and_shards_change_nothing(tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = write(tmp_path / "files", content)
    results = {
        cut: call(study, f"out-{cut}", "--batch-size", cut[0], "--shards", cut[1]) for cut in CUTS
    }
    (first, arrays), *others = results.values()
    assert first["tables"]["pairs"]["rows"] and first["tables"]["concepts"]["rows"]
    for other, other_arrays in others:
        for key in ("findings", "tables", "skipped", "notes"):
            assert_close(first[key], other[key], key)
        assert arrays.keys() == other_arrays.keys()
        for key in arrays.keys() - NOT_FOR_ROUNDING:
            scale = max(1.0, float(np.abs(arrays[key]).max(initial=0)))
            np.testing.assert_allclose(
                arrays[key], other_arrays[key], rtol=1e-5, atol=1e-5 * scale, err_msg=key
            )


@pytest.mark.slow
def test_same_seed_twice_with_the_map(tmp_path, monkeypatch):
    """With UMAP: in one process and arithmetic, it too comes out the same to the last bit."""
    monkeypatch.chdir(tmp_path)
    study = write(tmp_path / "files", {**PLANTED, "map_segments": 200, "map_images": 24})
    (one, arrays), (two, other) = (call(study, out) for out in ("a", "b"))
    assert one.pop("timings") and two.pop("timings")
    assert one == two
    for key in arrays:
        np.testing.assert_array_equal(arrays[key], other[key], err_msg=key)
    assert len(arrays["map"]) > 100


def test_another_seed_gives_another_result(tmp_path, monkeypatch):
    """The comparisons above could see a difference."""
    monkeypatch.chdir(tmp_path)
    study = write(tmp_path / "files", PLANTED, images=12)
    one, two = (call(study, f"o{seed}", "--set", f"seed={seed}")[0] for seed in (0, 1))
    with pytest.raises(AssertionError):
        assert_close(one["tables"], two["tables"])


def process(study, out, kill_at=None, **environment):
    """The command in a process of its own, killed by SIGKILL once a line holds `kill_at`."""
    words = [sys.executable, "-m", "conceptseg.study", "ace", "-c", str(study), "--out", out]
    done = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", **environment},
    )
    for line in done.stderr:
        if kill_at is not None and kill_at in line:
            os.kill(done.pid, signal.SIGKILL)
            break
    out, err = done.communicate(timeout=300)
    return done.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", ["survey: shard 5/6", "erase: shard 3/6"])
def test_kill_9_and_the_same_command(tmp_path, monkeypatch, kill_at):
    monkeypatch.chdir(tmp_path)
    run_config = {**PLANTED["run"], "shards": 6, "batch_size": 2}
    study = write(tmp_path / "files", {**PLANTED, "run": run_config}, images=36)
    whole, arrays = result_of_process(study, "whole")
    assert sum(whole["timings"]["resumed_shards"].values()) == 0

    code, _, _ = process(study, "killed", kill_at)
    assert code == -signal.SIGKILL
    assert list(Path("killed", FOLDER).rglob("*.safetensors"))
    assert not Path("killed/result.json").exists() and not Path("killed/report.html").exists()

    resumed, other = result_of_process(study, "killed")
    counted = resumed["timings"]["resumed_shards"]
    assert counted["survey"] == (6 if "erase" in kill_at else 4)
    assert counted["erase"] == (2 if "erase" in kill_at else 0)
    for one in (whole, resumed):
        one.pop("timings")
        one["provenance"].pop("command")  # it names the output folder
    if whole["provenance"]["code"] != resumed["provenance"]["code"]:
        pytest.skip("the package was edited while this test ran")
    assert whole == resumed
    for key in arrays:
        np.testing.assert_array_equal(arrays[key], other[key], err_msg=key)
    assert not Path("killed", FOLDER).exists()


def result_of_process(study, out):
    code, printed, err = process(study, out)
    assert code == 0, err
    assert printed.splitlines()[-1] == f"{out}/report.html"
    return result_of(Path(out))


def test_one_changed_weight_misses_what_was_saved(tmp_path, monkeypatch):
    """The run is stopped before it saves its result, so that all its shards are still there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "code_digest", lambda: "the same")  # others may edit files
    study = test_study.write_scenes(tmp_path / "files")
    state = test_study.BarNet().state_dict()
    save_file(state, "weights.safetensors")
    words = ["--set", "model.weights=weights.safetensors"]
    save = run.save

    def stopped(*args):
        raise KeyboardInterrupt

    def resumed(cut_short):
        monkeypatch.setattr(run, "save", stopped if cut_short else save)
        code = command.main(["ace", "-c", str(study), "--out", "out", "-q", *words])
        assert code == (130 if cut_short else 0)
        if not cut_short:
            return result_of(Path("out"))[0]["timings"]["resumed_shards"]
        return None

    resumed(cut_short=True)
    shutil.copytree("out", "kept")
    everything = resumed(cut_short=False)
    assert {name for name, count in everything.items() if count} >= {
        "survey",
        "erase",
        "outside",
        "pictures",
        "control",
        "compare",
    }
    timings = result_of(Path("out"))[0]["timings"]
    # All that follows the first pass; the process that draws the map is of the run that started it.
    again = set(timings["seconds"]) - set(timings["resumed_steps"])
    assert again == {"warm_map", "lay_out_map", "finish"}

    shutil.rmtree("out")
    shutil.move("kept", "out")
    state["body.0.weight"][0, 0, 0, 0] += 1e-4
    save_file(state, "weights.safetensors")
    assert set(resumed(cut_short=False).values()) == {0}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch):
    """Four times the images, of which no more are kept: the same peak within 15 %."""
    monkeypatch.chdir(tmp_path)
    kept = {"images_per_class": 8, "map_segments": 20, "picture_px": 64}
    peaks = []
    for images in (100, 400):
        scenes = {"format": "planted", "name": "textured", "n": images}
        Path("set.yaml").write_text(yaml.safe_dump(scenes))
        model = {"source": "planted", "name": "clean"}
        content = {**PLANTED, "data": {"manifest": "set.yaml"}, "model": model, **kept}
        content["run"] = {"device": "cpu", "batch_size": 8, "threads": 1}
        Path("ace_memory.yaml").write_text(yaml.safe_dump(content))
        result, _ = result_of_process(Path("ace_memory.yaml"), f"out-{images}")
        assert result["provenance"]["passes"][0]["images"] == images
        assert result["notes"]["images"] <= 8 * 10
        peaks.append(result["timings"]["peak_memory_bytes"])
    print("peak MiB:", [round(peak / 2**20) for peak in peaks])
    assert peaks[1] <= 1.15 * peaks[0]
