"""What a run keeps in a shared folder or a bucket: whole, found again, not mixed."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import fsspec
import numpy as np
import pytest

from conceptseg.data import places
from conceptseg.engine import run, shelf
from conceptseg.engine.out import check_out, taken
from conceptseg.engine.shelf import Folder, deliver, of_run, shelf_of
from conceptseg.engine.store import DamagedError, ShardStore, state_of
from conceptseg.errors import EXIT_INPUT, InputError
from conceptseg.result.saved import Result
from conceptseg.study.__main__ import main as command
from tests import toys
from tests.engine.shuffled import ShuffledEngine
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_engines import content, same
from tests.study.test_strange import write

PICTURE = b"\x89PNG\r\n\x1a\n"
PAIL = "memory://pail/runs"


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(places, "PAUSE", 0.0)
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    return str(tmp_path / "shared") if request.param == "folder" else PAIL


def context(store, batch_size=2):
    made = toys.context(batch_size)
    return dataclasses.replace(made, run=made.run.model_copy(update={"store": store}))


def test_a_name_holds_a_whole_file_or_none(store):
    at = shelf_of(store).at("one")
    assert at.read("a/b") is None and at.names("a") == at.names("") == []
    at.remove("a")
    at.tried()
    for data in (b"first", b"second"):
        at.write("a/b", data)
        assert at.read("a/b") == shelf_of(store).read("one/a/b") == data
    at.write("a/deep/c", b"")
    at.write("d", b"d")
    assert at.names("a") == ["b"] and at.names("") == ["d"] and at.read("a/deep/c") == b""
    at.remove("a")
    assert at.read("a/b") is None and at.read("d") == b"d"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("ftp://there/x", "ftp:// is no kind of root"),
        ("hf://datasets/me/x", "a hub takes no parts of runs"),
        ("s3://me:secret@pail/x", "never from the root"),
        ("s3://pail/../x", "write s3://BUCKET/FOLDER"),
    ],
)
def test_what_is_no_store_is_refused(given, told):
    with pytest.raises(InputError, match=re.escape(told)) as error:
        shelf_of(given)
    assert "secret" not in str(error.value)


def test_a_url_is_no_output_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"--out s3:/pail/x: .* run\.store"):
        check_out(type(tmp_path)("s3://pail/x"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "tries", "told"),
    [
        (ConnectionResetError("cut"), places.TRIES, "see to the connection"),
        (OSError(errno.ENOSPC, "No space left"), places.TRIES, "and to the room there"),
        (PermissionError("Access Denied"), 1, "see to the credentials"),
        (type("NoCredentialsError", (Exception,), {})("none"), 1, "see to the credentials"),
        (FileNotFoundError("pail"), 1, "no such bucket"),
    ],
)
def test_what_cannot_be_written_is_one_line(error, tries, told, monkeypatch):
    asked = []

    def pipe(self, path, *a, **k):
        asked.append(path)
        raise error

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", pipe)
    with pytest.raises(InputError, match=f"^{PAIL}/a: .*{told}") as caught:
        shelf_of(PAIL).write("a", b"x")
    assert len(asked) == tries and "\n" not in str(caught.value)


def test_a_run_resumes_on_another_machine(store, tmp_path):
    """Of what the first has begun it has nothing but what lies in the store."""
    expected = toys.content(run.run_study(toys.toy(), toys.context(), tmp_path / "whole"))
    toys.Calls.reset(at=13, error=RuntimeError("power cut"))
    with pytest.raises(RuntimeError, match="power cut"):
        run.run_study(toys.toy(), context(store), tmp_path / "one" / "toy")
    assert not (tmp_path / "one").exists()
    toys.Calls.reset()
    out = tmp_path / "two" / "toy"
    result = run.run_study(toys.toy(), context(store), out)
    assert toys.content(result) == expected
    assert result.timings["resumed_shards"] == {"means": 5, "deviations": 2}
    assert "means" in result.timings["resumed_steps"]
    run.save(toys.Toy, result, out, store)
    kept = shelf_of(store).at("toy")
    for name in os.listdir(out):
        assert kept.read(name) == (out / name).read_bytes()
    assert state_of(out, store).names("carry") == []
    # Another name in the same store has parts of its own.
    toys.Calls.reset()
    run.run_study(toys.toy(), context(store), tmp_path / "two" / "other")
    assert toys.Calls.count == 15


def test_a_result_is_known_when_all_of_it_is_there(store, tmp_path, monkeypatch):
    config = {"layer": "body"}
    result = Result("toy", config=config, images={"a": PICTURE, "b": PICTURE})
    result.save(tmp_path / "toy", "page")
    at = of_run(tmp_path / "elsewhere" / "toy", store)
    at.write("images/stale.png", b"of an earlier result")
    at.write("review.yaml", b"the user's")
    deliver(tmp_path / "toy", at)
    assert at.read("images/stale.png") is None and at.read("review.yaml") == b"the user's"
    assert sorted(at.names("images")) == ["a.png", "b.png"]
    assert at.read("images/b.png") == PICTURE and at.read("report.html") == b"page"
    with taken(tmp_path / "elsewhere" / "toy", result.study, config, store=store):
        pass
    with (
        pytest.raises(InputError, match="another configuration .layer.* --fresh"),
        taken(tmp_path / "elsewhere" / "toy", result.study, {"layer": "head"}, store=store),
    ):
        pass
    whole = type(at).write

    def cut(self, name, data):
        if name == "report.html":
            raise InputError("cut")
        whole(self, name, data)

    monkeypatch.setattr(type(at), "write", cut)
    with pytest.raises(InputError, match="cut"):
        deliver(tmp_path / "toy", at)
    assert at.read("result.json") is None


def test_a_store_in_which_the_result_lies_is_left_as_it_is(tmp_path):
    result = run.run_study(toys.toy(), context(str(tmp_path)), tmp_path / "toy")
    run.save(toys.Toy, result, tmp_path / "toy", str(tmp_path))
    assert Result.load(tmp_path / "toy").study == result.study
    assert os.listdir(tmp_path) == ["toy"] and not state_of(tmp_path / "toy", None).names("")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    names = NETWORKS["plain"].classes
    return {names: write_scenes(tmp_path_factory.mktemp("scenes"), 30, names)}


def test_machines_leave_parts_in_a_store(scenes, tmp_path, monkeypatch, capsys):
    """A part that was read from other pixels, and left by a machine whose run was refused for it,
    counts for nobody."""
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--set", "run.shards=6"]
    assert command([*words, "-q", "--out", str(tmp_path / "alone")]) == 0
    store = tmp_path / "shared"
    far = [*words, "--set", f"run.store={store}", "--out"]

    class Lost(ShuffledEngine):
        """Lost after three parts, the last of which are in the store alone."""

        def done(self, refs):
            if self.made > 3:
                raise KeyboardInterrupt
            return super().done(refs)

        def result(self, ref):
            found = super().result(ref)
            assert type(found).__name__ == "Left" and len(ref.result) < 1000
            return found

    monkeypatch.setattr(run, "LocalEngine", Lost)
    assert command([*far, str(tmp_path / "one" / "run"), "-q"]) == 130
    parts = sorted(store.rglob("[0-9]*.safetensors"))
    assert len(parts) >= 3
    kept = ShardStore(
        Folder(parts[0].parents[1]),
        *parts[0].parent.name.rsplit("-", 1),
        frozenset({"conceptseg"}),
    )
    start, stop = kept.saved()[0]
    made = kept.load(start, stop)
    digests = {kind: dict(of) for kind, of in made.reads.digests.items()}
    name = next(iter(digests["image"]))
    digests["image"][name] = bytes(32)
    stamps = dict(made.stamps) | {name: "0" * 64}
    reads = dataclasses.replace(made.reads, digests=digests)
    kept.save(start, stop, dataclasses.replace(made, reads=reads, host="h2", stamps=stamps))
    monkeypatch.setattr(run, "LocalEngine", ShuffledEngine)
    capsys.readouterr()
    assert command([*far, str(tmp_path / "two" / "run")]) == 0
    told = capsys.readouterr().err
    assert len(re.findall("host h2: .*holds other bytes.*computed again", told)) == 1
    resumed = Result.load(tmp_path / "two" / "run").timings["resumed_shards"]
    assert sum(resumed.values()) == len(parts) - 1
    same(content(tmp_path / "two" / "run"), content(tmp_path / "alone"))
    same(content(store / "run"), content(tmp_path / "alone"))


def test_a_part_that_is_gone_or_another_is_one_line(tmp_path):
    from conceptseg.engine.compared import Left, taken_in

    kept = ShardStore(Folder(tmp_path), "pass", "k" * 16, frozenset({"tests"}))
    with pytest.raises(InputError, match=r"^host h2 has written .*0000000-0000003.*it is gone"):
        taken_in(Left("h2", "0" * 64), kept, (0, 3), None, None)
    Folder(tmp_path).write(kept.name(0, 3), b"other bytes")
    with pytest.raises(InputError, match="other bytes than were written.*the same command resumes"):
        taken_in(Left("h2", "0" * 64), kept, (0, 3), None, None)
    with pytest.raises(DamagedError):
        kept.load(0, 3)


@pytest.fixture
def s3(monkeypatch, tmp_path):
    """The address of a server on this machine, which has a pail, and a root for its control."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    base = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", base)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    system = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    system.mkdir("pail")
    shelf._bucket_of.cache_clear()
    yield base, system
    shelf._bucket_of.cache_clear()
    server.stop()


def called(words, folder):
    """The command as another process, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    here = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-m", "conceptseg.study", *words]
    return subprocess.Popen(line, cwd=folder, env=here, stderr=subprocess.PIPE, text=True)


def known_for(base, requests):
    """Have the server take credentials for good for so many more requests."""
    plain = {"Content-Type": "text/plain"}
    ask = urllib.request.Request(f"{base}/moto-api/reset-auth", str(requests).encode(), plain)
    urllib.request.urlopen(ask).read()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the server's
def test_a_bucket_of_s3_through_a_kill_and_lost_credentials(s3, scenes, tmp_path):
    base, system = s3
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--set", "run.shards=30", "-q"]
    assert command([*words, "--out", str(tmp_path / "alone")]) == 0
    far = [*words, "--set", "run.store=s3://pail/runs", "--out", "run"]
    process = called(far, tmp_path / "one")
    end = time.monotonic() + 200
    while len(system.glob("pail/runs/run/.state/*/[0-9]*")) < 3:
        assert time.monotonic() < end and process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = len(system.glob("pail/runs/run/.state/*/[0-9]*"))
    known_for(base, 100)
    process = called(far, tmp_path / "two")
    told = process.communicate(timeout=300)[1]
    assert process.returncode == EXIT_INPUT and told.count("\n") == 1, told
    assert told.startswith("error: s3://pail/runs/run/") and "see to the credentials" in told
    known_for(base, 1_000_000)
    later = len(system.glob("pail/runs/run/.state/*/[0-9]*"))
    process = called(far, tmp_path / "three")
    assert (process.communicate(timeout=300)[1], process.returncode) == ("", 0)
    out = tmp_path / "three" / "run"
    assert sum(Result.load(out).timings["resumed_shards"].values()) == later > saved
    same(content(out), content(tmp_path / "alone"))
    assert system.find("pail/runs/run/.state") == []
    assert json.loads(system.cat_file("pail/runs/run/result.json"))["study"] == "permutation"
    system.get("pail/runs/run/", str(tmp_path / "fetched"), recursive=True)
    same(content(tmp_path / "fetched"), content(tmp_path / "alone"))
    np.testing.assert_equal(len(system.find("pail/runs/run")), len(list(out.rglob("*.*"))))
