"""Reading ahead of the network and keeping what was decoded, against reading each image in turn.

    python benchmarks/feeding.py [STUDY_FILE ...] [--set KEY=VALUE] [--images 48] [--rounds 3]

For the data and network of each study's file, and for synthetic photographs of 2 megapixels (JPEG
with PNG masks) read by a network of three small layers: one sweep of forward passes over the
images with their labels, in batches of 8. Prints images a second, the share of time in which the
network waits for a batch, and the median over rounds of each way's ratio to reading in turn.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from common import median, median_ratio
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from conceptseg.config import StudyKeys  # noqa: E402
from conceptseg.data.batch import batches  # noqa: E402
from conceptseg.data.cache import Decoded  # noqa: E402
from conceptseg.engine import start  # noqa: E402
from conceptseg.settings import read_parts, validate  # noqa: E402
from tests.strange_models import NETWORKS  # noqa: E402

BATCH = 8
SIZE = (1216, 1664)


def photographs(folder: Path, count: int) -> Path:
    """A study's file for so many images of 2 megapixels; they compress about as photographs do."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (76, 104, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"images/{number}.jpg", quality=92)
        Image.fromarray((smooth[..., 0] // 64).astype(np.uint8)).save(
            folder / f"masks/{number}.png"
        )
    names = list(NETWORKS["plain"].classes)
    manifest = {
        "name": "photographs",
        "folders": [{"images": "images/{id}.jpg", "masks": "masks/{id}.png"}],
        "labels": {"names": names, "background": names[0]},
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(manifest))
    study = {"data": {"manifest": str(folder / "data.yaml")}, "model": NETWORKS["plain"].content}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder / "study.yaml"


def sweep(context, samples, workers: int) -> tuple[float, float]:
    """Seconds of a sweep, and those of them in which the network waited."""
    began, waited = time.perf_counter(), 0.0
    found = batches(context.manifest, samples, BATCH, "cpu", True, workers)
    while True:
        asked = time.perf_counter()
        batch = next(found, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return time.perf_counter() - began, waited
        with torch.no_grad():
            context.model(batch.images)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", nargs="*", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="keys")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = photographs(Path(folder), arguments.images)
        given = [tuple(one.split("=", 1)) for one in arguments.keys]
        for path in (*arguments.studies, own):
            content = read_parts(path, [] if path == own else given)
            keys = {key: value for key, value in content.items() if key in StudyKeys.model_fields}
            context = start.prepare(validate(StudyKeys, keys, str(path)), weigh=False)
            labelled = [one for one in context.manifest.samples if context.manifest.labelled(one)]
            samples = labelled[: arguments.images]
            kept = dataclasses.replace(context.manifest, cache=Decoded(2**34))
            ways = {
                "in turn": (context, 0),
                "ahead, 1 thread": (context, 1),
                "ahead, 2 threads": (context, 2),
                "kept": (dataclasses.replace(context, manifest=kept), 0),
            }
            times = {name: [] for name in ways}
            for turn in range(arguments.rounds + 1):
                for name, (one, workers) in ways.items():
                    found = sweep(one, samples, workers)
                    if turn:  # the first fills caches
                        times[name].append(found)
            print(f"{path.stem}: {len(samples)} images of {context.manifest.name}")
            whole = {name: [total for total, _ in each] for name, each in times.items()}
            for name, each in times.items():
                rate = len(samples) / median(whole[name])
                share = median([waited / total for total, waited in each])
                ratio = median_ratio(whole["in turn"], whole[name])
                print(f"  {name}: {rate:.1f} images/s, waiting {share:.0%}, {ratio:.2f} times")


if __name__ == "__main__":
    main()
