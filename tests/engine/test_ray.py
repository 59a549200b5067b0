"""A Ray cluster: of this machine alone, and of hosts with files of their own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque

import pytest
import yaml

from conceptseg import catalogue
from conceptseg.engine import steps
from conceptseg.engine.base import ADVANCE, each
from conceptseg.engine.compared import Left
from conceptseg.engine.store import FOLDER
from conceptseg.errors import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_MEMORY, InputError, RoomError
from conceptseg.result.saved import Result
from conceptseg.study.__main__ import main as command
from conceptseg.study.command.failure import report_failure
from tests.engine import hosts
from tests.engine.elsewhere import (
    Unreadable,
    advancing,
    counted,
    die_once,
    die_with,
    full,
    place,
    refuse,
    too_much,
)
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_engines import content, same
from tests.study.test_strange import IMAGES, write


class Row:
    """Something with an id, as a sample."""

    def __init__(self, name):
        self.id = name


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    names = NETWORKS["plain"].classes
    return {names: write_scenes(tmp_path_factory.mktemp("scenes"), IMAGES, names)}


def test_without_the_package_the_error_says_how_to_install_it(
    scenes, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "ray", None)
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), "-q"]
    assert command([*words, "--engine", "ray"]) == EXIT_INPUT
    assert "pip install 'conceptseg[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"address": "auto"}, "engine: ray"),
        ({"engine": "ray", "devices": ["cpu", "cpu"]}, "gpus_per_worker"),
        ({"engine": "ray", "address": "ray://there:10001"}, "HOST:PORT"),
    ],
)
def test_keys_that_exclude_each_other_are_refused(keys, told, scenes, tmp_path, capsys):
    path = write(tmp_path, "permutation", "plain", scenes)
    words = [
        word for key, one in keys.items() for word in ("--set", f"run.{key}={json.dumps(one)}")
    ]
    out = ["--out", str(tmp_path / "out"), "-q"]
    assert command(["permutation", "-c", str(path), *words, *out]) == EXIT_INPUT
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "told"), [("127.0.0.1:9", "refused"), ("127.0.0.1", "HOST:PORT"), ("no.where", "")]
)
def test_no_cluster_answers(address, told, scenes, tmp_path, capsys):
    """Before there is one in this process."""
    pytest.importorskip("ray")
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), "-q"]
    assert command([*words, "--engine", "ray", "--address", address]) == EXIT_INPUT
    error = capsys.readouterr().err
    assert error.startswith(f"error: run.address {address}: ") and told in error
    assert len(error.splitlines()) == 1


@pytest.fixture(scope="module")
def ray():
    """A cluster of this machine, of two workers."""
    pytest.importorskip("ray")
    from conceptseg.engine.ray import cluster

    with pytest.MonkeyPatch.context() as other:
        other.setattr(cluster, "STORE", hosts.STORE)
        other.setattr(cluster, "cores", lambda: 2)
        for name, value in hosts.AWAKE.items():
            other.setenv(name, value)
        connected = cluster.connected(None)
        yield connected
        connected.shutdown()


@pytest.fixture(scope="module")
def engine(ray):
    from conceptseg.engine.ray.engine import RayEngine

    engine = RayEngine()
    yield engine
    engine.close()


@pytest.mark.slow
def test_workers_keep_shared_values_and_are_replaced_when_they_are_lost(engine, tmp_path):
    """One test of all that needs no study, for workers take seconds to begin."""
    shared, other = engine.share(["a"]), engine.share(["b"])
    found = dict(each(engine, [(counted, (one, n)) for n, one in enumerate([shared, other] * 4)]))
    assert [first for _, (*_, first) in sorted(found.items())] == ["a", "b"] * 4
    assert len({process for process, *_ in found.values()} - {os.getpid()}) <= engine.slots() == 2
    # A worker works on its own copy of what is shared, from call to call.
    assert max(count for _, count, _ in found.values()) > 2
    calls = [(die_once, (str(tmp_path), [Row(f"im{n}")])) for n in range(2)]
    again = dict(each(engine, calls))
    assert set(again.values()).isdisjoint(process for process, *_ in found.values())
    with pytest.raises(InputError, match="^host [0-9.]+: weights.pth: no such file$"):
        list(each(engine, [(refuse, ("weights.pth: no such file",))]))
    with pytest.raises(InputError, match="^host [0-9.]+: weights.pth: no such file$"):
        list(each(engine, [(place, (engine.share(Unreadable()), 1))]))
    with pytest.raises(MemoryError, match="no room"):
        list(each(engine, [(too_much, ())]))
    assert dict(each(engine, [(place, ([1, 2], 7))]))[0][:2] == (7, 2)


@pytest.mark.slow
def test_machines_with_other_code_are_told_apart(engine):
    from conceptseg.engine.proof import proof
    from conceptseg.engine.ray.engine import RayEngine

    other = RayEngine()
    other._proof = tuple((dict(proof()) | {"numpy": "0.1", "conceptseg": "code 0"}).items())
    engine.close()  # there is room for two workers
    with pytest.raises(InputError, match="^host [0-9.]+: has conceptseg code .* numpy .* with 0.1"):
        list(each(other, [(place, ([1], 1))]))
    other.close()


@pytest.mark.slow
def test_a_part_that_ends_every_worker_is_named(engine):
    with pytest.raises(InputError, match="^images 'first' to 'last': .* lost, 4 times .*resumes$"):
        list(each(engine, [(die_with, ([Row("first"), Row("last")],))]))


@pytest.mark.slow
def test_no_machine_has_so_many_cores(ray, scenes, tmp_path, capsys):
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), "-q"]
    words += ["--engine", "ray", "--set", "run.cpus_per_worker=3", "--set", "run.threads=1"]
    assert command(words) == EXIT_INPUT
    assert "no machine of the Ray cluster has 3 cores" in capsys.readouterr().err


def test_a_study_on_a_cluster_is_that_on_one(ray, scenes, tmp_path, capsys):
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--set", "run.shards=4", "-q"]
    assert command([*words, "--out", str(tmp_path / "one")]) == 0
    assert command([*words, "--out", str(tmp_path / "two"), "--engine", "ray"]) == 0
    same(content(tmp_path / "two"), content(tmp_path / "one"))
    assert capsys.readouterr().err == ""
    machine = Result.load(tmp_path / "two").provenance["machine"]
    assert machine["threads"] == 1 and "repeatable" not in machine


@pytest.mark.slow
def test_check_asks_the_machines(ray, scenes, tmp_path, capsys):
    path = write(tmp_path, "permutation", "plain", scenes)
    assert command(["check", "-c", str(path), "--engine", "ray"]) == 0
    assert "1 machines, 2 workers at once" in capsys.readouterr().out


SLOW = {**NETWORKS["plain"].content, "name": "tests.engine.elsewhere:Slow"}
PARTS = ["--set", "run.shards=10", "--set", "run.batch_size=2", "-q"]


@pytest.fixture(scope="module")
def cluster():
    """Host 1; tests add others, and end them."""
    pytest.importorskip("ray")
    if reason := hosts.refused():
        pytest.skip(reason)
    made = hosts.Hosts()
    try:
        made.start(1)
        made.wait(1)
        yield made
    finally:
        made.close()


@pytest.fixture
def second(cluster):
    """Begins host 2, perhaps with other files, and ends it."""

    def begin(other=None):
        cluster.start(2, other)
        cluster.wait(2)

    yield begin
    cluster.kill(2)
    cluster.wait(1)


@pytest.fixture(scope="module")
def slow(tmp_path_factory, scenes):
    """A file of a study that takes a while, and what it says on this machine alone."""
    folder = tmp_path_factory.mktemp("slow")
    path = write(folder, "permutation", "plain", scenes)
    content = yaml.safe_load(path.read_text())
    content["model"] = SLOW | {"arguments": {"pause": 0.1}}
    path.write_text(yaml.safe_dump(content))
    words = ["permutation", "-c", str(path), "--out", str(folder / "alone"), *PARTS]
    assert command(words) == 0
    return path, folder / "alone"


def made_by(process):
    """Exit code of a command that was begun, and what it says itself: Ray tells what it lost."""
    lines = process.communicate(timeout=300)[1].splitlines(keepends=True)
    own = ("error: ", "interrupted; ", "Traceback")
    return process.returncode, "".join(one for one in lines if one.startswith(own))


def first_shards(out, count=2):
    """Wait until so many parts of a run are saved."""
    end = time.monotonic() + 300
    while len(list((out / FOLDER).glob("*/[0-9]*.safetensors"))) < count:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("study", catalogue.names("study"))
def test_every_study_on_two_hosts_is_that_on_one(study, cluster, second, scenes, tmp_path):
    path = write(tmp_path, study, "plain", scenes)
    words = [study, "-c", str(path), "--set", "run.shards=7", "-q"]
    assert command([*words, "--out", str(tmp_path / "alone")]) == 0
    second()
    code, told = made_by(cluster.command([*words, "--out", str(tmp_path / "both")]))
    assert (code, told) == (0, "")
    same(content(tmp_path / "both"), content(tmp_path / "alone"))


@pytest.mark.slow
def test_a_host_that_is_lost_in_the_middle_changes_nothing(cluster, second, slow, tmp_path):
    path, alone = slow
    second()
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), *PARTS]
    process = cluster.command(words)
    first_shards(tmp_path / "out")
    cluster.kill(2)
    assert made_by(process) == (0, "")
    same(content(tmp_path / "out"), content(alone))


@pytest.mark.slow
def test_a_host_that_joins_in_the_middle_is_used(cluster, slow, tmp_path):
    """It has no images, so what it says proves that it was asked; without it the run resumes."""
    path, alone = slow
    manifest = yaml.safe_load(path.read_text())["data"]["manifest"]
    images = manifest.replace("set.yaml", "images")
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), *PARTS]
    process = cluster.command([*words, "--set", "model.arguments.pause=1.0"])
    first_shards(tmp_path / "out", 1)
    (tmp_path / "none").mkdir()
    cluster.start(3, {images: tmp_path / "none"})
    code, told = made_by(process)
    cluster.kill(3)
    cluster.wait(1)
    assert code == EXIT_INPUT and "no file matches" in told
    assert told.startswith(f"error: host {cluster.address(3)}: {manifest}")
    assert made_by(cluster.command(words)) == (0, "")
    same(content(tmp_path / "out"), content(alone))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_ended_resumes(number, cluster, second, slow, tmp_path):
    path, alone = slow
    second()
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), *PARTS]
    process = cluster.command(words)
    first_shards(tmp_path / "out")
    os.killpg(process.pid, number)
    code, told = made_by(process)
    if number == signal.SIGINT:
        assert code == EXIT_INTERRUPTED and told.startswith("interrupted; ")
    saved = len(list((tmp_path / "out" / FOLDER).glob("*/[0-9]*.safetensors")))
    assert made_by(cluster.command(words)) == (0, "")
    resumed = Result.load(tmp_path / "out").timings["resumed_shards"]
    assert sum(resumed.values()) == saved >= 2
    same(content(tmp_path / "out"), content(alone))


@pytest.mark.slow
def test_other_pixels_on_a_host_are_named(cluster, second, slow, scenes, tmp_path):
    path, _ = slow
    (manifest,) = scenes.values()
    images, other = manifest.parent / "images", tmp_path / "images"
    shutil.copytree(images, other)
    names = sorted(one.name for one in images.iterdir())
    for one, another in zip(names[1:], names[:-1], strict=True):
        shutil.copy(images / another, other / one)
    second({images: other})
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), *PARTS]
    code, told = made_by(cluster.command(words))
    assert code == EXIT_INPUT and told.count("\n") == 1
    assert told.startswith(f"error: host {cluster.address(2)}: {images}")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["weights", "code", "network", "data"])
def test_a_host_with_other_files_is_refused_before_the_first_part(
    what, cluster, second, scenes, tmp_path
):
    import torch
    from safetensors.torch import save_file

    from tests.strange_models import Plain

    network = Plain()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    path = write(tmp_path, "permutation", "plain", scenes)
    content = yaml.safe_load(path.read_text())
    content["model"]["weights"] = "weights.safetensors"
    path.write_text(yaml.safe_dump(content))
    (manifest,) = scenes.values()
    other = tmp_path / "other"
    if what == "weights":
        theirs, told = tmp_path / "weights.safetensors", "has other weights here"
        with torch.no_grad():
            network.head.weight += 0.01
        save_file(network.state_dict(), other)
    elif what == "data":
        theirs, told = manifest.parent / "images", "no file matches"
        other.mkdir()
    else:
        file = {"code": "conceptseg/errors.py", "network": "tests/strange_models.py"}[what]
        theirs = hosts.ROOT / file
        told = {"code": "has conceptseg code", "network": "other code here"}[what]
        other.write_text(theirs.read_text() + "\n# other\n")
    second({theirs: other})
    out = tmp_path / "out"
    words = ["permutation", "-c", str(path), "--out", str(out), *PARTS]
    code, said = made_by(cluster.command(words))
    assert code == EXIT_INPUT and told in said and said.count("\n") == 1
    assert said.startswith(f"error: host {cluster.address(2)}: ")
    assert not (out / FOLDER).exists()
    code, said = made_by(cluster.command(["check", "-c", str(path)]))
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == EXIT_INPUT and len(lines) == 1
    assert lines[0].startswith(f"error: host {cluster.address(2)}: ") and told in lines[0]


@pytest.mark.slow
def test_a_cluster_whose_head_is_lost_is_begun_again_and_resumed(cluster, slow, tmp_path):
    path, alone = slow
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), *PARTS]
    process = cluster.command([*words, "--set", "model.arguments.pause=0.3"])
    first_shards(tmp_path / "out")
    cluster.kill(1, spared="conceptseg.study")
    code, told = made_by(process)
    assert code == EXIT_INPUT and told.count("\n") == 1
    assert "by Ray, whose cluster was lost" in told and "the same command resumes" in told
    cluster.start(1)
    cluster.wait(1)
    assert made_by(cluster.command([*words, "--set", "model.arguments.pause=0.3"])) == (0, "")
    assert sum(Result.load(tmp_path / "out").timings["resumed_shards"].values()) >= 2
    same(content(tmp_path / "out"), content(alone))


@pytest.mark.slow
def test_images_of_parts_under_way_are_counted_once(engine, tmp_path):
    """Of a worker that is lost in the middle too, whose part is made again."""
    told = []
    token = ADVANCE.set(told.append)
    try:
        made = dict(each(engine, [(advancing, (str(tmp_path), n)) for n in range(2)]))
    finally:
        ADVANCE.reset(token)
        engine.close()  # there is room for two workers
    assert set(made.values()) == {6} and sum(told) == 12
    assert len(told) > 2, "before a part is done some of its images are"


@pytest.mark.slow
def test_a_store_that_is_full_on_a_worker_is_one_line(engine):
    from ray.exceptions import OutOfDiskError

    with pytest.raises(InputError, match=r"^images 'a' to 'b': the Ray cluster's store is full"):
        list(each(engine, [(full, (OutOfDiskError(), [Row("a"), Row("b")]))]))
    engine.close()


@pytest.mark.slow
def test_workers_leave_parts_in_a_store(ray, scenes, tmp_path, monkeypatch):
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--set", "run.shards=4", "-q"]
    assert command([*words, "--out", str(tmp_path / "alone")]) == 0
    came = []
    taken_in = steps.taken_in
    monkeypatch.setattr(steps, "taken_in", lambda *a: (came.append(a[0]), taken_in(*a))[1])
    far = ["--engine", "ray", "--set", f"run.store={tmp_path / 'shared'}"]
    assert command([*words, *far, "--out", str(tmp_path / "run")]) == 0
    assert came and {type(one) for one in came} == {Left}
    for out in (tmp_path / "run", tmp_path / "shared" / "run"):
        same(content(out), content(tmp_path / "alone"))
    assert not list((tmp_path / "shared").rglob("*.safetensors"))


@pytest.mark.slow
def test_machines_without_memory_are_one_line(scenes, tmp_path):
    """Ray's watch over memory ends whatever worker begins."""
    pytest.importorskip("ray")
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "out"), "-q"]
    own = {"RAY_memory_usage_threshold": "0.02", "RAY_memory_monitor_refresh_ms": "50"}
    process = subprocess.Popen(
        [sys.executable, "-m", "conceptseg.study", *words, "--engine", "ray"],
        env=os.environ | own | hosts.AWAKE | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    code, told = made_by(process)
    assert code == EXIT_INPUT and told.count("\n") == 1
    assert "ran out of memory" in told and "run.batch_size" in told


def test_a_part_that_memory_ends_everywhere_is_named_and_workers_get_fewer(monkeypatch):
    from types import SimpleNamespace

    from conceptseg.engine.ray.engine import RayEngine, _Call, _Worker

    engine = RayEngine.__new__(RayEngine)
    node = {"NodeID": "n", "Alive": True, "Resources": {"CPU": 8}}
    engine._ray = SimpleNamespace(nodes=lambda: [node], kill=lambda actor: None)
    engine._cpus, engine._gpus, engine._fewer, engine._failed = 1, 0, 0, 0
    engine._asked, engine._workers, engine._waiting = -1.0, [], deque()
    call, error = _Call(len, ([Row("a"), Row("b")],), 1), RuntimeError("node running low on memory")
    rooms = []
    for _ in range(4):
        engine._lose(_Worker(None, None, call), call, error)
        rooms.append(engine.slots())
    assert rooms == [7, 6, 5, 4] and call.over and isinstance(call.error, RoomError)
    assert report_failure(call.error) == EXIT_MEMORY
    assert re.match(
        "images 'a' to 'b': .* out of memory 4 times; have fewer workers", str(call.error)
    )
