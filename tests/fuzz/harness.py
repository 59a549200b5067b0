"""What campaigns of spoilt files share: a seed's dice, ways to spoil, bounds, and the counts.

A campaign gives thousands of spoilt inputs to the command, or to the function that reads them.
Each either does its work (exit 0) or says in one line what is wrong (exit 2). Anything else is a
defect: a traceback, more than a minute, more than four gibibytes. `CONCEPTSEG_FUZZ_SEED` and
`CONCEPTSEG_FUZZ_CASES` try others, and more of them, than are tried by default.
"""

from __future__ import annotations

import logging
import math
import os
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conceptseg.errors import EXIT_DONE, EXIT_INPUT, InputError
from conceptseg.study.command.screen import ours_alone

SEED = int(os.environ.get("CONCEPTSEG_FUZZ_SEED", 0))
CPU_S, WALL_S = 60, 600
"""Seconds that a case may take of the processor and of the clock, which others may share."""
ROOM = 4 << 30
"""Bytes of memory that a case may take beyond those of the tests."""
LONGEST = 600
"""Characters of a line, at most."""

DONE, REFUSED, MORE = "exit 0", "exit 2, one line", "exit 2, further lines"
TRACEBACK, HANG, MEMORY = "traceback", "hang", "memory"
DEFECTS = (MORE, TRACEBACK, HANG, MEMORY)

VALUES = (
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf")),
    *(10**12, 2**31, 2**63, 2**64, -(2**63), 10**30, "", " ", "a", "0", "1e5", "null", "é\u202e"),
    *("\0", "../x", "/", ".", "x" * 5000, "{id}", "{", "*", "(", "[", "\n", [], {}, [[]], [None]),
    *([0], [1, 2], [-1, -1], [10**12, 10**12], ["a", "a"], {"a": 1}, {"": None}, {1: 2}, b"bytes"),
)
WORDS = (b"", b"\0", b"\xff\xfe", b"{", b"!!python/object:os.system", b"[" * 2000, b"a: " * 300)


def cases(default: int) -> int:
    """How many cases a campaign tries: its own number, unless the environment says another."""
    return int(os.environ.get("CONCEPTSEG_FUZZ_CASES", default))


class TooSlow(BaseException):
    """A case that takes longer than it may."""


@contextmanager
def bounded() -> Iterator[None]:
    """Time and memory are limited while it is open."""

    def stop(number: int, frame: object) -> None:
        raise TooSlow(f"more than {CPU_S} s of the processor or {WALL_S} s of the clock")

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, CPU_S),
        signal.SIGALRM: (signal.ITIMER_REAL, WALL_S),
    }
    before = {number: signal.signal(number, stop) for number in timers}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# Spoiling


class Dice:
    """What a seed decides."""

    def __init__(self, *key: int) -> None:
        self.rng = np.random.default_rng(key)

    def below(self, count: int) -> int:
        return int(self.rng.integers(0, max(count, 1)))

    def one(self, things: Any) -> Any:
        things = list(things)
        return things[self.below(len(things))]


def bytes_spoilt(data: bytes, dice: Dice) -> bytes:
    """The bytes with some flipped, cut, repeated, zeroed, inserted, or others in their place."""
    content = bytearray(data)
    at, length = dice.below(len(content)), 1 + dice.below(64)
    way = dice.below(9)
    if way == 0:
        del content[at:]
    elif way == 1:
        content[at:at] = dice.rng.bytes(length)
    elif way == 2:
        content[at:at] = content[at : at + length]
    elif way == 3:
        content[at : at + length] = bytes(length)
    elif way == 4:
        del content[at : at + length]
    elif way == 5:
        content = bytearray(dice.one([*WORDS, dice.rng.bytes(400), data * 2]))
    elif way == 6:  # a number at its extremes
        size, order = dice.one([1, 2, 4, 8]), dice.one(["little", "big"])
        number = dice.one([0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), dice.below(256)])
        content[at : at + size] = number.to_bytes(size, order)
    else:  # mostly at the beginning, where files say what they are
        for _ in range(1 + dice.below(6)):
            if content:
                place = dice.below(dice.one([len(content), 40])) % len(content)
                content[place] ^= 1 << dice.below(8)
    return bytes(content)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value within mappings and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in list(entries):
        yield (*path, key)
        if isinstance(one, (dict, list)):
            yield from places(one, (*path, key))


def values_spoilt(content: Any, dice: Dice, values: Sequence[Any] = VALUES) -> Any:
    """A few values replaced (by one of `values`) or changed, keys left out, renamed or added."""
    for _ in range(dice.one([1, 1, 1, 2, 4])):
        known = list(places(content))
        if not known:
            break
        *path, key = dice.one(known)
        holder = content
        for step in path:
            holder = holder[step]
        way = 3 if isinstance(holder[key], (int, float)) and dice.below(2) else dice.below(7)
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, dict):
            holder[dice.one([f"{key}s", str(key)[1:], 3, None, True, "é"])] = holder.pop(key)
        elif way == 2 and isinstance(holder[key], str) and holder[key]:
            text, at = holder[key], dice.below(len(holder[key]))
            holder[key] = text[:at] + dice.one(["", "x", "/", "é", ":", "'"]) + text[at + 1 :]
        elif way == 3 and isinstance(holder[key], (int, float)):
            made = holder[key] * dice.one([-1, 0, 10, 0.5, 1e6, 10**9])
            whole = isinstance(holder[key], int) and math.isfinite(made)
            holder[key] = round(made) if whole else made
        elif way == 4 and isinstance(holder, list):
            holder.extend(holder * dice.one([1, 3]))
        else:
            holder[key] = deepcopy(dice.one(values))
    return content


# Counting


@contextmanager
def as_outside() -> Iterator[None]:
    """Within it, what is logged or warned of comes on the screen as it does of the command."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        with ours_alone():
            yield
    finally:
        root.handlers = handlers


def as_command(read: Callable[[], object]) -> int:
    """Call a function that reads; its exit code and its line, as the command would have them."""
    try:
        read()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INPUT
    return EXIT_DONE


@dataclass
class Campaign:
    """Counts what cases come to, and keeps what is told of those that are defects."""

    name: str
    capture: pytest.CaptureFixture[str]
    counts: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def run(self, case: str, call: Callable[[], int], several: bool = False) -> str:
        """Try a case, which returns its exit code; `several` error lines are allowed."""
        self.capture.readouterr()
        words = ""
        try:
            with as_outside(), bounded():
                code: int | None = call()
        except TooSlow as error:
            code, words, outcome = None, str(error), HANG
        except MemoryError:
            code, words, outcome = None, traceback.format_exc()[-1500:], MEMORY
        except Exception:
            code, words, outcome = None, traceback.format_exc()[-1500:], TRACEBACK
        err = self.capture.readouterr().err
        if code is not None:
            outcome, words = self._outcome(code, err, several), err[-1500:]
        self.counts[outcome] += 1
        if outcome in DEFECTS:
            self.told.append(f"{self.name}, {case}: {outcome}: {words}")
        return outcome

    def _outcome(self, code: int, err: str, several: bool) -> str:
        lines = err.splitlines()
        if "Traceback" in err or code not in (EXIT_DONE, EXIT_INPUT):
            return TRACEBACK
        if code == EXIT_DONE:
            return DONE if not lines else MORE
        errors = [line for line in lines if line.startswith("error: ")]
        sound = errors == lines and all(len(line) <= LONGEST for line in lines)
        return REFUSED if sound and (len(lines) == 1 or (several and lines)) else MORE

    def finish(self) -> None:
        """Print the counts; no case may have been a defect."""
        counts = ", ".join(f"{name}: {count}" for name, count in sorted(self.counts.items()))
        with self.capture.disabled():
            print(f"\n{self.name} (seed {SEED}): {self.counts.total()} cases; {counts}")
        shown = "\n\n".join(self.told[:20])
        assert not self.told, f"{len(self.told)} defects:\n{shown}"
        assert self.counts[REFUSED], "what is spoilt is all harmless"
        some = self.counts.total() >= 100
        assert self.counts[DONE] or not some, "all that was spoilt is fatal"
