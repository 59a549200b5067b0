"""A command that another process watches: however it ends, the user's has one line and a code."""

import os
import signal
import subprocess
import sys
import time

import pytest

from conceptseg.config import RunConfig
from conceptseg.errors import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_MEMORY, EXIT_TERMINATED
from conceptseg.study.command.watch import Console, watch

PROGRAM = """
import os, signal, sys, time
from conceptseg.config import RunConfig
from conceptseg.study.command.failure import report_failure
from conceptseg.study.command.signals import Asked, stoppable
from conceptseg.study.command.watch import Console, watch

# A shell without job control begins what it puts into the background with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def main(asked):
    try:
        with stoppable(asked):
            watch(RunConfig(engine="ray"))
            print(os.getpid(), flush=True)
            if sys.argv[1] == "memory":
                raise MemoryError
            if sys.argv[1] == "lost":
                os._exit(1)
            if sys.argv[1] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(120 if sys.argv[1] == "wait" else 0)
    except BaseException as error:
        return report_failure(error, asked.stop)
    return 0

Console.begin()
sys.exit(Console.code(main(Asked())))
"""


def begun(word, **options):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, word],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


@pytest.mark.parametrize(
    ("word", "code", "told"),
    [
        ("nothing", 0, ""),
        ("memory", EXIT_MEMORY, "error: out of memory"),
        (
            "lost",
            EXIT_INPUT,
            "error: the run was ended from outside with exit code 1: by Ray, whose",
        ),
        ("killed", EXIT_INPUT, "error: the run was ended from outside by SIGKILL"),
    ],
)
def test_every_end_has_its_code_and_at_most_one_line(word, code, told):
    process = begun(word)
    said, errors = process.communicate(timeout=120)
    assert (process.returncode, int(said) == process.pid) == (code, False)
    assert errors.startswith(told) and errors.count("\n") == (1 if told else 0)
    assert code != EXIT_INPUT or "the same command resumes" in errors


@pytest.mark.parametrize(
    ("number", "group", "code"),
    [
        (signal.SIGINT, True, EXIT_INTERRUPTED),  # as by a terminal
        (signal.SIGTERM, False, EXIT_TERMINATED),
        (signal.SIGKILL, False, -signal.SIGKILL),
    ],
)
def test_what_ends_the_one_that_watches_ends_the_other(number, group, code):
    process = begun("wait")
    other = int(process.stdout.readline())
    (os.killpg if group else os.kill)(process.pid, number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code and errors.count("\n") == 1
    end = time.monotonic() + 30
    while os.path.exists(f"/proc/{other}") and time.monotonic() < end:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{other}")


def test_nobody_watches_what_is_no_command():
    assert not Console.begun
    watch(RunConfig(engine="ray"))
