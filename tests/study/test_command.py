"""The command as a user meets it: help, verbs, exit codes, and one line for each mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from conceptseg import catalogue
from conceptseg.data.draw import sample_priority
from conceptseg.engine.store import FOLDER
from conceptseg.errors import InputError
from conceptseg.report.page import ALTERED
from conceptseg.result.lock import locked
from conceptseg.result.saved import sealed
from conceptseg.study import __main__ as command
from conceptseg.study.command.failure import report_failure
from tests import toys
from tests.study import toy_command

CHECKOUT = Path(__file__).parent.parent.parent
QUIET_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}


@pytest.fixture(autouse=True)
def _toy(monkeypatch, tmp_path):
    for name in ("names", "load", "entry"):
        monkeypatch.setattr(catalogue, name, getattr(catalogue, name))
    monkeypatch.setattr(command.app, "registered_commands", list(command.app.registered_commands))
    toy_command.register()
    toys.Calls.reset()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def study(tmp_path):
    return toy_command.write_files(tmp_path / "files")


def call(capsys, *words):
    """Exit code, lines of the output stream, lines of the error stream."""
    code = command.main([str(word) for word in words])
    streams = capsys.readouterr()
    return code, streams.out.splitlines(), streams.err.splitlines()


def refused(capsys, *words):
    """The one line that a mistake gets."""
    code, out, err = call(capsys, *words)
    errors = [line for line in err if line.startswith("error: ")]
    assert (code, out, len(errors)) == (2, [], 1), err
    assert "Traceback" not in "".join(err)
    return errors[0]


@pytest.mark.parametrize(
    "words", [[], ["ace"], ["check"], ["layers"], ["schema"], ["report"], ["list"]]
)
def test_help_is_fast_and_imports_nothing_heavy(words):
    program = (
        "import sys; from conceptseg.study.__main__ import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'sklearn', 'plotly', 'skimage', 'scipy', 'safetensors'};"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--help"],
        capture_output=True,
        text=True,
        env=QUIET_ENVIRONMENT,
    )
    print(f"help {words}: {time.perf_counter() - started:.2f} s")
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert "Usage: conceptseg" in done.stdout


@pytest.mark.parametrize("name", ["conceptseg", "conceptseg.study"])
def test_each_name_is_the_same_command(name):
    done = subprocess.run(
        [sys.executable, "-m", name, "--version"],
        capture_output=True,
        text=True,
        env=QUIET_ENVIRONMENT,
    )
    assert done.stdout.startswith("conceptseg ") and done.returncode == 0


def test_a_reader_that_leaves_early_is_no_failure():
    words = [sys.executable, "-m", "conceptseg.study", "ace", "--help"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, env=QUIET_ENVIRONMENT) as process:
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert b"Traceback" not in process.stderr.read()


def test_openmp_waits_passively_unless_told_otherwise():
    program = "import os, conceptseg.study.__main__; print(os.environ['OMP_WAIT_POLICY'])"
    words = [sys.executable, "-c", program]
    environment = {k: v for k, v in QUIET_ENVIRONMENT.items() if k != "OMP_WAIT_POLICY"}
    for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run(words, capture_output=True, text=True, env={**environment, **given})
        assert done.stdout.strip() == expected, done.stderr


def test_a_study_runs_from_files_to_report(capsys, study, tmp_path):
    code, out, err = call(capsys, "toy", "--config", study)
    assert code == 0
    report = Path(out[-1])
    assert len(out) == 1 and report.is_file()
    assert report.parts[0] == "runs" and report.parts[1].startswith("toy-noise-")
    assert any(line.startswith("means: 8 images in 4 shards") for line in err)
    assert any(line.startswith("deviations: finished in") for line in err)
    content = json.loads((report.parent / "result.json").read_text())
    assert content["study"] == "toy"
    assert content["config"]["data"]["manifest"] == "set.yaml"
    assert content["provenance"]["layer"] == "body"
    assert content["provenance"]["samples"] == 8
    assert set(content["timings"]["seconds"]) == {"means", "average", "deviations", "finish"}
    assert str(tmp_path) not in (report.parent / "result.json").read_text()
    assert not (report.parent / FOLDER).exists()


def test_quiet_prints_the_path_alone(capsys, study):
    code, out, err = call(capsys, "toy", "-c", study, "--quiet", "--out", "here")
    assert (code, out, err) == (0, ["here/report.html"], [])


def test_a_network_that_prints_does_not_reach_the_output_stream(capsys, study, monkeypatch):
    """Neither when it is built nor in its passes, quiet or not."""
    build, forward = toys.Net.__init__, toys.Net.forward
    monkeypatch.setattr(toys.Net, "__init__", lambda self, *a: print("built") or build(self, *a))
    monkeypatch.setattr(toys.Net, "forward", lambda self, x: print("passed") or forward(self, x))
    for words in ((), ("--quiet",)):
        code, out, err = call(capsys, "toy", "-c", study, "--out", "here", *words)
        assert (code, out) == (0, ["here/report.html"])
        assert "built" in err and "passed" in err


def test_twice_is_the_same_but_for_timings(capsys, study):
    contents = []
    for name in ("a", "b"):
        assert call(capsys, "toy", "-c", study, "--out", name, "--quiet")[0] == 0
        content = json.loads(Path(name, "result.json").read_text())
        content.pop("timings")
        contents.append(content)
    assert contents[0] == contents[1]


def test_options_reach_the_run(capsys, study):
    words = ["--set", "power=3", "--batch-size", "1", "--shards", "2", "--device", "cpu"]
    assert call(capsys, "toy", "-c", study, "-q", "--out", "o", *words)[0] == 0
    content = json.loads(Path("o/result.json").read_text())
    assert content["config"]["power"] == 3
    assert content["config"]["run"]["batch_size"] == 1
    assert [one["shards"] for one in content["provenance"]["passes"]] == [2, 2]
    assert toys.Calls.count == 8 + 4


def test_data_root_says_where_the_images_lie(capsys, study, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    for path in list(study.parent.iterdir()):
        if path.suffix == ".png" or path.is_dir():
            path.rename(away / path.name)
    assert "is the root right" in refused(capsys, "toy", "-c", study, "--out", "o")
    code, out, _ = call(capsys, "toy", "-c", study, "--data-root", "away", "--out", "o")
    assert (code, out) == (0, ["o/report.html"])


def test_report_is_rendered_again_without_network_and_data(capsys, study):
    assert call(capsys, "toy", "-c", study, "-q", "--out", "o")[0] == 0
    first = Path("o/report.html").read_bytes()
    Path("o/report.html").unlink()
    for path in study.parent.rglob("*"):
        if path.is_file():
            path.unlink()
    assert call(capsys, "report", "o") == (0, ["o/report.html"], [])
    assert Path("o/report.html").read_bytes() == first
    assert "result.json does not exist" in refused(capsys, "report", "none")


def test_report_of_a_result_that_lacks_a_table(capsys, study):
    assert call(capsys, "toy", "-c", study, "--out", "o")[0] == 0
    file = Path("o/result.json")
    file.write_text(json.dumps(sealed({**json.loads(file.read_text()), "tables": {}})))
    line = refused(capsys, "report", "o")
    assert "o: result.json lacks 'sums'" in line and "run the study again" in line


def test_report_of_a_result_that_was_edited(capsys, study):
    assert call(capsys, "toy", "-c", study, "--out", "o")[0] == 0
    before = Path("o/report.html").read_bytes()
    file = Path("o/result.json")
    content = json.loads(file.read_text())
    content["tables"]["sums"]["rows"][0]["value"] += 1
    file.write_text(json.dumps(content))
    code, _, err = call(capsys, "report", "o")
    assert (code, err) == (0, [f"o: {ALTERED.heading}; the report says so"])
    assert ALTERED.heading in Path("o/report.html").read_text()
    file.write_text(json.dumps(sealed(content)))
    assert call(capsys, "report", "o")[::2] == (0, [])
    before = Path("o/report.html").read_bytes()
    assert ALTERED.heading.encode() not in before
    content["tables"]["sums"]["rows"][0].pop("value")
    content["tables"]["sums"]["rows"][0]["name"] = ["a", "list"]
    file.write_text(json.dumps(sealed(content)))
    line = refused(capsys, "report", "o")
    assert "o: result.json" in line and "edited" in line
    assert Path("o/report.html").read_bytes() == before


def test_interrupted_says_how_to_go_on_and_does(capsys, study):
    toys.Calls.reset(at=4, error=KeyboardInterrupt())
    code, out, err = call(capsys, "toy", "-c", study, "--out", "o")
    assert (code, out) == (130, [])
    assert "the same command resumes" in err[-1]
    assert not Path("o/result.json").exists()
    toys.Calls.reset()
    code, _, err = call(capsys, "toy", "-c", study, "--out", "o")
    assert code == 0
    assert toys.Calls.count == 4 + 2 - 3  # the second pass sees half of the images
    assert sum("found saved" in line for line in err) == 3


def test_a_file_that_ends_too_early_is_no_ctrl_c(capsys, study):
    """typer takes an EOFError of any library for the user's wish to stop."""
    toys.Calls.reset(at=4, error=EOFError("No data left in file"))
    code, _, err = call(capsys, "toy", "-c", study, "--out", "o")
    assert code == 1 and "a defect" in err[-1] and not any("interrupted" in one for one in err)


SIGNALS = {signal.SIGINT: (130, "interrupted;"), signal.SIGTERM: (143, "terminated;")}


@pytest.mark.parametrize("number", SIGNALS)
def test_ctrl_c_and_the_end_of_a_job_reach_a_real_process(study, tmp_path, number):
    """A signal in the middle of real work, from outside."""
    words = [sys.executable, "-m", "tests.study.toy_command", "0", "toy", "-c", str(study)]
    process = subprocess.Popen(
        [*words, "--out", "o", "--set", "data.manifest=" + str(big(tmp_path))],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=QUIET_ENVIRONMENT,
    )
    for line in process.stderr:
        if "shard 2/" in line:
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    code, word = SIGNALS[number]
    assert process.returncode == code, err
    assert out == "" and "Traceback" not in err
    assert err.splitlines()[-1].startswith(word) and "the same command resumes" in err


def test_another_study_is_not_replaced_unless_asked(capsys, study):
    assert call(capsys, "toy", "-c", study, "--out", "o")[0] == 0
    before = Path("o/result.json").read_bytes()
    words = ("toy", "-c", study, "--out", "o", "--set", "seed=3")
    assert "another configuration (seed)" in refused(capsys, *words)
    assert Path("o/result.json").read_bytes() == before
    assert call(capsys, *words, "--fresh")[0] == 0
    assert Path("o/result.json").read_bytes() != before


@pytest.mark.parametrize("out", ["folder", "none/scores.csv", "x" * 250, "loop"])
def test_scores_that_could_not_be_written_are_refused_at_once(capsys, study, out):
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    words = ("predict-quality", "no result is looked for yet", "-c", study, "--out", out)
    assert out[:50] in refused(capsys, *words)


def test_a_report_that_a_kill_left_half_written_is_removed(capsys, study):
    assert call(capsys, "toy", "-c", study, "--out", "o")[0] == 0
    half = Path("o/.report.html.01234567.partial")
    half.write_text("half")
    code, _, err = call(capsys, "report", "o")
    assert (code, len(err)) == (0, 1) and half.name in err[0] and not half.exists()


def test_two_runs_in_one_folder(capsys, study):
    with locked(Path("o")):
        assert "another run is writing there" in refused(capsys, "toy", "-c", study, "--out", "o")
    assert call(capsys, "toy", "-c", study, "--out", "o")[0] == 0


def test_what_a_killed_save_has_left_is_told(capsys, study):
    Path(".o.01234567.partial").mkdir()
    Path(".o.01234567.partial/notes.txt").write_text("mine")
    code, _, err = call(capsys, "toy", "-c", study, "--out", "o")
    assert code == 0 and "notes.txt brought back into o" in err[0]
    assert Path("o/notes.txt").read_text() == "mine" and Path("o/result.json").is_file()
    assert not list(Path().glob(".o.*"))


def big(folder):
    """A data set that takes a while."""
    toy_command.write_files(folder / "big", images=400)
    return folder / "big" / "set.yaml"


@pytest.mark.parametrize(
    "error, code, words",
    [
        (MemoryError(), 3, "smaller --batch-size"),
        (torch.OutOfMemoryError("CUDA out of memory"), 3, "smaller --batch-size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 3, "smaller"),
        (OSError(28, "No space left on device", "f"), 2, "f: No space left on device"),
        (ZeroDivisionError("oops"), 1, "please report it"),
    ],
)
def test_exit_codes(capsys, study, error, code, words):
    toys.Calls.reset(at=2, error=error)
    got, out, err = call(capsys, "toy", "-c", study, "--out", "o")
    assert (got, out) == (code, [])
    assert words in err[-1]
    assert ("Traceback" in "\n".join(err)) == (code == 1)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(study):
    """A real limit on the size of files, which the report exceeds; as of ACE in test_bad_input."""
    words = [sys.executable, "-m", "tests.study.toy_command", "100000", "toy", "-c", str(study)]
    done = subprocess.run(
        [*words, "--out", "o"], capture_output=True, text=True, env=QUIET_ENVIRONMENT
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr.splitlines()[-1]
    assert done.stdout == ""
    assert not Path("o/report.html").exists() and not Path("o/result.json").exists()
    assert [path.name for path in Path.cwd().iterdir() if path.name.startswith(".")] == []


def test_mistakes_in_the_study(capsys, study):
    def line(text, *words):
        study.write_text(toy_command.STUDY.format(shards=1) + text)
        return refused(capsys, "toy", "-c", study, "--out", "o", *words)

    assert "unknown key 'powr'; did you mean 'power'?" in line("powr: 1")
    assert "power is 'much': expected a valid number" in line("power: much")
    assert "tags such as" in line("x: !!python/object/apply:os.system [id]")
    assert "seed is True: expected a number" in line("seed: true")
    named = line("compare: [seg_grad_cam, seg_grad_camm]")
    assert "compare is" in named and "did you mean 'seg_grad_cam'" in named
    assert "--set run.batch_sise" in line("", "--set", "run.batch_sise=1")
    assert "key.sub=value" in line("", "--set", "power")
    assert "run.batch_size is 0" in line("", "--batch-size", "0")
    assert "run.device is 'cuda:99'" in line("", "--device", "cuda:99")
    assert not Path("o").exists()


def test_mistakes_in_what_the_study_names(capsys, study):
    def line(*sets):
        words = [word for text in sets for word in ("--set", text)]
        return refused(capsys, "toy", "-c", study, "--out", "o", *words)

    assert "sett.yaml" in line(f"data.manifest={study.parent}/sett.yaml")
    assert "did you mean 'factory'" in line("model.source=factry")
    assert "no 'Nett'" in line("model.name=tests.toys:Nett")
    assert "did you mean 'body'" in line("layer=boddy")
    assert "did you mean 'high'" in line("data.classes=[hihg]")
    assert "none.safetensors" in line("model.weights=none.safetensors")
    assert "no split 'val'" in line("data.split=val")
    assert not Path("o").exists()


def test_mistakes_on_the_command_line(capsys, study, tmp_path):
    assert "toy_noise.yaml" in refused(capsys, "toy", "-c", study.with_name("toy_nois.yaml"))
    assert "--nonsense" in refused(capsys, "toy", "--nonsense")
    assert "No such command 'aec'" in refused(capsys, "aec")
    assert "--batch-size" in refused(capsys, "toy", "-c", study, "--batch-size", "many")
    assert "unknown study 'tyo'; did you mean 'toy'" in refused(
        capsys, "check", "-c", study, "--study", "tyo"
    )
    other = study.rename(study.with_name("other.yaml"))
    assert "give --study, one of" in refused(capsys, "check", "-c", other)
    assert "no built-in example" in refused(capsys, "toy")
    assert "SOURCE:NAME" in refused(capsys, "layers", "--model", "torchvision")
    bare = ["layers", "--model", "factory:tests.toys:Net", "--set", "model.name.foo=1"]
    assert "--set model.name.foo: model.name is a value" in refused(capsys, *bare)
    assert "working folder" in refused(capsys, "toy", "-c", other, "--out", ".")
    assert "HxW" in refused(capsys, "layers", "--model", "a:b", "--size", "0x3")
    assert "unknown study 'nothing'" in refused(capsys, "schema", "nothing")
    assert "unknown kind" in refused(capsys, "list", "nothing")


def test_the_file_may_be_an_argument(capsys, study):
    code, out, _ = call(capsys, "toy", study)
    assert code == 0 and Path(out[0]).is_file()
    assert call(capsys, "check", study)[0] == 0
    assert "two files are given" in refused(capsys, "toy", study, "-c", study)


def test_swapped_files_are_told_as_what_they_are(capsys, study):
    manifest = study.parent / "set.yaml"
    for words in (["toy", manifest], ["check", manifest], ["layers", manifest]):
        assert "set.yaml: a manifest, not a study's file" in refused(capsys, *words)
    swapped = ("toy", study, "--set", f"data.manifest={study}")
    assert "toy_noise.yaml: a study's file, not a manifest" in refused(capsys, *swapped)


def test_verdicts_that_a_study_does_not_give_are_refused(capsys, study):
    assert "--fail-on confirmed" in refused(capsys, "toy", study, "--fail-on", "confirmed")
    assert "concern" in refused(capsys, "toy", study, "--fail-on", "concerns")
    assert "a folder" in refused(capsys, "toy", study, "--junit", study.parent)
    assert toys.Calls.count == 0


def test_output_that_cannot_be_written_is_told_before_any_work(capsys, study, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below", "/proc/none/o"):
        assert out in refused(capsys, "toy", "-c", study, "--out", out)
    assert toys.Calls.count == 0
    assert (tmp_path / "file").read_text() == "mine"


def test_network_that_returns_nan_names_the_sample(capsys, study):
    line = refused(capsys, "check", "-c", study, "--set", "model.arguments={poison: true}")
    assert "NaN" in line and "sample 'i" in line


def test_check_tells_what_a_run_will_be(capsys, study):
    code, out, err = call(capsys, "check", "-c", study)
    text = "\n".join(out)
    assert (code, err) == (0, [])
    for part in ("noise: 8 images", "body: 2 channels on 12 x 10", "pass means", "GiB", "runs/toy"):
        assert part in text
    assert not Path("runs").exists()


def test_check_lists_every_file_that_cannot_be_used(capsys, study):
    files = study.parent
    whole = (files / "i1.png").read_bytes()
    (files / "i1.png").write_bytes(whole[:60])
    (files / "i2.png").write_text("text")
    (files / "masks" / "i3.png").unlink()
    code, _, err = call(capsys, "check", "-c", study)
    assert code == 2
    assert [line for line in err if "i1.png" in line]
    assert [line for line in err if "i2.png" in line]
    assert all(line.startswith("error: ") for line in err)


def test_check_tells_images_that_are_one_file_under_several_names(capsys, study):
    assert "the same file" not in "\n".join(call(capsys, "check", "-c", study)[1])
    (study.parent / "i5.png").write_bytes((study.parent / "i1.png").read_bytes())
    code, out, _ = call(capsys, "check", "-c", study)
    told = " ".join(word for line in out for word in line.strip("│").split())
    assert code == 0 and "2 of the images are the same file as one of another group" in told
    assert "(first i1 and i5)" in told


def test_check_opens_some_of_very_many_images(capsys, monkeypatch, study):
    """Those that a limit would keep, and all if asked to."""
    from conceptseg.study.command import estimate

    monkeypatch.setattr(estimate, "MOST", 3)
    names = sorted((f"i{i}" for i in range(8)), key=lambda name: sample_priority(0, name))
    code, out, _ = call(capsys, "check", "-c", study)
    assert code == 0 and "3 of 8 images were opened" in "\n".join(out)
    assert "--all" in "\n".join(out)
    (study.parent / f"{names[4]}.png").write_text("text")
    assert call(capsys, "check", "-c", study)[0] == 0
    code, out, err = call(capsys, "check", "-c", study, "--all")
    assert code == 2 and len(err) == 1 and f"{names[4]}.png" in err[0]
    assert "were opened" not in "\n".join(out)
    (study.parent / f"{names[2]}.png").write_text("text")
    code, _, err = call(capsys, "check", "-c", study)
    assert code == 2 and len(err) == 1 and f"{names[2]}.png" in err[0]


def test_layers_of_a_study_and_of_a_bare_network(capsys, study):
    code, out, _ = call(capsys, "layers", "-c", study)
    assert code == 0 and any("body" in line and "Conv2d" in line for line in out)
    words = ["--model", "factory:tests.toys:Net", "--size", "9x7", "--classes", "2"]
    code, out, _ = call(capsys, "layers", *words)
    assert code == 0 and any("body" in line and "9 x 7" in line for line in out)


def test_schema_describes_every_key(capsys):
    code, out, _ = call(capsys, "schema", "toy")
    schema = json.loads("\n".join(out))
    assert code == 0
    assert schema["properties"].keys() == toys.Toy.model_fields.keys()
    assert schema["additionalProperties"] is False
    assert "manifest" in schema["$defs"]["DataConfig"]["properties"]


def test_list_shows_every_technique(capsys):
    code, out, _ = call(capsys, "list")
    text = "\n".join(out)
    assert code == 0
    for kind in catalogue.KINDS:
        assert all(name in text for name in catalogue.names(kind) if name != "toy")
    code, out, _ = call(capsys, "list", "cavs")
    assert "ridge" in "\n".join(out) and "torchvision" not in "\n".join(out)


def test_shipped_studies_are_valid():
    """Every file in `studies/` is read against the study that its name begins with."""
    from conceptseg.settings import read_settings
    from conceptseg.study.command.options import study_of

    for path in sorted((CHECKOUT / "studies").glob("*.yaml")):
        name = study_of(path, None)
        settings = read_settings(name, catalogue.load("study", name), path)
        assert Path(settings.study.data.manifest).is_file(), path
        assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_kept_memory_setting_is_harmless():
    from conceptseg.study.command import running

    running.start_here()
    assert torch.ones(1000).sum() == 1000


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("words", [ValueError, RuntimeError, InputError])
def test_a_stop_that_ends_as_another_error_is_told_as_what_it_is(
    capsys, study, monkeypatch, number, words
):
    """As a lock has it that complains, or a library that tells all errors in words of its own."""
    from conceptseg.study.command import running

    def swallowing(*args, **options):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except BaseException as error:
            raise words(f"could not be built: {type(error).__name__}")  # noqa: B904

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}[number]
    before = signal.signal(number, usual)  # a job in the background ignores Ctrl-C
    monkeypatch.setattr(running, "run", swallowing)
    try:
        code, out, err = call(capsys, "toy", "-c", study, "--out", "o")
        assert (code, out) == (SIGNALS[number][0], []) and signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert err[-1].startswith(SIGNALS[number][1]) and not any("Traceback" in one for one in err)


def test_an_error_without_a_stop_is_told_as_what_it_is():
    assert report_failure(RuntimeError("of ours")) == 1
