"""How often the 95 % intervals of a report hold the truth, on data sets that were never seen.

    python benchmarks/coverage.py runs STUDY [--sets 24] [--set KEY=VALUE]
    python benchmarks/coverage.py draws FOLDER [FOLDER ...] [--sets 400]

`runs` runs a study on so many fresh planted data sets of its default size (other seeds of the same
manifest) and reads every interval that its tables hold; the truth of a number is its mean over the
data sets. It costs as many runs, and counts all that differs between data sets. `draws` takes the
numbers of images in finished results (the folders' arrays) for the population, draws data sets of a
study's default size from it, and makes the study's own intervals of them: cheap, and of those
numbers alone which are means over images. Beside each stands the plain percentile interval.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from conceptseg.catalogue import parse  # noqa: E402
from conceptseg.stats.estimate import Sampling  # noqa: E402
from conceptseg.stats.intervals import FEWEST, finite_mean  # noqa: E402

LEAST = 8
"""Data sets in which a number has to be known, for it to count."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("runs", "draws"))
    parser.add_argument("of", nargs="+")
    parser.add_argument("--sets", type=int)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    if arguments.way == "runs":
        runs(arguments.of[0], arguments.sets or 24, arguments.set)
    else:
        for folder in map(Path, arguments.of):
            draws(folder, arguments.sets or 400)


def runs(study: str, sets: int, overrides: list[str]) -> None:
    """A study on fresh data sets, and the share of them in whose intervals the truth lies."""
    import yaml

    from conceptseg.study.__main__ import main as command

    config = Path(f"studies/{study}_planted.yaml").resolve()
    manifest = (config.parent / yaml.safe_load(config.read_text())["data"]["manifest"]).resolve()
    found: dict[tuple[str, ...], list[tuple[float, float, float]]] = defaultdict(list)
    for number in range(sets):
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder) / "data.yaml"
            own.write_text(
                yaml.safe_dump(yaml.safe_load(manifest.read_text()) | {"seed": 100 + number})
            )
            changed = [f"data.manifest={own}", *overrides]
            flags = [word for one in changed for word in ("--set", one)]
            out = Path(folder) / "out"
            if command([study, "--config", str(config), "--out", str(out), *flags]):
                raise SystemExit(f"data set {number} failed")
            for key, *numbers in intervals(json.loads((out / "result.json").read_text())):
                found[key].append(tuple(numbers))
    kinds: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for (table, column, *_), each in found.items():
        if len(each) >= LEAST:
            value, low, high = np.array(each).T
            kinds[table, column] += ((low <= value.mean()) & (value.mean() <= high)).tolist()
    for (table, column), held in kinds.items():
        print(f"{study} {table}.{column}: {np.mean(held):.3f} of {len(held)}", flush=True)


def intervals(result: dict) -> Iterator[tuple[tuple[str, ...], float, float, float]]:
    """Every interval of a saved result's tables: what it is of, the value, and its ends."""
    for name, table in result["tables"].items():
        for row in table["rows"]:
            words = [str(v) for k, v in row.items() if isinstance(v, str) and "picture" not in k]
            ends = {
                k.removesuffix("_low"): (k, k.replace("_low", "_high"))
                for k in row
                if k.endswith("_low")
            }
            if "low" in row:
                numbers = [k for k, v in row.items() if isinstance(v, float)]
                ends[numbers[0]] = ("low", "high")
            for key, (low, high) in ends.items():
                three = row.get(key), row.get(low), row.get(high)
                if all(isinstance(one, (int, float)) for one in three):
                    yield (name, key, *words), *map(float, three)


Population = tuple[str, np.ndarray, tuple[int, ...], tuple[float, float] | None]
POINTED = "each method in "
"""Numbers of which most may be one and the same: the interval allows for others only then."""


def populations(folder: Path) -> Iterator[Population]:
    """What a study takes means of: a name, the numbers [images, series], the images of a set, and
    the bounds by which rare images are allowed for, if they are."""
    arrays = np.load(folder / "arrays.npz")
    result = json.loads((folder / "result.json").read_text())
    study, metrics = result["study"], result["notes"].get("metrics", ())
    if study == "permutation":
        yield (
            "loss of IoU by part and class",
            finite_mean(arrays["overlap"], 2).reshape(len(arrays["clean"]), -1),
            (60,),
            (-1.0, 1.0),
        )
    elif study == "ability":
        yield "Dice of the output by class", arrays["output"], (200,), (0.0, 1.0)
    elif study == "saliency":
        for metric, values in zip(metrics, arrays["values"].transpose(2, 0, 1), strict=True):
            made = parse("metrics", metric.partition(" (")[0]).bounds
            seen = (float(np.nanmin(values)), float(np.nanmax(values)))
            yield f"{POINTED}{metric}", values, (16,), made or seen
    elif study == "deepdream":
        phi = arrays["described"]
        for n in range(3):  # the kinds of path, 30 starts each
            change = phi[30 * n : 30 * n + 30, 0, -1] - phi[30 * n : 30 * n + 30, 0, 0]
            yield f"change of descriptors on the pixel path, kind {n + 1}", change, (30,), None
    else:
        print(f"{study}: its numbers are not kept by image; use runs")


def draws(folder: Path, sets: int) -> None:
    """Data sets drawn, with replacement, from the images of a result, and their intervals."""
    for name, values, sizes, bounds in populations(folder):
        for size in sizes:
            rng, held = np.random.default_rng(0), defaultdict(list)
            for column in values.T:
                known = column[np.isfinite(column)]
                share = len(known) / len(column)
                n = round(size * share)
                if n < FEWEST or len(known) < 10 or np.ptp(known) == 0:
                    continue
                band = "5-9" if n < 10 else "10-20" if n <= 20 else "over 20"
                exceptional = (known != np.median(known)).mean() < 0.15
                kind = f"n {band}{', nearly constant' if exceptional else ''}"
                for number in range(max(1, sets // 20)):
                    one = rng.choice(known, n)
                    ids = tuple(f"{i:04d}" for i in range(n))
                    sampling = Sampling(ids, ids, "images", number, 500)
                    mean = known.mean()
                    told = sampling.mean(one)
                    if bounds and name.startswith(POINTED):
                        told = sampling.pointed(one, *bounds)
                    elif bounds:
                        told = told.joined(sampling.bounded(one, *bounds))
                    drawn = one[sampling.picks()].mean(1)
                    low, high = np.quantile(drawn, [0.025, 0.975])
                    held[kind].append((told.low <= mean <= told.high, low <= mean <= high))
            for kind, both in sorted(held.items()):
                new, plain = np.mean(both, 0)
                words = f"{folder.name}: {name}, {kind}: {new:.3f} of {len(both)} sets"
                print(f"{words}; plain percentiles {plain:.3f}", flush=True)


if __name__ == "__main__":
    main()
