"""Peak memory of ACE as the data set grows: it must not.

    python benchmarks/memory.py [--images 200] [--factor 4]

Runs the study on the embedded example with N and with factor x N images, each in a process of its
own, and prints both peaks. The number of images that are kept per class is bounded, as it is for
every user by `images_per_class`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MANIFEST = (
    "format: planted\nscenes: textured\nsplit: test\nn: {n}\ncontext: biased\nstrength: 0.9\n"
)


def peak(folder: Path, images: int, per_class: int) -> int:
    """Peak resident memory in bytes of a run on so many images, as the run itself records it."""
    (folder / "data.yaml").write_text(MANIFEST.format(n=images))
    (folder / "ace_memory.yaml").write_text(
        "data: {manifest: data.yaml}\nmodel: {source: planted, name: biased}\n"
        f"run: {{batch_size: 16}}\nimages_per_class: {per_class}\n"
    )
    out = folder / f"out-{images}"
    command = [sys.executable, "-m", "conceptseg.study", "ace"]
    command += ["--config", str(folder / "ace_memory.yaml"), "--out", str(out), "--quiet"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return json.loads((out / "result.json").read_text())["timings"]["peak_memory_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--per-class", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few = peak(Path(folder), arguments.images, arguments.per_class)
        many = peak(Path(folder), arguments.images * arguments.factor, arguments.per_class)
    print(f"{arguments.images} images: {few / 2**20:.0f} MiB")
    print(f"{arguments.images * arguments.factor} images: {many / 2**20:.0f} MiB")
    print(f"ratio {many / few:.3f}")


if __name__ == "__main__":
    main()
