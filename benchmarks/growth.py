"""Peak memory, disk and time of every study as the data set grows, and what that means at 1e7.

    python benchmarks/growth.py [STUDY ...] [--images 100 1000 10000 100000] [--seconds 600] [--all]

Runs each study on scenes of 32 x 24 pixels and a network of three small layers, with the settings
of the tests, each in a process of its own. Some hundred scenes are painted; the others are the same
files under further names, which takes no time and changes nothing of what grows. Prints a line for
each number of images: peak memory (MiB), what lay in `.state` at most and in the result's folder
(MiB), seconds, and milliseconds of all passes for each image of the data set; then the ratio of the
peaks (most images to fewest), the slope between the two largest, and where that leads at ten
million. A study that takes more than `--seconds` on one is not asked for a larger one.

Studies that keep something of each image take 10,000 of them at most; `--all` asks for all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.strange_models import NETWORKS, write_scenes  # noqa: E402
from tests.study.test_strange import STUDIES, write  # noqa: E402

PAINTED = 400
"""Scenes that are painted; file systems allow some 60,000 names of one file."""


@dataclass(frozen=True)
class Grown:
    """Peak memory, most of `.state` and size of the result in bytes; seconds, also of passes."""

    images: int
    peak: int
    state: int
    kept: int
    seconds: float
    passes: float

    def __str__(self) -> str:
        sizes = [f"{size / 2**20:.0f}" for size in (self.peak, self.state, self.kept)]
        each = 1000 * self.passes / self.images
        return (
            f"{self.images}: peak {sizes[0]}, .state {sizes[1]}, result {sizes[2]} MiB; "
            f"{self.seconds:.0f} s, passes {each:.2f} ms an image"
        )


def scenes_of(folder: Path, count: int) -> Path:
    """The manifest of so many scenes, of which some hundred differ: a table, as of many images."""
    painted = min(count, PAINTED)
    path = write_scenes(folder, painted, NETWORKS["plain"].classes)
    names = [f"g{number // 2}_s{number:02d}" for number in range(count)]
    for number in range(painted, count):
        for kind in ("images", "masks", "marks"):
            there = folder / kind / f"{names[number % painted]}.png"
            os.link(there, folder / kind / f"{names[number]}.png")
    with (folder / "scenes.csv").open("w") as file:
        file.write("id,image,mask,group\n")
        for name in names:
            file.write(f"{name},images/{name}.png,masks/{name}.png,{name.partition('_')[0]}\n")
    content = yaml.safe_load(path.read_text())
    del content["folders"], content["group"]
    path.write_text(yaml.safe_dump(content | {"table": {"file": "scenes.csv"}}))
    return path


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder; those that go meanwhile do not count."""
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(top, name)).st_size
            except FileNotFoundError:
                continue
    return total


def grown(
    study: str, folder: Path, scenes: Path, images: int, seconds: float, every: bool
) -> Grown | None:
    """What a run on so many images took, as it records it; None where it takes longer.

    Of the largest process: where a run has others beside it they are smaller.
    """
    folder.mkdir()
    path = write(folder, study, "plain", {NETWORKS["plain"].classes: scenes})
    keys = yaml.safe_load(path.read_text())
    if every:
        keys["data"]["limit"] = images
    keys["run"] = {"device": "cpu", "batch_size": 16, "threads": 1, "processes": 1}
    path.write_text(yaml.safe_dump(keys))
    command = [sys.executable, "-m", "conceptseg.study", study, "--config", str(path)]
    command += ["--out", str(folder / "out"), "--quiet"]
    state, began = 0, time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if time.monotonic() - began > seconds:
                process.kill()
                return None
            time.sleep(0.5)
            state = max(state, size_of(folder / "out/.state"))
    if process.returncode:
        raise SystemExit(f"{study}: exit code {process.returncode}")
    result = json.loads((folder / "out/result.json").read_text())
    timings, steps = result["timings"], result["timings"]["seconds"]
    passes = sum(steps[one["name"]] for one in result["provenance"]["passes"])
    peak, spent = timings["peak_memory_bytes"], timings["total_seconds"]
    return Grown(images, peak, state, size_of(folder / "out"), spent, passes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", nargs="*", default=sorted(STUDIES), metavar="STUDY")
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        sets = {count: scenes_of(Path(top) / f"{count}", count) for count in arguments.images}
        for study in arguments.studies:
            made: list[Grown] = []
            for count, scenes in sets.items():
                place = Path(top) / f"{study}-{count}"
                one = grown(study, place, scenes, count, arguments.seconds, arguments.all)
                if one is None:
                    print(f"{study} {count}: over {arguments.seconds:.0f} s", flush=True)
                    break
                made.append(one)
                print(f"{study} {one}", flush=True)
            if len(made) > 1:
                few, many = made[-2:]
                slope = (many.peak - few.peak) / (many.images - few.images)
                print(
                    f"{study}: ratio {many.peak / made[0].peak:.3f}; {slope:.0f} bytes an image, "
                    f"at 1e7 {slope * 1e7 / 2**30:.1f} GiB more",
                    flush=True,
                )


if __name__ == "__main__":
    main()
