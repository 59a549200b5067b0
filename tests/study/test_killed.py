"""Every study, ended at random moments and started again until it ends by itself: one result.

CONCEPTSEG_KILLS says how often each study is killed (3 times by default). The moments and signals
follow from the study's name and the number of the trial, so that a trial can be had again; where in
the work a moment falls depends on the machine.
"""

import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from conceptseg import catalogue
from conceptseg.engine.store import FOLDER
from conceptseg.study import __main__ as command
from tests.data.test_hashed import rewrite
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_strange import IMAGES, write

pytestmark = pytest.mark.slow

TRIALS = int(os.environ.get("CONCEPTSEG_KILLS", "3"))
STUDIES = catalogue.names("study")
SIGNALS = {
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {143, -signal.SIGTERM},
    signal.SIGINT: {130, -signal.SIGINT},
}
"""With which exit codes a process ends by a signal: its own, or before it has come to say it."""
WORDS = ("--set", "run.shards=4", "--set", "run.processes=1")
LONG = 600


def called(words, errors):
    """The command, in a process of its own, its error stream in a file.

    Until the command has begun Ctrl-C ends it as any program that does not care.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os._exit(command.main(words))


@pytest.fixture(scope="module")
def server():
    """Starts processes in which all is imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "conceptseg.engine.run", "torch", "plotly"])
    return context


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    names = NETWORKS["plain"].classes
    return {names: write_scenes(tmp_path_factory.mktemp("scenes"), IMAGES, names)}


def start(server, words, folder):
    """The process, when its error stream is that of this run: what an earlier save left may be
    there at once, and be taken for one of this run's."""
    errors = folder / "errors.txt"
    errors.unlink(missing_ok=True)
    process = server.Process(target=called, args=([*map(str, words)], errors))
    process.start()
    while process.is_alive() and not errors.exists():
        time.sleep(0.001)
    return process


def end(process):
    process.join(LONG)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def content(out):
    """All of a result but when it was made, and with how many shards."""
    saved = json.loads((out / "result.json").read_text())
    del saved["timings"], saved["digest"]
    return saved


@pytest.fixture(scope="module")
def whole(server, scenes, tmp_path_factory):
    """The words of a study's command, its result when nothing disturbs it, and the seconds."""
    known = {}

    def made(study):
        if study not in known:
            folder = tmp_path_factory.mktemp(study)
            path = write(folder, study, "plain", scenes)
            words = [study, "-c", path, *WORDS, "--out"]
            began = time.monotonic()
            code = end(start(server, [*words, folder / "out"], folder))
            assert code == 0, (folder / "errors.txt").read_text()
            known[study] = words, content(folder / "out"), time.monotonic() - began
        return known[study]

    return made


def killed(process, folder, number, dice, seconds, in_the_save):
    """Send a signal at a random moment, of all or of the save alone; the exit code."""
    if in_the_save:
        while process.is_alive() and not list(folder.glob(".out.*.partial")):
            time.sleep(0.0005)
        time.sleep(dice.choice([0.0, dice.uniform(0, 0.004), dice.uniform(0, 0.05)]))
    else:
        process.join(dice.uniform(0, 1.05 * seconds))
    if process.is_alive():
        os.kill(process.pid, number)
    return end(process)


@pytest.mark.parametrize("trial", range(TRIALS))
@pytest.mark.parametrize("study", STUDIES)
def test_the_same_command_again_gives_the_same_result(study, trial, whole, server, tmp_path):
    words, expected, seconds = whole(study)
    dice = random.Random(f"{study} {trial}")
    out, codes = tmp_path / "out", []
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for _ in range(dice.choice([1, 1, 2, 3])):
        number = dice.choice(list(SIGNALS)) if trial > 2 else list(SIGNALS)[trial]
        process = start(server, [*words, out], tmp_path)
        codes.append(killed(process, tmp_path, number, dice, seconds, trial % 3 == 2))
        said = (tmp_path / "errors.txt").read_text()
        assert codes[-1] in {0, *SIGNALS[number]}, said
        assert "Traceback" not in said
        if codes[-1] in (130, 143):
            assert said.splitlines()[-1].endswith("the same command resumes")
        assert (out / "notes.txt").read_text() == "mine"
        if (out / "result.json").exists():
            assert content(out) == expected
    code = end(start(server, [*words, out], tmp_path))
    assert code == 0, (tmp_path / "errors.txt").read_text()
    assert content(out) == expected
    left = {"errors.txt", "out"}
    assert set(os.listdir(tmp_path)) == left and (out / "notes.txt").read_text() == "mine"
    assert not (out / FOLDER).exists()
    print(f"{study} {trial}: exit codes {codes}")


def interrupted(server, words, out, folder, seconds):
    """Kill a run when it has saved some parts; the files of these."""
    process = start(server, [*words, out], folder)
    until = time.monotonic() + seconds + LONG
    while process.is_alive() and time.monotonic() < until:
        parts = [one for one in out.rglob("*.safetensors") if one.parent.name != "carry"]
        if len(parts) >= 2:
            break
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert end(process) == -signal.SIGKILL
    return parts


@pytest.mark.parametrize("study", ["ability", "dissect"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "behind the same times"])
def test_an_image_that_changes_meanwhile(study, seen, server, scenes, tmp_path):
    """Either its name is told, or the result is that of the one data set or the other."""
    names = NETWORKS["plain"].classes
    manifest = write_scenes(tmp_path / "data", IMAGES, names)
    path = write(tmp_path, study, "plain", {names: manifest})
    words = [study, "-c", path, *WORDS, "--out"]
    ends = []
    image = sorted((tmp_path / "data/images").iterdir())[0]
    Image.open(image).save(image, compress_level=0)  # what is put in its place can be as long
    before, stamp = image.read_bytes(), image.stat()
    assert end(start(server, [*words, tmp_path / "old"], tmp_path)) == 0
    interrupted(server, words, tmp_path / "out", tmp_path, 0)
    pixels = np.asarray(Image.open(image)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(image, compress_level=1)
    if not seen:
        data = image.read_bytes()
        image.write_bytes(before)
        os.utime(image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        rewrite(image, data + bytes(len(before) - len(data)))
    code = end(start(server, [*words, tmp_path / "out"], tmp_path))
    said = (tmp_path / "errors.txt").read_text()
    if code == 2:
        assert image.name in said.splitlines()[-1] and "--fresh" in said
        return
    assert code == 0, said
    assert end(start(server, [*words, tmp_path / "new"], tmp_path)) == 0
    ends = [content(tmp_path / name) for name in ("old", "new")]
    assert content(tmp_path / "out") in ends
    assert not seen or content(tmp_path / "out") == ends[1]


def test_a_side_file_that_changes_meanwhile(server, tmp_path):
    """Concept masks of the user's: what was counted on the old ones is not used."""
    names = NETWORKS["plain"].classes
    manifest = write_scenes(tmp_path / "data", IMAGES, names)
    path = write(tmp_path, "dissect", "plain", {names: manifest})
    (tmp_path / "data/ink").mkdir()
    rng = np.random.default_rng(0)
    for one in sorted((tmp_path / "data/images").iterdir()):
        shape = np.asarray(Image.open(one)).shape[:2]
        ink = (rng.random(shape) > 0.5).astype(np.uint8) * 255
        Image.fromarray(ink).save(tmp_path / f"data/ink/{one.stem}.png")
    own = yaml.safe_load(path.read_text()) | {"masks": {"ink": "ink/{id}.png"}}
    path.write_text(yaml.safe_dump(own))
    words = ["dissect", "-c", path, *WORDS, "--out"]
    assert interrupted(server, words, tmp_path / "out", tmp_path, 0)
    for one in sorted((tmp_path / "data/ink").iterdir()):
        Image.fromarray(255 - np.asarray(Image.open(one))).save(one)
    for name in ("out", "new"):
        code = end(start(server, [*words, tmp_path / name], tmp_path))
        assert code == 0, (tmp_path / "errors.txt").read_text()
    assert content(tmp_path / "out") == content(tmp_path / "new")


@pytest.mark.parametrize("study", ["ability", "permutation"])
def test_another_batch_size_uses_what_was_done(study, whole, server, tmp_path):
    words, expected, seconds = whole(study)
    out = tmp_path / "out"
    parts = interrupted(server, words, out, tmp_path, seconds)
    name = parts[0].parent.name.rpartition("-")[0]
    code = end(start(server, [*words, out, "--batch-size", 1], tmp_path))
    assert code == 0, (tmp_path / "errors.txt").read_text()
    timings = json.loads((out / "result.json").read_text())["timings"]
    assert timings["resumed_shards"][name] >= 2 or timings["resumed_shards"][name] == len(parts)
    found = content(out)
    assert [one["claim"] for one in found["findings"]] == [
        one["claim"] for one in expected["findings"]
    ]
