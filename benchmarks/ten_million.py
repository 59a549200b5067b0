"""A manifest of millions of rows through `check` and through one pass over every row.

    python benchmarks/ten_million.py [--rows 10000000] [--swept 1000000]

Writes a Parquet table of so many rows (whose images are a hundred small files: what is measured is
the rows' cost), and runs, each in a process of its own: `conceptseg check`, and a pass of the
engine over so many `swept` rows with a stub network (two convolutions, below a millisecond), which
counts predicted pixels by class. Prints seconds of the processor and of the clock, the peak of
memory of the process, and the bytes of what was saved of the pass. Images are 16 x 16.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # in place of this folder, whose names other packages import

FILES, CHUNK, SIDE = 100, 500_000, 16
CLASSES = ("ground", "crimson", "azure", "verdant")


def write(folder: Path, rows: int) -> Path:
    """The images, the table, its manifest and a study's file; returns the last."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    dice = np.random.default_rng(0)
    for number in range(FILES):
        values = dice.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(values).save(folder / f"im{number:02d}.png")
        labels = values[..., 0] // 64
        Image.fromarray(labels).save(folder / f"mask{number:02d}.png")
    schema = pa.schema([(name, pa.string()) for name in ("id", "image", "mask", "split", "group")])
    with pq.ParquetWriter(folder / "rows.parquet", schema) as table:
        for first in range(0, rows, CHUNK):
            numbers = range(first, min(first + CHUNK, rows))
            columns = (
                [f"frame_{i:09d}" for i in numbers],
                [f"im{i % FILES:02d}.png" for i in numbers],
                [f"mask{i % FILES:02d}.png" for i in numbers],
                ["test"] * len(numbers),
                [f"drive_{i // 300:06d}" for i in numbers],
            )
            table.write_table(pa.table(list(columns), schema=schema))
    manifest = {"name": "rows", "table": {"file": "rows.parquet"}}
    manifest["labels"] = {"names": list(CLASSES), "background": "ground"}
    (folder / "rows.yaml").write_text(yaml.safe_dump(manifest))
    study = {
        "data": {"manifest": "rows.yaml"},
        "model": {
            "source": "factory",
            "name": "benchmarks.ten_million:stub",
            "classes": list(CLASSES),
            "preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1]},
        },
        "layer": "0",
        "run": {"device": "cpu", "threads": 1, "batch_size": 32},
        "images": 32,
        "compare": ["seg_grad_cam"],
    }
    (folder / "permutation_rows.yaml").write_text(yaml.safe_dump(study))
    return folder / "permutation_rows.yaml"


def stub() -> Any:
    """A network of a convolution and a head."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 1))


def checked(file: Path) -> dict[str, float]:
    """What `check` takes."""
    from conceptseg.study.__main__ import main as command

    assert command(["check", "-c", str(file)]) == 0
    return {}


def swept(file: Path, limit: int) -> dict[str, float]:
    """What a pass over so many rows takes and saves."""
    from benchmarks.swept import Count
    from conceptseg import catalogue
    from conceptseg.engine import run, start
    from conceptseg.settings import read_settings

    overrides = [("data.limit", limit)]
    kind = catalogue.load("study", "permutation")
    settings = read_settings("permutation", kind, file, overrides)
    began = time.process_time()
    context = start.prepare(settings.study, weigh=False)
    prepared = time.process_time() - began
    out = file.parent / "out"
    run.sweep(Count(), settings.study, context, out, {})
    files = [one for one in (out / ".state").rglob("*") if one.is_file()]
    saved = sum(one.stat().st_size for one in files)
    return {"prepared": prepared, "saved_bytes": saved, "files": len(files)}


def alone(what: str, file: Path, limit: int) -> dict[str, float]:
    """What `check` or the pass takes, in a process of its own."""
    words = [sys.executable, __file__, "--inside", what, str(file), "--swept", str(limit)]
    began = time.monotonic()
    own = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    made = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=own, check=True)
    return json.loads(made.stdout.splitlines()[-1]) | {"wall": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000_000])
    parser.add_argument("--swept", type=int, default=1_000_000)
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        what, file = given.inside[0], Path(given.inside[1])
        told = checked(file) if what == "check" else swept(file, given.swept)
        used = resource.getrusage(resource.RUSAGE_SELF)
        told |= {"cpu": used.ru_utime + used.ru_stime, "peak_gib": used.ru_maxrss / 2**20}
        print(json.dumps(told))
        return
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            file = write(Path(folder), rows)
            told = alone("check", file, 0)
            print(
                f"check, {rows} rows: {told['cpu']:.0f} s of the processor, {told['wall']:.0f} s, "
                f"peak {told['peak_gib']:.2f} GiB",
                flush=True,
            )
            limit = min(rows, given.swept)
            told = alone("sweep", file, limit)
            each = 1e6 / limit
            print(
                f"pass over {limit} of {rows} rows: {told['prepared']:.0f} s to begin, then "
                f"{(told['cpu'] - told['prepared']) * each:.0f} s of the processor for a million, "
                f"{told['wall']:.0f} s in all, peak {told['peak_gib']:.2f} GiB, "
                f"{told['saved_bytes'] / limit:.0f} bytes saved for each row in "
                f"{told['files']} files",
                flush=True,
            )


if __name__ == "__main__":
    main()
