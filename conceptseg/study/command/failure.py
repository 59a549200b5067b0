"""Every way in which the command can fail: what is printed, and which exit code it gets."""

import errno
import os
import sys
import traceback

from conceptseg.errors import (
    EXIT_DEFECT,
    EXIT_DONE,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_MEMORY,
    EXIT_TERMINATED,
    RESUMES,
    InputError,
    RoomError,
    one_line,
)
from conceptseg.network.blame import escaped, out_of_memory
from conceptseg.study.command.signals import Terminated

UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EIO,
    errno.EMFILE,
}
"""Errors of the operating system that a user can cure."""


def report_failure(error: BaseException, stop: BaseException | None = None) -> int:
    """Print what went wrong, in one line where the user can cure it; returns the exit code.

    Where the process was asked to stop (`stop`), whatever error it then ended with came of that.
    """
    if stop is not None and isinstance(error, Exception):
        return report_failure(stop)
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return EXIT_DONE  # typer met it first, and has put the output stream out of use
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_DEFECT
    if isinstance(error, BrokenPipeError):
        # The reader of our output is gone (`conceptseg list | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    if type(error).__name__ == "Abort" and isinstance(error.__cause__, EOFError):
        return report_failure(error.__cause__)  # which typer takes for the user's
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return _say(f"interrupted; {RESUMES}", EXIT_INTERRUPTED, word="")
    if isinstance(error, Terminated):
        return _say(f"terminated; {RESUMES}", EXIT_TERMINATED, word="")
    if isinstance(error, InputError):
        return _say(str(error), EXIT_INPUT)
    if isinstance(error, RoomError):
        return _say(str(error), EXIT_MEMORY)
    if out_of_memory(error):
        return _say(
            f"out of memory; choose a smaller --batch-size or smaller images; {RESUMES}",
            EXIT_MEMORY,
        )
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        name = f"{error.filename}: " if error.filename else ""
        return _say(
            f"{name}{error.strerror}; free it or choose another folder with --out", EXIT_INPUT
        )
    wrong_usage = getattr(error, "format_message", None)
    if callable(wrong_usage):  # raised by typer for options that do not parse
        text = str(wrong_usage())
        return _say(text, EXIT_INPUT) if text else EXIT_INPUT
    theirs = escaped(error)
    if theirs is not None:
        return _say(str(theirs), EXIT_INPUT)
    traceback.print_exception(error)
    return _say(
        "this is a defect of conceptseg, not of your input; please report it with the lines above",
        EXIT_DEFECT,
    )


def _say(text: str, code: int, word: str = "error: ") -> int:
    print(word + one_line(text), file=sys.stderr)
    return code
