"""One run at a time writes a result."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from conceptseg.errors import InputError
from conceptseg.result import lock
from conceptseg.result.lock import locked


def test_the_second_is_refused_in_words_and_nothing_is_left(tmp_path):
    out = tmp_path / "deep" / "out"
    with locked(out) as alone:
        assert alone
        for name in (out, tmp_path / "deep/../deep/out"):
            with (
                pytest.raises(InputError, match=rf"another run .* \(process {os.getpid()}\)"),
                locked(name),
            ):
                pass
        with locked(tmp_path / "deep" / "other"):
            pass
    assert os.listdir(tmp_path) == []
    with locked(out):
        out.mkdir()
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_a_killed_process_holds_nobody_up(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from conceptseg.result.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('has it', flush=True); time.sleep(100)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "out")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(InputError, match=f"process {other.pid}"), locked(tmp_path / "out"):
            pass
        other.send_signal(signal.SIGKILL)
    assert os.listdir(tmp_path) == [".out.lock"]
    with locked(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path) == []


def contend(path, taken, wrong, stop):
    while time.monotonic() < stop:
        try:
            with locked(path):
                with taken.get_lock():
                    taken.value += 1
                    wrong.value += taken.value > 1
                time.sleep(0.001)
                with taken.get_lock():
                    taken.value -= 1
        except InputError:
            continue


def test_no_two_have_it_at_once_however_it_comes_and_goes(tmp_path):
    spawn = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    taken, wrong = spawn.Value("i", 0), spawn.Value("i", 0)
    arguments = (tmp_path / "out", taken, wrong, time.monotonic() + 1.5)
    every = [spawn.Process(target=contend, args=arguments) for _ in range(4)]
    for one in every:
        one.start()
    for one in every:
        one.join()
        assert one.exitcode == 0
    assert wrong.value == 0 and os.listdir(tmp_path) == []


def test_a_disk_without_locks_is_told(tmp_path, monkeypatch):
    def none(*arguments):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with locked(tmp_path / "out") as alone:
        assert not alone
    assert os.listdir(tmp_path) == []
