"""One run at a time under a name of a store: who is refused, who waits, and who takes over."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time

import fsspec
import pytest

from conceptseg.engine import lease, run
from conceptseg.engine.lease import FILE, Holder, Pace, leased, still_held
from conceptseg.engine.out import taken
from conceptseg.engine.shelf import shelf_of
from conceptseg.engine.store import state_of
from conceptseg.errors import InputError
from tests import toys

QUICK = Pace(sign=0.05, patience=0.4, settle=0.05)
ELSEWHERE = Holder("far", 1, "theirs")


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    yield str(tmp_path / "shared") if request.param == "folder" else "memory://pail/runs"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def shelf(store):
    return shelf_of(store).at("run")


def leave(shelf, holder, signs=1):
    shelf.write(FILE, json.dumps(dataclasses.asdict(holder) | {"signs": signs}).encode())


def test_while_one_has_the_name_others_are_refused_in_a_line(shelf):
    with leased(shelf, QUICK) as said:
        assert said == []
        first = shelf.read(FILE)
        with pytest.raises(InputError) as caught, leased(shelf, QUICK):
            pass
        told = str(caught.value)
        assert told.startswith(f"{shelf}: another run is writing there (process {os.getpid()} on ")
        assert "\n" not in told and "--out" in told
        assert shelf.read(FILE) != first, "a sign of life"
        still_held(shelf)
    assert shelf.read(FILE) is None
    with leased(shelf, QUICK):
        pass


def test_the_name_is_free_after_an_error_too(shelf):
    with pytest.raises(KeyError), leased(shelf, QUICK):
        raise KeyError
    assert shelf.read(FILE) is None and lease._HELD == {}


def test_a_run_of_another_machine_without_a_sign_is_taken_over(shelf):
    leave(shelf, ELSEWHERE)
    begun = time.monotonic()
    with leased(shelf, QUICK) as said:
        assert time.monotonic() - begun >= QUICK.patience
        (line,) = said
        assert "process 1 on far has given no sign of life for 0.4 s" in line
        assert json.loads(shelf.read(FILE))["token"] != "theirs"


def test_one_that_ends_while_another_waits_leaves_it_the_name(shelf):
    leave(shelf, ELSEWHERE)
    threading.Timer(0.1, shelf.remove, [FILE]).start()
    with leased(shelf, Pace(0.05, 60, 0.05)) as said:
        assert said == []


def test_a_process_of_this_machine_that_was_killed_holds_nobody_up(shelf, store, tmp_path):
    code = (
        "import sys, time\n"
        "from conceptseg.engine.lease import leased\n"
        "from conceptseg.engine.shelf import shelf_of\n"
        "with leased(shelf_of(sys.argv[1]).at('run')):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    if store.startswith("memory"):
        leave(shelf, Holder(lease.host(), 2**22 + 1, "theirs"))  # past the largest process id
    else:
        words = [sys.executable, "-c", code, store]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "held\n"
            process.kill()
    assert Holder.of(shelf.read(FILE)) is not None
    with leased(shelf, Pace(0.05, 60, 0.05)) as said:
        assert said == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"host": 1}', b"[" * 9999])
def test_what_names_nobody_is_nobodys(shelf, content):
    shelf.write(FILE, content)
    with leased(shelf, QUICK) as said:
        assert said == []


def test_of_many_that_begin_at_once_never_two_have_the_name(shelf):
    pace, start = Pace(5, 30, 0.8), threading.Barrier(4)
    inside, most, held, refused = [], [], [], []

    def begin():
        start.wait()
        try:
            with leased(shelf, pace):
                held.append(1)
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.5)
                inside.pop()
        except InputError as error:
            refused.append(str(error))

    every = [threading.Thread(target=begin) for _ in range(4)]
    for one in every:
        one.start()
    for one in every:
        one.join()
    assert set(most) == {1} and len(held) + len(refused) == 4 and len(refused) > 1
    assert all(one.startswith(f"{shelf}: another run is ") for one in refused)


def test_who_has_lost_the_name_touches_nothing_of_its_new_owner(store, tmp_path, monkeypatch):
    """A run that gave no sign for too long: its result is where the user asked for it, and the
    parts of the other stay."""
    monkeypatch.setattr(lease, "PACE", QUICK)
    made = toys.context(2)
    context = dataclasses.replace(made, run=made.run.model_copy(update={"store": store}))
    out = tmp_path / "toy"
    with taken(out, "toy", {}, store=store):
        result = run.run_study(toys.toy(), context, out)
        at = shelf_of(store).at("toy")
        leave(at, ELSEWHERE)
        state_of(out, store).write("pass/part", b"of the other run")
        with pytest.raises(InputError, match=r"has taken this name.*process 1 on far.*--out"):
            run.save(toys.Toy, result, out, store)
        time.sleep(3 * QUICK.sign)
    assert (out / "report.html").exists() and at.read("result.json") is None
    assert state_of(out, store).read("pass/part") == b"of the other run"
    assert Holder.of(at.read(FILE)).token == "theirs"


def test_a_run_with_a_store_has_its_name(store, tmp_path):
    with taken(tmp_path / "toy", "toy", {}, store=store):
        holder = Holder.of(shelf_of(store).at("toy").read(FILE))
        assert (holder.host, holder.process) == (lease.host(), os.getpid())
    with taken(tmp_path / "toy", "toy", {}):
        assert shelf_of(store).at("toy").read(FILE) is None
