"""How often the 95 % intervals of a report hold the truth, on data sets that were never seen.

    python benchmarks/coverage.py runs STUDY [--sets 24] [--set KEY=VALUE] [--keep FOLDER]
    python benchmarks/coverage.py draws FOLDER [FOLDER ...] [--sets 400]
    python benchmarks/coverage.py kinds STUDY [--sets 400] [--set KEY=VALUE]

`runs` runs a study on so many fresh planted data sets of its default size (other seeds of the same
manifest) and reads every interval that its tables hold; the truth of a number is its mean over the
data sets. It costs as many runs, and counts all that differs between data sets. With `--keep` the
intervals of each run stay in a folder, and the same command goes on where it ended. `--write
conceptseg/report/held.json` puts what was measured into the package, where the study's reports say
it among their limits; the documentation has all of it. `draws` takes the
numbers of images in finished results (the folders' arrays) for the population, draws data sets of a
study's default size from it, and makes the study's own intervals of them: cheap, and of those
numbers alone which are means over images. Beside each stands the plain percentile interval. `kinds`
takes what a study's network predicts of 1,500 fresh scenes for the population, and makes of it each
kind of interval that there is at the numbers of images at which studies make it: means, ratios of
pixels, shares of images, IoU over all images, AUC, correlations.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
# Without this folder: numba imports a package that is called as this file is.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if Path(one).resolve() != HERE)]

from conceptseg import __version__  # noqa: E402
from conceptseg.catalogue import parse  # noqa: E402
from conceptseg.stats.estimate import Sampling  # noqa: E402
from conceptseg.stats.intervals import FEWEST, finite_mean  # noqa: E402

SCENES = 1500
ROUNDING = 1e-9
LEARNT = {
    "ace": {"concept"},
    "dictionary": {"atom"},
    "diff": {"concept"},
    "dissect": {"units"},
    "graph": {"atom", "edges"},
    "prototypes": {"prototype"},
}
"""Of a study the columns, or tables, whose rows are of what is found anew in each data set:
concepts, atoms and edges between them, the units that detect a concept, the concept and threshold
of a unit, and ways of deciding."""
CHANCE = {"chance"}
SET = {"visible"}
"""Columns of numbers that are set and not measured: they tell rows apart as words do."""
LEAST = 7
"""Data sets in which a number has to be known, for it to count."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("runs", "draws", "kinds"))
    parser.add_argument("of", nargs="+")
    parser.add_argument("--sets", type=int)
    parser.add_argument("--minutes", type=float, default=np.inf, help="no new run after these")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--write", type=Path, help="where the package keeps what `runs` measures")
    parser.add_argument("--keep", type=Path, help="folder where `runs` keeps each run's intervals")
    parser.add_argument("--only", nargs="+", help="words of the kinds of interval")
    arguments = parser.parse_args()
    if arguments.way == "runs":
        found, labels = runs(
            arguments.of[0],
            arguments.sets or 24,
            arguments.minutes,
            arguments.set,
            arguments.keep or Path(tempfile.mkdtemp()),
        )
        tell(arguments.of[0], found, labels, arguments.write)
    elif arguments.way == "kinds":
        kinds(arguments.of[0], arguments.sets or 400, arguments.set, arguments.only)
    else:
        for folder in map(Path, arguments.of):
            draws(folder, arguments.sets or 400)


def runs(
    study: str, sets: int, minutes: float, overrides: list[str], keep: Path
) -> tuple[list["Told"], dict[tuple[str, str], str]]:
    """The intervals of a study's runs on fresh data sets, and what their columns are called.

    All look at the layer that the first chose, for the numbers of layers have no common truth.
    """
    start = time.monotonic()
    keep.mkdir(parents=True, exist_ok=True)
    found: list[Told] = []
    labels: dict[tuple[str, str], str] = {}
    layer: list[str] = []  # that of the first, for all: at another one all numbers are others
    for number in range(sets):
        file = keep / f"{study}-{number:03d}.json"
        if not file.exists():
            if time.monotonic() - start > 60 * minutes:
                break
            file.write_text(json.dumps(run(study, number, [*overrides, *layer])))
            print(f"{study}: {number + 1} data sets", file=sys.stderr, flush=True)
        made = json.loads(file.read_text())
        found += [(number, tuple(words), *ends) for words, *ends in made["intervals"]]
        labels |= {(table, column): label for table, column, label in made["labels"]}
        layer = layer or made["layer"]
    return found, labels


def run(study: str, number: int, overrides: list[str]) -> dict:
    """One run on a fresh data set: its intervals, the labels of their columns, and the layer."""
    import yaml

    from conceptseg.study.__main__ import main as command

    config = Path(f"studies/{study}_planted.yaml").resolve()
    manifest = (config.parent / yaml.safe_load(config.read_text())["data"]["manifest"]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "data.yaml"
        fresh = yaml.safe_load(manifest.read_text()) | {"seed": 100 + number}
        own.write_text(yaml.safe_dump(fresh))
        flags = [word for one in (f"data.manifest={own}", *overrides) for word in ("--set", one)]
        out = Path(folder) / "out"
        if command([study, "--config", str(config), "--out", str(out), *flags]):
            raise SystemExit(f"data set {number} failed")
        result = json.loads((out / "result.json").read_text())
    taken = result["notes"].get("layer")
    return {
        "intervals": list(intervals(result)),
        "labels": [(*key, label) for key, label in labels_of(result).items()],
        "layer": [f"layer={taken}"] if taken and "layer" in result["config"] else [],
    }


def tell(
    study: str,
    found: list["Told"],
    labels: dict[tuple[str, str], str],
    write: Path | None = None,
) -> None:
    """Prints what `held` says of a study's intervals, and puts it where the package keeps it."""
    rows = held(study, found, labels)
    for row in rows:
        told = f"{row['share']:.3f} +- {1.96 * row['error']:.3f} of {row['intervals']}"
        print(f"{study} {row['table']}.{row['column']}: {told}", flush=True)
    if write:
        before = json.loads(write.read_text()) if write.exists() else {}
        write.write_text(json.dumps(shipped(rows, before), indent=1) + "\n")


def labels_of(result: dict) -> dict[tuple[str, str], str]:
    """What a reader sees above each column, with the caption of its table."""
    heads = {}
    for name, table in result["tables"].items():
        for column in table["columns"]:
            head = table["labels"].get(column, column).replace("_", " ")
            heads[name, column] = f"{head} ({table['caption'] or name})"
    return heads


def shipped(rows: list[dict], before: dict) -> dict:
    """What is shipped: of the studies that were run the rows, of all others those that were there
    `before`, if they are of the same version."""
    kept = before.get("rows", []) if before.get("version") == __version__ else []
    kept = [row for row in kept if row["study"] not in {one["study"] for one in rows}]
    every = sorted([*kept, *rows], key=lambda row: (row["study"], row["table"], row["column"]))
    return {"version": __version__, "rows": every}


Told = tuple[int, tuple[str, ...], float, float, float]
"""The data set's number, what an interval is of (table, column, words of the row), value, ends."""


def held(study: str, found: list[Told], labels: dict[tuple[str, str], str]) -> list[dict]:
    """Of each table's column a row: the share of intervals that hold the mean over data sets, the
    standard error of that share, and their number.

    Of s data sets each is in the mean itself, so it lies sqrt(1 - 1/s) as far from it as from the
    truth, in the mean of squares: an interval holds the truth if it holds what is by the inverse
    as far from its value as the mean. Intervals of one data set hold or fail together; so the error
    is that of a ratio of sums over data sets, as of clusters.
    """
    each: dict[tuple[str, ...], list[Told]] = defaultdict(list)
    for one in found:
        each[tuple(one[1])].append(one)
    kinds: dict[tuple[str, str], list[tuple[int, bool]]] = defaultdict(list)
    for (table, column, *_), told in each.items():
        sets = len({one[0] for one in told})
        if sets >= LEAST:
            mean, far = np.mean([one[2] for one in told]), np.sqrt(sets / (sets - 1))
            for number, _, value, low, high in told:
                truth = value + far * (mean - value)
                kinds[table, column].append((number, low - ROUNDING <= truth <= high + ROUNDING))
    rows = []
    for (table, column), pairs in sorted(kinds.items()):
        number, true = np.array([n for n, _ in pairs]), np.array([t for _, t in pairs], float)
        share, sets = float(true.mean()), np.unique(number)
        off = np.array([(true[number == n] - share).sum() for n in sets])
        error = np.sqrt(len(sets) / (len(sets) - 1) * (off**2).sum()) / len(true)
        label = labels.get((table, column), column)
        row = {"study": study, "table": table, "column": column, "label": label}
        row |= {"sets": len(sets), "intervals": len(true)}
        rows.append(row | {"share": round(share, 4), "error": round(float(error), 4)})
    return rows


def intervals(result: dict) -> Iterator[tuple[tuple[str, ...], float, float, float]]:
    """Every interval of a saved result's tables: what it is of, the value, and its ends.

    The ends follow their value among a table's columns. A table of images, or of what stands for
    others, is of others each time, and so is one of what is learnt anew (`LEARNT`); ends between
    which chance lies (`CHANCE`) hold no truth.
    """
    for name, table in result["tables"].items():
        own, columns = identity(table), list(table["columns"])
        if "sample" in columns or LEARNT.get(result["study"], set()) & {name, *own}:
            continue
        ends = [
            (columns[place - 1], low, columns[place + 1])
            for place, low in enumerate(columns)
            if (low == "low" or low.endswith("_low")) and columns[place - 1] not in CHANCE
        ]
        for row in table["rows"]:
            words = [str(row.get(one)) for one in own]
            for three in ends:
                numbers = [row.get(one) for one in three]
                if all(isinstance(one, (int, float)) for one in numbers):
                    yield (name, three[0], *words), *map(float, numbers)


def identity(table: dict) -> list[str]:
    """The first columns, but for numbers that are measured, that tell a saved table's rows apart.

    What a row is of comes first in each table; what was found there, such as a verdict, may be
    another in another data set.
    """
    own: list[str] = []
    for column in table["columns"]:
        cells = [row.get(column) for row in table["rows"]]
        measured = column not in SET and any(isinstance(cell, float) for cell in cells)
        if not measured and any(cells):
            own.append(column)
            if len({tuple(str(row.get(one)) for one in own) for row in table["rows"]}) == len(
                cells
            ):
                break
    return own


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


def predicted(study: str, overrides: list[str], scenes: int) -> dict[str, np.ndarray]:
    """Of fresh scenes: confusions [n, k, k], label by prediction; the largest probability of each
    class anywhere in an image, [n, k]; and the mean confidence, [n]."""
    import torch
    import yaml

    from conceptseg.data.batch import batches
    from conceptseg.engine import start
    from conceptseg.settings import parse_override, read_settings
    from conceptseg.study.segnbdt.config import Segnbdt

    config = Path(f"studies/{study}_planted.yaml").resolve()
    manifest = (config.parent / yaml.safe_load(config.read_text())["data"]["manifest"]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "data.yaml"
        fresh = {"seed": 500, "n": scenes}
        own.write_text(yaml.safe_dump(yaml.safe_load(manifest.read_text()) | fresh))
        changed = [parse_override(text) for text in (f"data.manifest={own}", *overrides)]
        read = read_settings("segnbdt", Segnbdt, config, changed)
        context = start.prepare(read.study)
    k, found = len(context.model.classes), defaultdict(list)
    for batch in batches(context.manifest, context.manifest.samples, 32, "cpu", True):
        with torch.no_grad():
            p = context.model(batch.images).softmax(1)
        for labels, each in zip(batch.labels.numpy(), p.numpy(), strict=True):
            held = labels >= 0
            pairs = labels[held] * k + each.argmax(0)[held]
            found["confusion"].append(np.bincount(pairs, minlength=k * k).reshape(k, k))
            found["peak"].append(each.max((1, 2)))
            found["confidence"].append(each.max(0).mean())
    return {name: np.stack(values) for name, values in found.items()}


def kinds(
    study: str,
    sets: int,
    overrides: list[str],
    only: list[str] | None = None,
    scenes: int = SCENES,
) -> None:
    """The share of data sets, drawn from a population, in whose intervals its own value lies."""
    from scipy.stats import spearmanr

    from conceptseg.stats.areas import told_apart
    from conceptseg.stats.ranks import auc
    from conceptseg.study.bottleneck.evaluate import r_squared

    world = predicted(study, overrides, scenes)
    table, k = world["confusion"], world["confusion"].shape[1]
    right, held, wide = (each.astype(float) for each in (
        np.einsum("nii->ni", table), table.sum(2), table.sum(1)))  # fmt: skip
    union = held + wide - right
    iou = np.where(held > 0, right / np.maximum(union, 1), np.nan)
    quality, sure = np.nanmean(iou, 1), world["confidence"]
    line = np.polyval(np.polyfit(sure, quality, 1), sure)
    wrong = table.sum((1, 2)) - right.sum(1)

    everything = np.arange(scenes)
    having = [np.flatnonzero(held[:, c]) for c in range(k)]

    def pooled(rows):
        with np.errstate(invalid="ignore"):  # a class that none of the images holds
            return float(np.nanmean(right[rows].sum(0) / union[rows].sum(0)))

    def area(c, rows):
        there = held[rows, c] > 0
        return auc(world["peak"][rows, c][there], world["peak"][rows, c][~there])

    # Of each kind: at which n, and of each number the estimate, the truth, and the images.
    made: dict[str, tuple[tuple[int, ...], list]] = {
        "mean": ((6, 8, 12, 20, 60), [
            (lambda s, r, c=c: s.mean(iou[r, c]), iou[having[c], c].mean(), having[c])
            for c in range(1, k)]),
        "mean of what is bounded": ((6, 8, 12, 20, 60), [
            (lambda s, r, c=c: s.bounded(iou[r, c], 0, 1), iou[having[c], c].mean(), having[c])
            for c in range(1, k)]),
        "part of pixels": ((12, 20, 60), [
            (lambda s, r, c=c: s.part(right[r, c], held[r, c]),
             right[:, c].sum() / held[:, c].sum(), having[c]) for c in range(1, k)]),
        "share of wrong pixels": ((60, 200), [
            (lambda s, r, a=a, b=b: s.part(table[r, a, b], wrong[r]),
             table[:, a, b].sum() / wrong.sum(), everything)
            for a in range(k) for b in range(k)
            if a != b and (table[:, a, b] > 0).mean() >= 0.05]),
        "share of images": ((12, 20, 60), [
            (lambda s, r, c=c: s.share(iou[r, c] < 0.5), (iou[having[c], c] < 0.5).mean(),
             having[c]) for c in range(1, k)]),
        "IoU over all images": ((60, 200), [
            (lambda s, r: s.statistic(lambda i: pooled(r[i])), pooled(everything), everything)]),
        "AUC": ((60, 200), [
            (lambda s, r, c=c: told_apart(s, world["peak"][r, c], held[r, c] > 0),
             area(c, everything), everything) for c in range(1, k, 3)]),
        "rank correlation": ((20, 60, 200), [
            (lambda s, r: s.statistic(lambda i: spearmanr(sure[r[i]], quality[r[i]])[0]),
             spearmanr(sure, quality)[0], everything)]),
        "R squared": ((20, 60, 200), [
            (lambda s, r: s.statistic(lambda i: r_squared(quality[r[i]], line[r[i]])),
             r_squared(quality, line), everything)]),
        "difference of two means": ((60, 200), [
            (lambda s, r, c=c: s.difference(quality[r], held[r, c] > 0, 0, 1),
             quality[having[c]].mean() - quality[held[:, c] == 0].mean(), everything)
            for c in range(1, k)]),
    }  # fmt: skip
    for kind, (sizes, several) in made.items():
        wanted = only is None or any(word in kind for word in only)
        for n in sizes if wanted else ():
            rng, held_by = np.random.default_rng(n), []
            ids = tuple(f"{i:03d}" for i in range(n))
            for number in range(max(1, sets // len(several))):
                sampling = Sampling(ids, ids, "images", number, 300)
                for make, truth, images in several:
                    one = make(sampling, rng.choice(images, n))
                    held_by += [one.low <= truth <= one.high] if one.ci else []
            share = np.mean(held_by) if held_by else float("nan")
            print(f"{study}: {kind}, n {n}: {share:.3f} of {len(held_by)}", flush=True)


if __name__ == "__main__":
    main()
