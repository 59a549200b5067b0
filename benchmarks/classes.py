"""Seconds and peak memory of every study on data of many classes, with its defaults.

    python benchmarks/classes.py [STUDY ...] [--classes 150] [--images 600] [--side 32]
        [--seconds 600] [--set KEY=VALUE ...]

Images are mosaics of 4 x 4 colours, each a class; the network takes each pixel for the class of the
colour nearest to what it sees around it, so that all classes are predicted and none faultlessly.
Prints what `check` says a run will cost, and what it did.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from conceptseg import catalogue  # noqa: E402

TILES, UNITS = 4, 64


def colours(classes: int) -> np.ndarray:
    """Colours [k, 3] in 0 to 255, far from each other: the first of a sequence that fills space."""
    steps = (np.arange(1, classes + 1)[:, None] * np.array([0.8191725, 0.6710436, 0.5497005])) % 1
    return np.asarray(20 + 215 * steps)


def network(classes: int, seed: int = 0) -> nn.Module:
    """`body`: 64 units on half the size, the first three of which are the colour."""
    torch.manual_seed(seed)
    known = torch.from_numpy(colours(classes)).float() / 255
    body, head = nn.Conv2d(3, UNITS, 3, stride=2, padding=1), nn.Conv2d(UNITS, classes, 1)
    with torch.no_grad():
        body.weight[:3] = torch.eye(3)[:, :, None, None] / 9
        body.bias[:3] = 0
        head.weight.mul_(0.02)
        head.weight[:, :3] = 40 * known[:, :, None, None]
        head.bias.copy_(-20 * (known**2).sum(1))
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return nn.Sequential(body, nn.ReLU(), head, up).eval()


def write(folder: Path, classes: int, images: int, side: int) -> Path:
    """Images, masks and manifest; returns its file."""
    dice, known = np.random.default_rng(0), colours(classes)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(images):
        tiles = dice.integers(0, classes, (TILES, TILES))
        labels = tiles.repeat(side // TILES, 0).repeat(side // TILES, 1)
        pixels = (known[labels] + dice.normal(0, 12, (*labels.shape, 3))).clip(0, 255)
        Image.fromarray(np.uint8(pixels)).save(folder / f"images/{number:05d}.png")
        Image.fromarray(labels.astype(np.uint16)).save(folder / f"masks/{number:05d}.png")
    content = {
        "channels": 3,
        "folders": [{"images": "images/{id}.png", "masks": "masks/{id}.png"}],
        "labels": {"names": [f"c{number}" for number in range(classes)]},
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(content))
    return folder / "set.yaml"


def called(words: list[str], seconds: float) -> tuple[str, float]:
    """What a command printed and its seconds; where it took longer, or failed, a line of that."""
    began = time.monotonic()
    command = [sys.executable, "-m", "conceptseg.study", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"over {seconds:.0f} s", seconds
    last = (done.stderr.strip().splitlines() or [""])[-1]
    said = done.stdout if done.returncode == 0 else f"exit {done.returncode}: {last}"
    return said, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", nargs="*", default=catalogue.names("study"), metavar="STUDY")
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    sets = [word for one in asked.set for word in ("--set", one)]
    with tempfile.TemporaryDirectory() as top:
        manifest = write(Path(top) / "data", asked.classes, asked.images, asked.side)
        for study in asked.studies:
            model = {
                "source": "factory",
                "name": "benchmarks.classes:network",
                "arguments": {"classes": asked.classes},
                "classes": [f"c{number}" for number in range(asked.classes)],
            }
            content = {"data": {"manifest": str(manifest)}, "model": model, "layer": "0"}
            if study == "diff":
                content["other"] = copy.deepcopy(model)
                content["other"]["arguments"]["seed"] = 1  # type: ignore[index]
            path = Path(top) / f"{study}_classes.yaml"
            path.write_text(yaml.safe_dump(content))
            words = ["--config", str(path), *sets]
            said, _ = called(["check", "--study", study, *words], asked.seconds)
            for line in said.splitlines():
                if re.search(r": about \d| ms, |exit \d|^over ", line):
                    print(f"  {line.strip('│ ')}")
            out = Path(top) / study
            said, spent = called([study, *words, "--out", str(out), "-q"], asked.seconds)
            if (out / "result.json").exists():
                timings = json.loads((out / "result.json").read_text())["timings"]
                size = (out / "report.html").stat().st_size / 2**20
                said = f"peak {timings['peak_memory_bytes'] / 2**20:.0f} MiB, report {size:.1f} MiB"
                steps = {k: v for k, v in timings.items() if isinstance(v, dict)}
                print(f"  {json.dumps(steps)[:600]}")
            print(f"{study}: {spent:.0f} s; {said.strip()}", flush=True)


if __name__ == "__main__":
    main()
