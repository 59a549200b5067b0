"""A run on a cluster, watched by another process, so that none of its ends goes without a word.

Ray ends a process whose cluster is lost at once, beneath Python. So the command that the user has
begun begins itself again as another process, and waits for that: an end in order adds `ORDERLY` to
its exit code, and of any other one the first process tells what cures it. POSIX alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from conceptseg.errors import RESUMES, InputError
from conceptseg.study.command.signals import Terminated

if TYPE_CHECKING:
    from conceptseg.config import RunConfig

WATCHED = "CONCEPTSEG_WATCHED"
"""The variable of the environment by which a process knows who watches it, by process id."""
ORDERLY = 64
"""What is added to the exit codes of a process that is watched: all they can be is above it then,
and what others end it with is below."""
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


class Console:
    """This process as the user's command, which it is not in a test or a notebook."""

    begun = False
    watched = False

    @classmethod
    def begin(cls) -> None:
        """Said once, before anything else."""
        watcher = os.environ.pop(WATCHED, None)
        cls.begun, cls.watched = True, watcher is not None
        if watcher is not None:
            _end_with(int(watcher))

    @classmethod
    def code(cls, code: int) -> int:
        """The exit code by which this process says how it ended."""
        return code + ORDERLY if cls.watched else code


def watch(run: RunConfig) -> None:
    """Have another process make a run that Ray may end, and end with its exit code (SystemExit).

    Returns in that process, and wherever nobody can or has to watch. Nothing may have been begun:
    the command begins anew. Raises :class:`~conceptseg.errors.InputError` for an end without a
    word, and what a signal raises for one that came of it.
    """
    if run.engine != "ray" or not Console.begun or Console.watched or os.name != "posix":
        return
    words = [sys.executable, *sys.orig_argv[1:]]
    # In a group of its own, or a terminal would ask it to stop, beside this process.
    own = os.environ | {WATCHED: str(os.getpid())}
    process = subprocess.Popen(words, env=own, process_group=0)
    passed: list[int] = []

    def on(number: int, frame: object) -> None:
        passed.append(number)
        process.send_signal(number)

    theirs = {one: signal.signal(one, on) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in theirs.items():
            signal.signal(number, handler)
    if code >= ORDERLY:
        raise SystemExit(code - ORDERLY)
    ended = passed[0] if passed else -code
    if ended in (signal.SIGINT, signal.SIGTERM):
        raise KeyboardInterrupt if ended == signal.SIGINT else Terminated
    how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    raise InputError(
        f"the run was ended from outside {how}: by Ray, whose cluster was lost (see that its head "
        f"runs, or begin it again), or for want of memory; {RESUMES}"
    )


def _end_with(watcher: int) -> None:
    """Have this process asked to end when the one that watches it is killed. Linux alone."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, int(signal.SIGTERM))
        if os.getppid() != watcher:  # it is gone already
            sys.exit(Console.code(1))
