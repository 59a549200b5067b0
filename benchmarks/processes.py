"""What the fits of a study gain by two processes: whole runs of the embedded examples, in turn.

    python benchmarks/processes.py [STUDY ...] [--processes 1 2] [--rounds 1] [--set KEY=VALUE ...]

Each run is a process of its own with one thread. Prints for each study and number of processes the
seconds of the whole process, those of its processor (its children's too), and those of the steps
that are made of fits; then the ratios to the first, and whether all results are equal: every table,
finding, note, array and picture. On a busy machine the clock says more of the others than of this:
then the processor's seconds are what holds, and the machine's load is printed beside them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from conceptseg.result.saved import Result  # noqa: E402


def timed(study: str, out: Path, processes: int, sets: list[str]) -> dict[str, float]:
    """Seconds of the clock, of the processor, and of the steps that made fits."""
    words = ["--set", f"run.processes={processes}", "--set", "run.threads=1", *sets]
    command = [sys.executable, "-m", "conceptseg.study", study, *words, "--out", str(out), "-q"]
    began, before = time.monotonic(), os.times()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    spent, after = time.monotonic() - began, os.times()
    busy = after.children_user - before.children_user
    busy += after.children_system - before.children_system
    timings = json.loads((out / "result.json").read_text())["timings"]
    fits = sum(timings["seconds"][name] for name in timings["fits"])
    return {"whole": spent, "processor": busy, "fits": fits}


def content(out: Path) -> Any:
    """All of a result but when, how and by what it was made."""
    result = Result.load(out)
    tables = {name: (table.columns, table.rows) for name, table in result.tables.items()}
    plain = json.dumps([result.findings, tables, result.notes], default=str, sort_keys=True)
    arrays = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in result.arrays.items()}
    return plain, arrays, dict(result.images)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", nargs="*", default=["bottleneck", "ace", "dissect"])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    sets = [word for one in asked.set for word in ("--set", one)]
    for study in asked.studies:
        times: dict[int, list[dict[str, float]]] = {count: [] for count in asked.processes}
        with tempfile.TemporaryDirectory() as top:
            results = []
            for number in range(asked.rounds):
                for count in asked.processes:
                    out = Path(top) / f"{number}-{count}"
                    times[count].append(timed(study, out, count, sets))
                    results.append(content(out))
        equal = all(one == results[0] for one in results)
        medians = {
            count: {key: statistics.median(one[key] for one in ones) for key in ones[0]}
            for count, ones in times.items()
        }
        first = medians[asked.processes[0]]
        for count, one in medians.items():
            told = ", ".join(f"{k} {v:.1f} s ({v / first[k]:.2f})" for k, v in one.items())
            print(f"{study}, {count} processes: {told}", flush=True)
        load = os.getloadavg()[0]
        print(f"{study}: results equal: {equal}; {load:.1f} processes wanted to run", flush=True)


if __name__ == "__main__":
    main()
