"""What the benchmarks share: environment, timing, and a table of ratios.

Machines are noisy, so nothing here asserts a time: each script prints medians of ratios between
things that were timed in turn, in one process.
"""

import contextlib
import gc
import os

# Barriers that spin make everything slower on a shared machine; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import statistics
import time
from collections.abc import Callable

PAUSE = 0.3
"""Seconds of rest before a function is timed."""


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def processor_seconds(function: Callable[[], object]) -> float:
    """Seconds that all threads of this process worked: other processes do not count."""
    start = time.process_time()
    function()
    return time.process_time() - start


def in_turn(
    functions: dict[str, Callable[[], object]],
    rounds: int = 5,
    clock: Callable[[Callable[[], object]], float] = seconds,
) -> dict[str, list[float]]:
    """Seconds of each function in each round, after one round that is not counted.

    Between two functions lies a pause: threads of a linear algebra library wait for more work
    awake, and what they spend on that is the function's that asked for it.
    """
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            gc.collect()
            time.sleep(PAUSE)
            times[name].append(clock(function))
    return times


def keep_memory() -> None:
    """Have the C library keep what is freed: fresh pages cost large batches a third of their time.

    Of glibc alone; elsewhere nothing happens.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(-3, ctypes.c_int(2**30))  # M_MMAP_THRESHOLD
        library.mallopt(-1, ctypes.c_int(2**31 - 1))  # M_TRIM_THRESHOLD


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median over rounds of the ratio of two things timed in the same round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def median(values: list[float]) -> float:
    return statistics.median(values)
