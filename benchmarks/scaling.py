"""How runs scale with workers: each study by a Ray cluster of this machine, of one and two workers.

    python benchmarks/scaling.py [STUDY ...] [--images 60] [--minutes 8]

Without names five studies, which differ in what they spend their time on; none is begun when the
minutes are over. Each study is run on scenes of a small network (one thread everywhere), on this
machine alone and by a cluster of one and of two workers that is there already. Prints, for each,
the processor's seconds of the run alone; the share of them outside of parts of passes and of fits,
which no worker can take (`serial`); what Amdahl's law makes of it for 2, 8 and 64 workers; and the
seconds of the clock by one and by two workers with their ratio, in which workers begin (imports,
network). Then what a call costs that does nothing, of which a part is one. Figures of the clock
hold on a machine with two free cores; the share does anywhere.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # as the run that they are compared with
ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # in place of this folder, whose names other packages import
os.environ["PYTHONPATH"] = str(ROOT)

from conceptseg.engine import fits, steps  # noqa: E402
from conceptseg.engine.base import each  # noqa: E402
from conceptseg.engine.ray import cluster  # noqa: E402
from conceptseg.engine.ray.engine import RayEngine  # noqa: E402
from conceptseg.result.saved import Result  # noqa: E402
from conceptseg.study import __main__ as command  # noqa: E402
from tests.strange_models import NETWORKS, write_scenes  # noqa: E402
from tests.study.test_strange import write  # noqa: E402

WORKERS = (2, 8, 64)
FIVE = ("permutation", "dissect", "saliency", "ace", "bottleneck")
"""Parts alone; many units tested; hundreds of passes an image; clusters; fits on the processor."""
STORE, CALLS = 100_000_000, 500


class Timed:
    """A call whose processor's seconds are added up."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.seconds, self._deep = call, 0.0, 0

    def __call__(self, *arguments: Any) -> Any:
        started, self._deep = time.process_time(), self._deep + 1
        try:
            return self.call(*arguments)
        finally:
            self._deep -= 1
            if not self._deep:
                self.seconds += time.process_time() - started


@contextlib.contextmanager
def timed() -> Iterator[tuple[Timed, Timed]]:
    """Parts and fits of runs inside, timed."""
    part, alone = Timed(steps.map_part), Timed(fits._alone)
    steps.map_part, fits._alone = part, alone  # type: ignore[assignment]
    try:
        yield part, alone
    finally:
        steps.map_part, fits._alone = part.call, alone.call


def run(file: Path, study: str, out: Path, *words: str) -> float:
    """The clock's seconds of a run."""
    started = time.monotonic()
    base = [study, "-c", str(file), "--out", str(out), "-q", "--set", "run.processes=1"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert command.main([*base, "--set", "run.shards=16", *words]) == 0
    return time.monotonic() - started


def by_workers(file: Path, study: str, folder: Path, count: int) -> float:
    """The clock's seconds of a run by a cluster of so many workers, which is there already."""
    cluster.STORE, cluster.cores = STORE, lambda: count  # type: ignore[assignment]
    connected = cluster.connected(None)
    try:
        return run(file, study, folder / f"by-{count}", "--engine", "ray")
    finally:
        connected.shutdown()


def line(study: str, folder: Path, scenes: dict[Any, Path], workers: bool) -> str:
    folder.mkdir()
    file = write(folder, study, "plain", scenes)
    run(file, study, folder / "warm")
    with timed() as (part, alone):
        before = time.process_time()
        run(file, study, folder / "alone")
        whole = time.process_time() - before
    serial = 1 - (part.seconds + alone.seconds) / whole
    gains = [f"{1 / (serial + (1 - serial) / count):5.1f}" for count in WORKERS]
    passes = Result.load(folder / "alone").provenance["passes"]
    parts = sum(one["shards"] for one in passes)
    told = f"{study:12} {whole:7.1f} s  serial {serial:5.0%}  gain {' '.join(gains)}"
    if not workers:
        return f"{told}  {parts} parts"
    one, two = (by_workers(file, study, folder, count) for count in (1, 2))
    return f"{told}  by 1: {one:5.1f} s, by 2: {two:5.1f} s, {one / two:4.2f}"


def nothing(shared: Any, ids: tuple[str, ...]) -> int:
    """A call that does nothing with what a part is given."""
    return len(ids)


def overhead() -> str:
    """What a call costs that does nothing, in processor's seconds of the head and on the clock."""
    cluster.STORE, cluster.cores = STORE, lambda: 1  # type: ignore[assignment]
    connected = cluster.connected(None)
    engine = RayEngine()
    shared, ids = engine.share(bytes(20_000_000)), tuple(f"frame_{n:09d}" for n in range(128))
    list(each(engine, [(nothing, (shared, ids))] * 20))
    clock, busy = time.monotonic(), time.process_time()
    list(each(engine, [(nothing, (shared, ids))] * CALLS))
    clock, busy = time.monotonic() - clock, time.process_time() - busy
    engine.close()
    connected.shutdown()
    of = f"{1000 * busy / CALLS:.1f} ms of the head's processor, {1000 * clock / CALLS:.1f} ms"
    return f"a call that does nothing, of {CALLS}: {of} on the clock"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", default=list(FIVE))
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--alone", action="store_true", help="Only the shares, without a cluster.")
    given = parser.parse_args()
    names, started = NETWORKS["plain"].classes, time.monotonic()
    print(f"gains: by {', '.join(map(str, WORKERS))} workers, as Amdahl's law has it")
    with tempfile.TemporaryDirectory() as folder:
        scenes = {names: write_scenes(Path(folder) / "scenes", given.images, names)}
        for study in given.studies:
            if time.monotonic() - started > 60 * given.minutes:
                print(f"{study:12} not begun: {given.minutes:g} minutes are over")
                continue
            print(line(study, Path(folder) / study, scenes, not given.alone), flush=True)
    if not given.alone:
        print(overhead())


if __name__ == "__main__":
    main()
