"""Peak memory of every study as the data set grows, and what its slope means at ten million.

    python benchmarks/growth.py [STUDY ...] [--images 100 400 1600] [--seconds 600]

Runs each study on scenes of 64 x 48 pixels and a network of three small layers, with the settings
of the tests, each in a process of its own. Prints peak memory, seconds, and the slope between the
two largest data sets. A study that takes more than `--seconds` on one is not asked for a larger
one. Where the slope is that of what must be kept of each image it says how many bytes that is.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.strange_models import NETWORKS, write_scenes  # noqa: E402
from tests.study.test_strange import STUDIES, write  # noqa: E402


def grown(study: str, folder: Path, scenes: Path, images: int, seconds: float) -> tuple[int, float]:
    """Peak resident memory in bytes and seconds of a run on so many images, as it records them.

    Of the largest process: where a run has others beside it they are smaller.
    """
    folder.mkdir()
    path = write(folder, study, "plain", {NETWORKS["plain"].classes: scenes})
    keys = yaml.safe_load(path.read_text())
    keys["data"]["limit"] = images
    keys["run"] = {"device": "cpu", "batch_size": 16, "threads": 1, "processes": 1}
    path.write_text(yaml.safe_dump(keys))
    command = [sys.executable, "-m", "conceptseg.study", study, "--config", str(path)]
    command += ["--out", str(folder / "out"), "--quiet"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=seconds)
    timings = json.loads((folder / "out/result.json").read_text())["timings"]
    return timings["peak_memory_bytes"], timings["total_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", nargs="*", default=sorted(STUDIES), metavar="STUDY")
    parser.add_argument("--images", type=int, nargs="+", default=[100, 400, 1600])
    parser.add_argument("--seconds", type=float, default=600)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        names = NETWORKS["plain"].classes
        scenes = write_scenes(Path(top) / "scenes", max(arguments.images), names)
        for study in arguments.studies:
            peaks: list[tuple[int, int]] = []
            told = []
            for images in arguments.images:
                place = Path(top) / f"{study}-{images}"
                try:
                    peak, spent = grown(study, place, scenes, images, arguments.seconds)
                except subprocess.TimeoutExpired:
                    told.append(f"{images}: over {arguments.seconds:.0f} s")
                    break
                peaks.append((images, peak))
                told.append(f"{images}: {peak / 2**20:.0f} MiB, {spent:.0f} s")
            if len(peaks) > 1:
                (few, before), (many, after) = peaks[-2:]
                slope = (after - before) / (many - few)
                told.append(f"ratio {after / peaks[0][1]:.3f}, {slope:.0f} bytes an image")
                told.append(f"at 1e7 {slope * 1e7 / 2**30:.1f} GiB more")
            print(f"{study}: " + "; ".join(told), flush=True)


if __name__ == "__main__":
    main()
