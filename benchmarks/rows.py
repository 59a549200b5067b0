"""Whether `map` is slower for a long manifest: each part of each pass, by a short and a long one.

    python benchmarks/rows.py [STUDY ...] [--rows 1000000] [--images 64]

Runs each study on some scenes; every part of every pass is made twice in turn, once as a part of
those scenes' manifest and once as a part of one that has so many further rows (no file of which
is there), and has to come out equal. Prints, for each pass, the processor's milliseconds of a part
with either, medians over parts, and their ratio.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # in place of this folder, whose names other packages import

from benchmarks.growth import scenes_of  # noqa: E402
from conceptseg.data.manifest import Manifest, load_manifest  # noqa: E402
from conceptseg.engine import run  # noqa: E402
from conceptseg.engine.base import Ref  # noqa: E402
from conceptseg.engine.local import LocalEngine  # noqa: E402
from conceptseg.engine.work import map_part  # noqa: E402
from conceptseg.study import __main__ as command  # noqa: E402
from tests.strange_models import NETWORKS  # noqa: E402
from tests.study.test_strange import STUDIES, write  # noqa: E402


class Twice(LocalEngine):
    """Makes each part with either manifest, and notes the seconds of both by the pass's name."""

    def __init__(self, long: Manifest) -> None:
        self.long = long
        self.seconds: dict[str, list[tuple[float, float]]] = {}

    def result(self, ref: Ref[Any]) -> Any:
        call, (shared, *rest) = ref.call, ref.arguments  # type: ignore[attr-defined]
        if call is not map_part:
            return super().result(ref)
        task = shared.value
        context = dataclasses.replace(task.context, manifest=self.long)
        other = dataclasses.replace(task, context=context)
        call(task, *rest)  # what is cached is there for both
        spent, made = [], []
        for one in (task, other):
            began = time.process_time()
            made.append(call(one, *rest))
            spent.append(time.process_time() - began)
        equal(*(one.known for one in made))
        self.seconds.setdefault(task.step.name, []).append((spent[0], spent[1]))
        return made[0]


def equal(one: Any, other: Any) -> None:
    """Refuse states that differ in a bit; but for what is a time."""
    for (name, state), (_, twin) in zip(one.items(), other.items(), strict=True):
        first, second = (
            {key: value for key, value in each.to_arrays().items() if not key.endswith("seconds")}
            for each in (state, twin)
        )
        same = first.keys() == second.keys() and all(
            first[key].tobytes() == second[key].tobytes() for key in first
        )
        if not same:
            raise RuntimeError(f"{name}: another state with the long manifest")


def longer(scenes: Path, rows: int) -> Manifest:
    """The manifest of the scenes with so many rows behind theirs."""
    content = yaml.safe_load(scenes.read_text())
    text = (scenes.parent / "scenes.csv").read_text()
    with (scenes.parent / "long.csv").open("w") as file:
        file.write(text)
        for number in range(rows):
            file.write(f"more_{number},images/{number}.png,masks/{number}.png,m{number // 2}\n")
    path = scenes.parent / "long.yaml"
    path.write_text(yaml.safe_dump(content | {"table": {"file": "long.csv"}}))
    return load_manifest(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", nargs="*", default=sorted(STUDIES), metavar="STUDY")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=64)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        scenes = scenes_of(Path(top) / "scenes", asked.images)
        long = longer(scenes, asked.rows)
        for study in asked.studies:
            (Path(top) / study).mkdir()
            path = write(Path(top) / study, study, "plain", {NETWORKS["plain"].classes: scenes})
            engine = Twice(long)
            run.LocalEngine = lambda engine=engine: engine  # type: ignore[assignment, misc]
            out = str(Path(top) / study / "out")
            words = [study, "-c", str(path), "--set", "run.processes=1", "--set", "run.shards=8"]
            if code := command.main([*words, "--out", out, "-q"]):
                raise SystemExit(f"{study}: exit code {code}")
            for name, times in engine.seconds.items():
                few, many = (statistics.median(one) * 1e3 for one in zip(*times, strict=True))
                told = f"{few:.1f} and {many:.1f} ms a part, ratio {many / few:.3f}"
                print(f"{study} {name}: {told} ({len(times)} parts)", flush=True)


if __name__ == "__main__":
    main()
