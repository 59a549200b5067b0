"""Processes of this machine: parts of passes on several devices at once, and what may go wrong."""

import os

import pytest

from conceptseg.engine import fits, run
from conceptseg.engine.base import each
from conceptseg.engine.pool import ProcessEngine
from conceptseg.errors import EXIT_INPUT, InputError
from conceptseg.study.__main__ import main as command
from tests.engine.elsewhere import Unreadable, counted, die, place
from tests.strange_models import NETWORKS, write_scenes
from tests.study.test_engines import content, same
from tests.study.test_strange import IMAGES, write


@pytest.fixture(scope="module")
def pair():
    """A process on each of two devices, for all tests that need two."""
    engine = ProcessEngine(devices=("cpu", "cpu"))
    yield engine
    engine.close()


def test_each_device_has_a_process_and_the_least_busy_is_asked(pair):
    shared = pair.share(list(range(1000)))
    found = [made for _, made in each(pair, [(place, (shared, n)) for n in range(8)])]
    assert sorted(number for number, *_ in found) == list(range(8))
    assert {size for _, size, *_ in found} == {1000}
    assert len({process for *_, process, _ in found} - {os.getpid()}) == 2
    assert {device for *_, device in found} == {"cpu"} and pair.slots() == 2


@pytest.fixture(scope="module")
def engine():
    """One process for all tests that need no more: it takes seconds to begin."""
    engine = ProcessEngine(1)
    yield engine
    engine.close()


def test_a_process_keeps_what_was_worked_out_on_a_shared_value(engine):
    shared, other = engine.share(["a"]), engine.share(["b"])
    calls = [(counted, (one, n)) for n, one in enumerate((shared, other, shared, shared))]
    found = [made for _, made in sorted(each(engine, calls))]
    assert [count for _, count, _ in found] == [2, 2, 3, 4]
    assert [first for *_, first in found] == ["a", "b", "a", "a"]


def test_a_process_that_is_ended_is_one_clear_error(engine):
    """The last of those that share a process, which is none any more."""
    with pytest.raises(InputError, match="want of memory.*run.processes"):
        list(each(engine, [(die, (1,))]))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    names = NETWORKS["plain"].classes
    return {names: write_scenes(tmp_path_factory.mktemp("scenes"), IMAGES, names)}


def test_a_study_on_two_devices_is_that_on_one(scenes, pair, tmp_path, monkeypatch):
    """By the processes that are there already, which are those of the run's devices."""
    path, asked = write(tmp_path, "permutation", "plain", scenes), []

    def taken(processes=1, devices=()):
        asked.append(devices)
        return pair

    monkeypatch.setattr(run, "ProcessEngine", taken)
    monkeypatch.setattr(pair, "close", lambda: None)
    keys = [*("--set", "run.threads=1", "--set", "run.shards=4", "--set", "run.processes=1"), "-q"]
    for name, more in (("one", ["run.device=cpu"]), ("two", ["run.devices=[cpu, cpu]"])):
        words = [word for key in more for word in ("--set", key)]
        out = str(tmp_path / name)
        assert command(["permutation", "-c", str(path), "--out", out, *keys, *words]) == 0
    same(content(tmp_path / "two"), content(tmp_path / "one"))
    assert asked == [("cpu", "cpu")]


def test_one_process_is_this_one(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ProcessEngine", None)
    monkeypatch.setattr(fits, "LONG", 0.0)
    path = write(tmp_path, "bottleneck", "plain", scenes)
    words = ["bottleneck", "-c", str(path), "--out", str(tmp_path / "out"), "-q"]
    assert command([*words, "--set", "run.processes=1"]) == 0


def test_devices_that_are_not_there_are_refused(scenes, tmp_path, capsys):
    path = write(tmp_path, "permutation", "plain", scenes)
    words = ["permutation", "-c", str(path), "--out", str(tmp_path / "o"), "-q"]
    assert command([*words, "--set", "run.devices=[cpu, cuda:7]"]) == EXIT_INPUT
    assert "run.device is 'cuda:7'" in capsys.readouterr().err


def test_what_a_process_meets_before_its_call_is_told(pair):
    """The last that needs the two: one of them is none any more."""
    with pytest.raises(InputError, match=r"^weights.pth: no such file$"):
        list(each(pair, [(place, (pair.share(Unreadable()), 1))]))
