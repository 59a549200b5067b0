"""Long manifests: seconds and peak memory of reading one and of what is asked of all its samples.

    python benchmarks/manifests.py [--rows 100000 1000000] [--formats parquet csv jsonl]

Writes a table of so many rows into a temporary folder (no images: none is opened), reads it in a
process of its own, and prints a line for each: seconds of reading (and those in which the process
was at work: other processes do not count), of `select(split)`, of `select(limit=1000)`, of 1000
lookups by id with the index they need, of a sweep over all ids, and of making what a part of 32
samples sees; then the peak memory of the process, after reading and in the end. A table of one row
shows what packages need.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHUNK = 200_000
COLUMNS = ("id", "image", "mask", "split", "group", "site", "height")
LOOKED_UP = 1000
STEPS = ("read", "read (busy)", "split", "limit", "lookups", "ids", "part")


def row(i: int) -> tuple[str, str, str, str, str, str, float]:
    """A row as of a large set of drives: its own names, many groups, a number and a word."""
    name = f"frame_{i:09d}"
    path = f"{i // 5000:04d}/{name}"
    split = ("train", "train", "train", "val", "test")[i % 5]
    site = ("Oslo", "Bergen", "Tromsø")[i % 3]
    return (
        name, f"images/{path}.jpg", f"masks/{path}.png", split, f"drive_{i // 300:06d}", site,
        round(i % 977 / 7 + i * 1e-6, 5),
    )  # fmt: skip


def chunks(rows: int) -> Iterator[list[tuple[str, str, str, str, str, str, float]]]:
    for start in range(0, rows, CHUNK):
        yield [row(i) for i in range(start, min(start + CHUNK, rows))]


def write(folder: Path, form: str, rows: int) -> Path:
    """The manifest of a table of so many rows."""
    path = folder / f"samples.{form}"
    if form == "parquet":
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        kinds = [*[pyarrow.string()] * 6, pyarrow.float64()]
        schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
        with ParquetWriter(path, schema) as writer:
            for some in chunks(rows):
                columns = zip(*some, strict=True)
                arrays = [pyarrow.array(one, k) for one, k in zip(columns, kinds, strict=True)]
                writer.write_table(pyarrow.table(arrays, schema=schema))
    else:
        with path.open("w", encoding="utf-8") as file:
            if form == "csv":
                file.write(",".join(COLUMNS) + "\n")
            for some in chunks(rows):
                file.writelines(
                    ",".join(map(str, one)) + "\n"
                    if form == "csv"
                    else json.dumps(dict(zip(COLUMNS, one, strict=True))) + "\n"
                    for one in some
                )
    manifest = folder / "manifest.yaml"
    manifest.write_text(f"table: {{file: {path.name}}}\nlabels: {{names: [rest, road]}}\n")
    return manifest


def peak_mib() -> float:
    """Peak resident memory of this process alone; what ran it does not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise SystemExit("peak memory is read from /proc/self/status, which is not there")


def measure(path: Path) -> dict[str, float]:
    """Seconds of each step and peak memory in MiB, after reading and in all."""
    from conceptseg.data.manifest import load_manifest
    from conceptseg.data.part import part

    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start, busy = time.perf_counter(), time.process_time()
        found = work()
        seconds[name] = time.perf_counter() - start
        seconds[f"{name} (busy)"] = time.process_time() - busy
        return found

    manifest = timed("read", lambda: load_manifest(path))
    count = len(manifest.samples)
    after = peak_mib()
    names = [row(count * i // LOOKED_UP)[0] for i in range(min(LOOKED_UP, count))]
    timed("split", lambda: manifest.select(split="train"))
    timed("limit", lambda: manifest.select(limit=1000))
    timed("lookups", lambda: [manifest.sample(name) for name in names])
    timed("ids", lambda: sum(1 for _ in manifest.ids))
    timed("part", lambda: part(manifest, manifest.samples[count // 2 : count // 2 + 32]))
    return {**seconds, "mib_read": after, "mib": peak_mib()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", default=["parquet", "csv", "jsonl"])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure)))
        return
    print("| table | rows | " + " | ".join(f"{name} s" for name in STEPS) + " | MiB read | MiB |")
    print("| --- |" + " ---: |" * (len(STEPS) + 3))
    for form in arguments.formats:
        for rows in [1, *arguments.rows]:
            with tempfile.TemporaryDirectory() as folder:
                path = write(Path(folder), form, rows)
                command = [sys.executable, __file__, "--measure", str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            times = " | ".join(f"{found[name]:.3g}" for name in STEPS)
            sizes = f"{found['mib_read']:.0f} | {found['mib']:.0f}"
            print(f"| {form} | {rows} | {times} | {sizes} |", flush=True)


if __name__ == "__main__":
    main()
