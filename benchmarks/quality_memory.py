"""Peak memory of bottleneck, ability and permutation as the data set grows.

    python benchmarks/quality_memory.py [--images 150] [--factor 3]

Runs each study on the embedded example with N and with factor x N images, each in a process of its
own, and prints both peaks and what the larger one adds per image. What is kept of an image are its
features (bottleneck: 3 numbers per unit) or its overlaps (ability: a table per image); permutation
keeps nothing of images that it has not drawn.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MANIFEST = "format: planted\nsplit: test\nn: {n}\ncontext: balanced\nstrength: 0.9\n"
CHEAP = {
    "bottleneck": "regressors: [ridge]\nrepeats: 1\nmap_seeds: 1\nmap_images: 40\nfailure: 0.5\n",
    "ability": "control_images: 16\nunit_images: 8\n",
    "permutation": "images: 24\nmost_repeats: 2\nrepeats: 2\n",
}


def peak(folder: Path, study: str, images: int) -> int:
    (folder / "data.yaml").write_text(MANIFEST.format(n=images))
    config = folder / f"{study}_memory.yaml"
    config.write_text(
        "data: {manifest: data.yaml}\nmodel: {source: planted, name: biased}\n"
        f"run: {{batch_size: 16}}\ncompare: []\n{CHEAP[study]}"
    )
    out = folder / f"{study}-{images}"
    command = [sys.executable, "-m", "conceptseg.study", study, "--config", str(config)]
    subprocess.run(
        [*command, "--out", str(out), "--quiet"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    return json.loads((out / "result.json").read_text())["timings"]["peak_memory_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--factor", type=int, default=3)
    arguments = parser.parse_args()
    few, many = arguments.images, arguments.images * arguments.factor
    with tempfile.TemporaryDirectory() as folder:
        for study in CHEAP:
            small, large = (peak(Path(folder), study, count) for count in (few, many))
            each = (large - small) / (many - few) / 2**10
            print(
                f"{study}: {small / 2**20:.0f} MiB with {few} images, {large / 2**20:.0f} MiB with "
                f"{many}: {each:.0f} KiB more per image"
            )


if __name__ == "__main__":
    main()
